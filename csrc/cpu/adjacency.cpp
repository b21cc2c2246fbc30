// A graph from a list of edges to CSR, and CSR to its transpose: parallel stable counting sorts.
// Every node id is range-checked here, once, where it enters.
#include <tuple>

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

using Grouped = std::tuple<Tensor, Tensor, Tensor>;

Tensor empty_index(const Tensor& like, int64_t size) {
  return torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
}

// Sorts edges by key(e) in [0, num_rows), stably. Each block of edges counts its keys, the counts
// become each block's first slot in every row, and each block then places its edges: the order does
// not depend on how many blocks there are.
//   check(e): false for an edge with a bad id;  place(e, slot): edge e goes to `slot`.
template <typename Key, typename Check, typename Place>
void counting_sort(int64_t num_edges, int64_t num_rows, int64_t* rowptr, FirstBad& bad,
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

// The elements of every group, in their order.
std::tuple<Tensor, Tensor> group_index(Tensor index, int64_t size) {
  require_index(index, "index");
  require(size >= 0, "`dim_size` must not be negative, got ", size);
  index = torch::stable::contiguous(index);
  const int64_t* group = index.const_data_ptr<int64_t>();
  Tensor ptr = empty_index(index, size + 1), perm = empty_index(index, index.numel());
  int64_t* to_perm = perm.mutable_data_ptr<int64_t>();
  FirstBad bad;
  counting_sort(
      index.numel(), size, ptr.mutable_data_ptr<int64_t>(), bad,
      [&](int64_t e) { return group[e]; }, [&](int64_t e) { return in_range(group[e], size); },
      [&](int64_t e, int64_t slot) { to_perm[slot] = e; });
  if (bad.seen()) bad_index(group[bad.at()], size);
  return {ptr, perm};
}

// Where each group of a sorted index begins: ptr[i] = number of elements below i.
Tensor index_to_ptr(Tensor index, int64_t size) {
  require_index(index, "index");
  require(size >= 0, "`dim_size` must not be negative, got ", size);
  index = torch::stable::contiguous(index);
  const int64_t n = index.numel();
  const int64_t* group = index.const_data_ptr<int64_t>();
  require_in_range(group, n, size);
  Tensor ptr = empty_index(index, size + 1);
  int64_t* to = ptr.mutable_data_ptr<int64_t>();
  const auto before = [&](int64_t e) { return e == 0 ? -1 : group[e - 1]; };
  FirstBad bad;
  parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      if (group[e] < before(e)) return bad.see(e);
      std::fill(to + before(e) + 1, to + group[e] + 1, e);
    }
  });
  if (bad.seen()) {
    const int64_t e = bad.at();
    require(false, "`index` must be sorted, but ", group[e - 1], " comes before ", group[e],
            " (sort it, or use scatter)");
  }
  std::fill(to + before(n) + 1, to + size + 1, n);
  return ptr;
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
  FirstBad bad;
  counting_sort(
      num_edges, num_dst, rowptr.mutable_data_ptr<int64_t>(), bad,
      [&](int64_t e) { return dst[e]; },
      [&](int64_t e) { return in_range(src[e], num_src) && in_range(dst[e], num_dst); },
      [&](int64_t e, int64_t slot) {
        to_col[slot] = src[e];
        to_perm[slot] = e;
      });
  if (bad.seen()) {
    const int64_t e = bad.at();
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
  parallel_ranges(graph.num_rows, 8, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      std::fill(&target[graph.rowptr[row]], &target[graph.rowptr[row + 1]], row);
    }
  });
  FirstBad bad;
  counting_sort(
      graph.num_edges, num_src, t_rowptr.mutable_data_ptr<int64_t>(), bad,
      [&](int64_t e) { return graph.col[e]; },
      [&](int64_t e) { return in_range(graph.col[e], num_src); },
      [&](int64_t e, int64_t slot) {
        to_col[slot] = target[e];
        to_perm[slot] = graph.position(e);
      });
  if (bad.seen()) bad_node("source", graph.col[bad.at()], num_src);
  return {t_rowptr, t_col, t_perm};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("group_index", TORCH_BOX(&group_index));
  m.impl("index_to_ptr", TORCH_BOX(&index_to_ptr));
  m.impl("is_sorted", TORCH_BOX(&is_sorted));
  m.impl("coo_to_csr", TORCH_BOX(&coo_to_csr));
  m.impl("check_csr", TORCH_BOX(&check_csr));
  m.impl("csr_transpose", TORCH_BOX(&csr_transpose));
}

}  // namespace gnnlib
