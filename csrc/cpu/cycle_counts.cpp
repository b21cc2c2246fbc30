// How many triangles and 4-cycles go through each of some edges. From an anchor a, the paths of two
// edges to every node are counted once for all of a's edges. A 4-cycle through (a, b) is a
// neighbour k of b and such a path from a to k, but for the one through b; a common neighbour of a
// and b, as k or on the path, is a diagonal. Each end of an edge is its anchor once. All edges
// together take the sum of squared degrees, and of every triangle the degrees.
#include <bit>

#include "anchored.h"

namespace gnnlib {
namespace {

// Of one pair, seen from its anchor.
struct Found {
  int64_t triangles = 0;
  int64_t squares = 0;
  int64_t boxes = 0;    // neighbours of the far end alone, on 4-cycles without a diagonal
  int64_t busiest = 1;  // the most 4-cycles on which one of them is
};

// How many neighbours are stepped over while one step of a binary search is taken.
constexpr uint64_t kSearch = 4;

class Cycles {
 public:
  Cycles(const SimpleGraph& graph, Found* found)
      : graph_(graph),
        found_(found),
        near_(graph.num_nodes),
        seen_(graph.num_nodes),
        paths_(graph.num_nodes),
        open_(graph.num_nodes) {}

  void operator()(const Anchored* begin, const Anchored* end) {
    count_paths(begin->anchor);
    for (; begin < end; ++begin) found_[begin->at] = through(begin->anchor, begin->far);
  }

 private:
  void count_paths(int64_t anchor) {
    near_.clear();
    seen_.clear();
    for (const int64_t middle : neighbours(graph_, anchor)) {
      near_.add(middle);
      for (const int64_t node : neighbours(graph_, middle)) {
        if (!seen_.has(node)) paths_[node] = 0;
        seen_.add(node);
        ++paths_[node];
      }
    }
  }

  Found through(int64_t anchor, int64_t far) {
    Found found;
    common_.clear();
    alone_.clear();
    const bool joined = near_.has(far);
    for (const int64_t node : neighbours(graph_, far)) {
      if (node == anchor) continue;
      const int32_t squares = seen_.has(node) ? paths_[node] - joined : 0;
      found.squares += squares;
      if (near_.has(node)) {
        common_.push_back(node);
      } else if (squares > 0) {
        alone_.push_back(node);
        open_[node] = squares;
      }
    }
    found.triangles = static_cast<int64_t>(common_.size());
    for (const int64_t middle : common_) close(middle);
    for (const int64_t node : alone_) {
      const int64_t open = std::exchange(open_[node], 0);
      found.boxes += open > 0;
      found.busiest = std::max(found.busiest, open);
    }
    return found;
  }

  // Takes away the 4-cycles through a common neighbour.
  void close(int64_t middle) {
    const uint64_t degree = graph_.degree(middle);
    if (degree < alone_.size() * kSearch * std::bit_width(degree)) {
      for (const int64_t node : neighbours(graph_, middle)) open_[node] -= open_[node] > 0;
    } else {
      for (const int64_t node : alone_) open_[node] -= graph_.joins(middle, node);
    }
  }

  const SimpleGraph& graph_;
  Found* const found_;
  NodeSet near_, seen_;     // the anchor's neighbours, and their neighbours
  PerNode<int32_t> paths_;  // of two edges, from the anchor
  PerNode<int32_t> open_;   // of those, the ones that make a 4-cycle without a diagonal
  std::vector<int64_t> common_, alone_;
};

Tensor cycle_counts(Tensor rowptr, Tensor col, Tensor source, Tensor target) {
  const SimpleGraph graph(rowptr, col);
  const Pairs pairs(graph, source, target);
  std::vector<Anchored> anchored;
  anchored.reserve(2 * pairs.count);
  for (int64_t k = 0; k < pairs.count; ++k) {
    anchored.push_back({pairs.source[k], pairs.target[k], 2 * k});
    anchored.push_back({pairs.target[k], pairs.source[k], 2 * k + 1});
  }
  std::vector<Found> found(2 * pairs.count);
  each_anchor<Cycles>(std::move(anchored), [&] { return Cycles(graph, found.data()); });
  Tensor out =
      torch::stable::empty({5, pairs.count}, ScalarType::Long, std::nullopt, rowptr.device());
  int64_t* const counts = out.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < pairs.count; ++k) {
    const Found &target_side = found[2 * k], &source_side = found[2 * k + 1];
    const int64_t row[] = {target_side.triangles, source_side.boxes, target_side.boxes,
                           std::max(source_side.busiest, target_side.busiest), target_side.squares};
    for (int64_t r = 0; r < 5; ++r) counts[r * pairs.count + k] = row[r];
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("cycle_counts", TORCH_BOX(&cycle_counts)); }

}  // namespace gnnlib
