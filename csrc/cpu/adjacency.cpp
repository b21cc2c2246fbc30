// A graph from a list of edges to CSR, and CSR to its transpose: parallel stable counting sorts.
// Every node id is range-checked here, once, where it enters.
#include <limits>
#include <tuple>

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

using Grouped = std::tuple<Tensor, Tensor, Tensor>;

Tensor empty_index(const Tensor& like, int64_t size) {
  return torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
}

// An id outside its range, seen by any thread; the first one in edge order is reported.
class BadNode {
 public:
  void see(int64_t e) {
    int64_t first = edge_.load();
    while (e < first && !edge_.compare_exchange_weak(first, e)) {
    }
  }
  bool seen() const { return edge_.load() != kNone; }
  int64_t edge() const { return edge_.load(); }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> edge_{kNone};
};

bool in_range(int64_t node, int64_t size) {
  return static_cast<uint64_t>(node) < static_cast<uint64_t>(size);
}

// Sorts edges by key(e) in [0, num_rows), stably. Each block of edges counts its keys, the counts
// become each block's first slot in every row, and each block then places its edges: the order does
// not depend on how many blocks there are.
//   check(e): false for an edge with a bad id;  place(e, slot): edge e goes to `slot`.
template <typename Key, typename Check, typename Place>
void counting_sort(int64_t num_edges, int64_t num_rows, int64_t* rowptr, BadNode& bad,
                   const Key& key, const Check& check, const Place& place) {
  // One block a thread, but never more counters than edges.
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t blocks =
      std::clamp<int64_t>(num_edges / std::max<int64_t>(num_rows, 1 << 14), 1, threads);
  const int64_t size = (num_edges + blocks - 1) / blocks;
  std::vector<int64_t> slot(blocks * num_rows, 0);

  parallel_chunks(blocks, true, [&](int64_t b) {
    int64_t* count = slot.data() + b * num_rows;
    for (int64_t e = b * size; e < std::min(num_edges, (b + 1) * size); ++e) {
      if (!check(e)) return bad.see(e);
      ++count[key(e)];
    }
  });
  if (bad.seen()) return;

  int64_t next = 0;
  for (int64_t row = 0; row < num_rows; ++row) {
    rowptr[row] = next;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t count = slot[b * num_rows + row];
      slot[b * num_rows + row] = next;
      next += count;
    }
  }
  rowptr[num_rows] = next;

  parallel_chunks(blocks, true, [&](int64_t b) {
    int64_t* to = slot.data() + b * num_rows;
    for (int64_t e = b * size; e < std::min(num_edges, (b + 1) * size); ++e) place(e, to[key(e)]++);
  });
}

bool is_sorted(Tensor index) {
  require_index(index, "index");
  const int64_t* p = index.const_data_ptr<int64_t>();
  const int64_t stride = index.stride(0);
  for (int64_t k = 1; k < index.numel(); ++k) {
    if (p[k * stride] < p[(k - 1) * stride]) return false;
  }
  return true;
}

Grouped coo_to_csr(Tensor edge_index, int64_t num_src, int64_t num_dst) {
  require_index(edge_index, "edge_index", 2);
  require(edge_index.size(0) == 2, "`edge_index` must be [2, E], got ", edge_index.size(0),
          " rows");
  require(num_src >= 0 && num_dst >= 0, "`size` must not be negative");
  const Tensor index = torch::stable::contiguous(edge_index);
  const int64_t num_edges = index.size(1);
  const int64_t* src = index.const_data_ptr<int64_t>();
  const int64_t* dst = src + num_edges;
  Tensor rowptr = empty_index(index, num_dst + 1), col = empty_index(index, num_edges),
         perm = empty_index(index, num_edges);
  int64_t* to_col = col.mutable_data_ptr<int64_t>();
  int64_t* to_perm = perm.mutable_data_ptr<int64_t>();
  BadNode bad;
  counting_sort(
      num_edges, num_dst, rowptr.mutable_data_ptr<int64_t>(), bad,
      [&](int64_t e) { return dst[e]; },
      [&](int64_t e) { return in_range(src[e], num_src) && in_range(dst[e], num_dst); },
      [&](int64_t e, int64_t slot) {
        to_col[slot] = src[e];
        to_perm[slot] = e;
      });
  if (bad.seen()) {
    const int64_t e = bad.edge();
    if (!in_range(src[e], num_src)) bad_node("source", src[e], num_src);
    bad_node("target", dst[e], num_dst);
  }
  return {rowptr, col, perm};
}

void check_csr(Tensor rowptr, Tensor col, OptionalTensor perm, int64_t num_src) {
  const Csr graph = view(rowptr, col, perm);
  require(num_src >= 0, "`num_src` must not be negative, got ", num_src);
  require(graph.rowptr[0] == 0 && graph.rowptr[graph.num_rows] == graph.num_edges,
          "`rowptr` must run from 0 to the number of edges, ", graph.num_edges, ", got ",
          graph.rowptr[0], " to ", graph.rowptr[graph.num_rows]);
  for (int64_t row = 0; row < graph.num_rows; ++row) {
    require(graph.rowptr[row] <= graph.rowptr[row + 1],
            "`rowptr` must not decrease, but does at row ", row);
  }
  std::vector<bool> seen(graph.perm ? graph.num_edges : 0);
  for (int64_t e = 0; e < graph.num_edges; ++e) {
    if (!in_range(graph.col[e], num_src)) bad_node("source", graph.col[e], num_src);
    if (!graph.perm) continue;
    const int64_t position = graph.perm[e];
    if (!in_range(position, graph.num_edges) || seen[position]) {
      throw std::out_of_range(message("`perm` must hold every edge in [0, ", graph.num_edges,
                                      ") once, got ", position));
    }
    seen[position] = true;
  }
}

Grouped csr_transpose(Tensor rowptr, Tensor col, OptionalTensor perm, int64_t num_src) {
  const Csr graph = view(rowptr, col, perm);
  Tensor t_rowptr = empty_index(col, num_src + 1), t_col = empty_index(col, graph.num_edges),
         t_perm = empty_index(col, graph.num_edges);
  int64_t* to_col = t_col.mutable_data_ptr<int64_t>();
  int64_t* to_perm = t_perm.mutable_data_ptr<int64_t>();
  const std::unique_ptr<int64_t[]> target(new int64_t[graph.num_edges]);
  torch::stable::parallel_for(0, graph.num_rows, 1 << 12, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      std::fill(&target[graph.rowptr[row]], &target[graph.rowptr[row + 1]], row);
    }
  });
  BadNode bad;
  counting_sort(
      graph.num_edges, num_src, t_rowptr.mutable_data_ptr<int64_t>(), bad,
      [&](int64_t e) { return graph.col[e]; },
      [&](int64_t e) { return in_range(graph.col[e], num_src); },
      [&](int64_t e, int64_t slot) {
        to_col[slot] = target[e];
        to_perm[slot] = graph.position(e);
      });
  if (bad.seen()) bad_node("source", graph.col[bad.edge()], num_src);
  return {t_rowptr, t_col, t_perm};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("is_sorted", TORCH_BOX(&is_sorted));
  m.impl("coo_to_csr", TORCH_BOX(&coo_to_csr));
  m.impl("check_csr", TORCH_BOX(&check_csr));
  m.impl("csr_transpose", TORCH_BOX(&csr_transpose));
}

}  // namespace gnnlib
