// The nodes at each distance 1, 2, ..., K of every node, or a sample of them. The graph is searched
// twice, first to count and then to write, so that it takes no more memory than its result.
#ifndef GNNLIB_ISA

#include <tuple>

#include "hash.h"
#include "hop_graph.h"
#include "huge_pages.h"
#include "simd.h"

namespace gnnlib {
namespace {

// Which pairs: up to how many hops, and of each hop of a root at most how many, drawn by `key`.
struct Reach {
  int64_t num_hops;
  bool drawn;
  int64_t at_most;
  uint64_t key;

  Reach(int64_t num_hops, int64_t num_samples, const OptionalTensor& seed = std::nullopt)
      : num_hops(num_hops),
        drawn(num_samples > 0),
        at_most(drawn ? num_samples : std::numeric_limits<int64_t>::max()),
        key(seed ? mixed(*index_data(seed, "seed")) : 0) {}
};

}  // namespace
}  // namespace gnnlib

#define GNNLIB_KERNEL "k_hop.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor empty_index(const Tensor& like, int64_t size) {
  Tensor out = torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
  prefer_huge_pages(out.mutable_data_ptr<int64_t>(), size * sizeof(int64_t));
  return out;
}

// hop_ptr [N * K + 1] and col: the nodes at distance k from root i are those from
// hop_ptr[i * K + k - 1] on.
std::tuple<Tensor, Tensor> k_hop(Tensor rowptr, Tensor col, OptionalTensor t_rowptr,
                                 OptionalTensor t_col, int64_t num_hops, int64_t max_pairs,
                                 int64_t num_samples, OptionalTensor seed) {
  require(num_hops >= 1, "`k` must be at least 1, got ", num_hops);
  require(seed.has_value() == (num_samples > 0), "`seed` and `num_samples` come together");
  const Neighbours near(rowptr, col, t_rowptr, t_col);
  const Reach reach(num_hops, num_samples, seed);
  const std::vector<Piece> todo = pieces(near.graph);
  std::vector<int64_t> begin(todo.size() + 1);
  const bool fits = GNNLIB_BEST(count_pairs)(near, reach, todo, max_pairs, begin.data());
  require(fits, "`k_hop` found more than `max_pairs`=", max_pairs,
          " pairs (take a smaller `k`, bound every hop by `num_samples`, or raise `max_pairs`)");
  int64_t total = 0;
  for (int64_t& first : begin) total += std::exchange(first, total);
  Tensor hop_ptr = empty_index(rowptr, near.graph.num_rows * num_hops + 1);
  Tensor found = empty_index(rowptr, total);
  int64_t* const ptr = hop_ptr.mutable_data_ptr<int64_t>();
  ptr[near.graph.num_rows * num_hops] = total;
  GNNLIB_BEST(write_pairs)(near, reach, todo, begin.data(), ptr, found.mutable_data_ptr<int64_t>());
  return {hop_ptr, found};
}

// How many pairs each of some roots has.
Tensor k_hop_count(Tensor rowptr, Tensor col, OptionalTensor t_rowptr, OptionalTensor t_col,
                   Tensor roots, int64_t num_hops, int64_t num_samples) {
  const Neighbours near(rowptr, col, t_rowptr, t_col);
  const int64_t* const root = index_data(roots, "roots");
  require_in_range(root, roots.numel(), near.graph.num_rows);
  std::vector<Piece> todo;
  for (int64_t k = 0; k < roots.numel(); ++k) {
    todo.push_back({root[k], root[k] + 1, 0, near.graph.num_rows});
  }
  Tensor counts = empty_index(rowptr, roots.numel());
  GNNLIB_BEST(count_pairs)(near, Reach(num_hops, num_samples), todo,
                           std::numeric_limits<int64_t>::max(), counts.mutable_data_ptr<int64_t>());
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("k_hop", TORCH_BOX(&k_hop));
  m.impl("k_hop_count", TORCH_BOX(&k_hop_count));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "hop_search.h"

namespace gnnlib::GNNLIB_ISA {

// The pairs of every piece; false where all are more than `max_pairs`.
inline bool count_pairs(const Neighbours& near, const Reach& reach, const std::vector<Piece>& todo,
                        int64_t max_pairs, int64_t* counts) {
  std::atomic<int64_t> total{0};
  each_piece(near, reach.num_hops, todo, [&](Search& search, int64_t k) {
    if (total.load(std::memory_order_relaxed) > max_pairs) return;
    total += counts[k] = search.count(todo[k], reach.at_most);
  });
  return total <= max_pairs;
}

// Writes `count` of a level's nodes, those whose hashes are the smallest.
template <typename Level>
int64_t* sample(const Level& level, int64_t count, uint64_t stream, std::vector<int64_t>& nodes,
                int64_t* to) {
  nodes.resize(level.size());
  level.write(nodes.data(), nodes.data() + nodes.size());
  const auto key = [&](int64_t node) { return std::pair(mixed(stream + node) >> 1, node); };
  std::nth_element(nodes.begin(), nodes.begin() + count, nodes.end(),
                   [&](int64_t a, int64_t b) { return key(a) < key(b); });
  std::sort(nodes.begin(), nodes.begin() + count);
  return std::copy_n(nodes.begin(), count, to);
}

// Those of piece k go to col[begin[k]] to col[begin[k + 1]].
inline void write_pairs(const Neighbours& near, const Reach& reach, const std::vector<Piece>& todo,
                        const int64_t* begin, int64_t* ptr, int64_t* col) {
  each_piece(near, reach.num_hops, todo, [&](Search& search, int64_t k) {
    std::vector<int64_t> drawn;
    int64_t row = todo[k].begin * reach.num_hops;
    int64_t* to = col + begin[k];
    const auto begin_rows = [&](int64_t last) {
      while (row < last) ptr[row++] = to - col;
    };
    search.run(todo[k], [&](int64_t root, int64_t hop, const auto& level) {
      const int64_t own = root * reach.num_hops + hop;
      begin_rows(own + 1);
      if (!reach.drawn || level.size() <= reach.at_most) {
        to = level.write(to, col + begin[k + 1]);
      } else {
        to = sample(level, reach.at_most, mixed(reach.key + own), drawn, to);
      }
    });
    begin_rows(todo[k].end * reach.num_hops);
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
