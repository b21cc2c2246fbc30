// Locality-aware rewiring (LASER; Barbero et al., 2024): every node chooses, among those at each
// distance from it, the ones that the fewest walks lead to. Around each node in turn, its ball is
// searched, and walks are counted on as much of it as can lead back to what it may choose.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <tuple>
#include <vector>

#include "hash.h"
#include "schedule.h"
#include "simple_graph.h"

namespace gnnlib {
namespace {

// Length of the walks that are counted, and whose steps may stay where they are.
constexpr int64_t kWalk = 8;
// Nodes that a thread chooses for before it takes the next.
constexpr int64_t kRoots = 64;

// What is chosen of each orbit: a share of it, and at least so many.
struct Options {
  int64_t num_snapshots;
  double factor;
  int64_t at_least;
  uint64_t seed;

  int64_t count(int64_t size) const {
    const auto share = static_cast<int64_t>(std::ceil(factor * static_cast<double>(size) - 1e-9));
    return std::min(size, std::max(at_least, share));
  }
};

struct Choice {
  int64_t node, hop;
  bool operator<(const Choice& other) const { return node < other.node; }
};

// The nodes around a root, in order of their distance from it.
class Ball {
 public:
  Ball(const SimpleGraph& graph, int64_t num_hops)
      : graph_(graph), num_hops_(num_hops), at_(graph.num_nodes, -1) {}

  void search(int64_t root) {
    for (const int64_t node : nodes_) at_[node] = -1;
    nodes_.assign(1, root);
    at_[root] = 0;
    ends_ = {0, 1};
    grow(num_hops_);
  }

  // Those at one distance from the root, as positions.
  int64_t begin(int64_t hop) const { return end(hop - 1); }
  int64_t end(int64_t hop) const { return ends_[std::min(hop, num_levels() - 1) + 1]; }
  int64_t node(int64_t position) const { return nodes_[position]; }

  // (A + I)^8 of the root and each node up to num_hops away, by position.
  const double* count_walks() {
    grow(std::min(kWalk, (num_hops_ + kWalk) / 2));
    list_neighbours();
    for (auto& walks : walks_) walks.assign(size(), 0);
    walks_[0][0] = 1;
    for (int64_t step = 1; step <= kWalk; ++step) {
      const double* const last = walks_[(step + 1) % 2].data();
      double* const next = walks_[step % 2].data();
      const int64_t reached = end(std::min(step, num_hops_ + kWalk - step));
      for (int64_t p = 0; p < reached; ++p) {
        double total = last[p];
        for (int64_t e = rowptr_[p]; e < rowptr_[p + 1]; ++e) total += last[col_[e]];
        next[p] = total;
      }
    }
    return walks_[kWalk % 2].data();
  }

 private:
  int64_t size() const { return static_cast<int64_t>(nodes_.size()); }
  int64_t num_levels() const { return static_cast<int64_t>(ends_.size()) - 1; }

  // Up to that far from the root.
  void grow(int64_t radius) {
    while (num_levels() <= radius && ends_.end()[-2] < ends_.back()) {
      for (int64_t p = ends_.end()[-2]; p < ends_.back(); ++p) {
        each_neighbour(p, [&](int64_t node) {
          if (at_[node] >= 0) return;
          at_[node] = size();
          nodes_.push_back(node);
        });
      }
      ends_.push_back(size());
    }
  }

  template <typename F>
  void each_neighbour(int64_t position, const F& f) const {
    const int64_t node = nodes_[position];
    std::for_each(graph_.begin(node), graph_.end(node), f);
  }

  void list_neighbours() {
    rowptr_.assign(1, 0);
    col_.clear();
    for (int64_t p = 0; p < size(); ++p) {
      each_neighbour(p, [&](int64_t node) {
        if (at_[node] >= 0) col_.push_back(at_[node]);
      });
      rowptr_.push_back(static_cast<int64_t>(col_.size()));
    }
  }

  const SimpleGraph& graph_;
  const int64_t num_hops_;
  std::vector<int64_t> at_;  // of every node, its position; -1 outside the ball
  std::vector<int64_t> nodes_;
  std::vector<int64_t> ends_;  // where the nodes of each distance end, after a 0
  std::vector<int64_t> rowptr_, col_;
  std::array<std::vector<double>, 2> walks_;
};

// Chooses for one node after the other.
class Chooser {
 public:
  Chooser(const SimpleGraph& graph, const Options& options)
      : options_(options), ball_(graph, options.num_snapshots) {}

