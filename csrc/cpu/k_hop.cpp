// The nodes at each distance 1, 2, ..., K of every node, or a sample of them. The graph is searched
// twice, first to count and then to write, so that it takes no more memory than its result.
#include <tuple>

#include "hop_search.h"

namespace gnnlib {
namespace {

// The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Writes `count` of a level's nodes, those whose hashes are the smallest.
template <typename Level>
void sample(const Level& level, int64_t count, uint64_t stream, std::vector<int64_t>& nodes,
            int64_t* to) {
  nodes.resize(level.size());
  level.write(nodes.data());
  const auto key = [&](int64_t node) { return std::pair(mixed(stream + node) >> 1, node); };
  std::nth_element(nodes.begin(), nodes.begin() + count, nodes.end(),
                   [&](int64_t a, int64_t b) { return key(a) < key(b); });
  std::sort(nodes.begin(), nodes.begin() + count);
  std::copy_n(nodes.begin(), count, to);
}

Tensor empty_index(const Tensor& like, int64_t size) {
  return torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
}

int64_t most(int64_t num_samples) {
  return num_samples > 0 ? num_samples : std::numeric_limits<int64_t>::max();
}

// hop_ptr [N * K + 1] and col: the nodes at distance k from root i are those from
// hop_ptr[i * K + k - 1] on.
std::tuple<Tensor, Tensor> k_hop(Tensor rowptr, Tensor col, OptionalTensor t_rowptr,
                                 OptionalTensor t_col, int64_t num_hops, int64_t max_pairs,
                                 int64_t num_samples, OptionalTensor seed) {
  require(num_hops >= 1, "`k` must be at least 1, got ", num_hops);
  require(seed.has_value() == (num_samples > 0), "`seed` and `num_samples` come together");
  if (seed) require_index(*seed, "seed");
  const Neighbours near(rowptr, col, t_rowptr, t_col);
  const int64_t num_rows = near.graph.num_rows * num_hops, at_most = most(num_samples);
  const uint64_t key = seed ? mixed(*seed->const_data_ptr<int64_t>()) : 0;
  const std::vector<Piece> todo = pieces(near.graph);
  Tensor hop_ptr = empty_index(rowptr, num_rows + 1);
  int64_t* const ptr = hop_ptr.mutable_data_ptr<int64_t>();

  std::vector<int64_t> begin(todo.size());
  std::atomic<int64_t> total{0};
  each_piece(near, num_hops, todo, [&](Search& search, int64_t k) {
    if (total.load(std::memory_order_relaxed) > max_pairs) return;
    int64_t count = 0;
    std::fill(ptr + todo[k].begin * num_hops, ptr + todo[k].end * num_hops, 0);
    search.run(todo[k], [&](int64_t root, int64_t hop, const auto& level) {
      count += ptr[root * num_hops + hop] = std::min(level.size(), at_most);
    });
    begin[k] = count;
    total += count;
  });
  require(total <= max_pairs, "`k_hop` found more than `max_pairs`=", max_pairs,
          " pairs (take a smaller `k`, bound every hop by `num_samples`, or raise `max_pairs`)");

  int64_t end = 0;
  for (int64_t& first : begin) end += std::exchange(first, end);
  ptr[num_rows] = end;
  Tensor found = empty_index(rowptr, end);
  int64_t* const to = found.mutable_data_ptr<int64_t>();
  each_piece(near, num_hops, todo, [&](Search& search, int64_t k) {
    std::vector<int64_t> nodes;
    int64_t next = begin[k];
    for (int64_t row = todo[k].begin * num_hops; row < todo[k].end * num_hops; ++row) {
      next += std::exchange(ptr[row], next);
    }
    search.run(todo[k], [&](int64_t root, int64_t hop, const auto& level) {
      const int64_t row = root * num_hops + hop;
      if (!seed || level.size() <= at_most) return level.write(to + ptr[row]);
      sample(level, at_most, mixed(key + row), nodes, to + ptr[row]);
    });
  });
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
  int64_t* const to = counts.mutable_data_ptr<int64_t>();
  each_piece(near, num_hops, todo, [&](Search& search, int64_t k) {
    int64_t count = 0;
    search.run(todo[k], [&](int64_t, int64_t, const auto& level) {
      count += std::min(level.size(), most(num_samples));
    });
    to[k] = count;
  });
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("k_hop", TORCH_BOX(&k_hop));
  m.impl("k_hop_count", TORCH_BOX(&k_hop_count));
}

}  // namespace gnnlib