  // Appends what `root` of the graph that begins at `first` chooses, in ascending order.
  void choose(int64_t root, int64_t first, std::vector<Choice>& to) {
    const size_t before = to.size();
    const uint64_t draw = mixed(mixed(options_.seed) + (root - first));
    const double* walks = nullptr;
    ball_.search(root);
    for (int64_t hop = 2; hop <= options_.num_snapshots; ++hop) {
      const int64_t begin = ball_.begin(hop), size = ball_.end(hop) - begin;
      const int64_t count = options_.count(size);
      if (count < size && !walks) walks = ball_.count_walks();
      ranked_.clear();
      for (int64_t p = begin; p < begin + size; ++p) {
        const int64_t node = ball_.node(p);
        const uint64_t few = count < size ? rounded(walks[p]) : 0;
        ranked_.emplace_back(few, mixed(draw + (node - first)) >> 11, node);
      }
      if (count < size) std::nth_element(ranked_.begin(), ranked_.begin() + count, ranked_.end());
      for (int64_t k = 0; k < count; ++k) to.push_back({std::get<2>(ranked_[k]), hop});
    }
    std::sort(to.begin() + static_cast<int64_t>(before), to.end());
  }

 private:
  // To 30 bits, as numbers in the same order.
  static uint64_t rounded(double walks) {
    return (std::bit_cast<uint64_t>(walks) + (uint64_t{1} << 22)) >> 23;
  }

  const Options options_;
  Ball ball_;
  std::vector<std::tuple<uint64_t, uint64_t, int64_t>> ranked_;
};

// What all nodes have chosen, in parts of kRoots nodes each.
class Choices {
 public:
  Choices(const SimpleGraph& graph, const int64_t* ptr, int64_t num_graphs, const Options& options)
      : num_nodes_(graph.num_nodes), parts_((graph.num_nodes + kRoots - 1) / kRoots) {
    std::atomic<int64_t> next{0};
    on_all_threads(num_parts(), [&] {
      Chooser chooser(graph, options);
      for (int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < num_parts();) {
        const int64_t* of = std::upper_bound(ptr, ptr + num_graphs + 1, k * kRoots);
        parts_[k].ends.push_back(0);
        each_root(k, [&](int64_t root) {
          while (*of <= root) ++of;
          chooser.choose(root, of[-1], parts_[k].choices);
          parts_[k].ends.push_back(parts_[k].choices.size());
        });
      }
    });
  }

  int64_t num_parts() const { return static_cast<int64_t>(parts_.size()); }

  // Calls f(u, v, hop) for every edge that one of its ends in part k has chosen, once over all.
  template <typename F>
  void each_edge(int64_t k, const F& f) const {
    each_root(k, [&](int64_t root) {
      for (const Choice& choice : of(root)) {
        if (choice.node > root || !chose(choice.node, root)) {
          f(std::min(root, choice.node), std::max(root, choice.node), choice.hop);
        }
      }
    });
  }

 private:
  struct Part {
    std::vector<Choice> choices;
    std::vector<size_t> ends;  // of each root, where its choices end; and where the first begin
  };

  template <typename F>
  void each_root(int64_t k, const F& f) const {
    const int64_t last = std::min(num_nodes_, (k + 1) * kRoots);
    for (int64_t root = k * kRoots; root < last; ++root) f(root);
  }

  std::span<const Choice> of(int64_t root) const {
    const Part& part = parts_[root / kRoots];
    const size_t* const ends = part.ends.data() + root % kRoots;
    return {part.choices.data() + ends[0], ends[1] - ends[0]};
  }

  bool chose(int64_t root, int64_t node) const {
    const std::span<const Choice> choices = of(root);
    return std::binary_search(choices.begin(), choices.end(), Choice{node, 0});
  }

  const int64_t num_nodes_;
  std::vector<Part> parts_;
};

// added [2, K], the smaller end first, and the distance of both ends [K]; in the order of the nodes
// that chose them. ptr [G + 1]: where each graph's nodes begin.
std::tuple<Tensor, Tensor> laser(Tensor rowptr, Tensor col, Tensor ptr, int64_t num_snapshots,
                                 double additions_factor, int64_t minimum_additions, int64_t seed) {
  const SimpleGraph graph(rowptr, col);
  const Choices choices(
      graph, index_data(ptr, "ptr"), ptr.numel() - 1,
      {num_snapshots, additions_factor, minimum_additions, static_cast<uint64_t>(seed)});
  std::vector<int64_t> begin(choices.num_parts() + 1);
  parallel_chunks(choices.num_parts(), true, [&](int64_t k) {
    choices.each_edge(k, [&](int64_t, int64_t, int64_t) { ++begin[k + 1]; });
  });
  for (size_t k = 1; k < begin.size(); ++k) begin[k] += begin[k - 1];
  const int64_t total = begin.back();
  const auto empty = [&](torch::headeronly::IntHeaderOnlyArrayRef size) {
    return torch::stable::empty(size, ScalarType::Long, std::nullopt, rowptr.device());
  };
  Tensor added = empty({2, total}), distance = empty({total});
  int64_t* const ends = added.mutable_data_ptr<int64_t>();
  int64_t* const hops = distance.mutable_data_ptr<int64_t>();
  parallel_chunks(choices.num_parts(), true, [&](int64_t k) {
    int64_t at = begin[k];
    choices.each_edge(k, [&](int64_t u, int64_t v, int64_t hop) {
      ends[at] = u;
      ends[total + at] = v;
      hops[at++] = hop;
    });
  });
  return {added, distance};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("laser", TORCH_BOX(&laser)); }

}  // namespace gnnlib
