// The loop that all edge kernels share: fold `width` columns into one value per edge, or into one
// per edge and head. What an `Op` is, cpu/edge_fold.h says.
#pragma once

#include "warp.h"

namespace gnnlib::GNNLIB_ISA {

// Each warp has some neighbouring edges, of which its groups of lanes take one at a time.
constexpr int64_t kEdgesOfWarp = 128;

// Edges of a group whose columns are under way at the same time.
constexpr int kEdgesInFlight = 2;

class EdgesOfWarp {
 public:
  int64_t first, last;

  // Segments need not begin at the first element nor end at the last.
  GNNLIB_INLINE EdgesOfWarp(const Csr& graph, int64_t warp)
      : first(graph.rowptr[0] + warp * kEdgesOfWarp), rowptr_(graph.rowptr) {
    const int64_t end = graph.rowptr[graph.num_rows];
    last = first + kEdgesOfWarp < end ? first + kEdgesOfWarp : end;
    if (first >= last) return;
    low_ = gnnlib::row_of(rowptr_, 0, graph.num_rows, first);
    high_ = gnnlib::row_of(rowptr_, low_, graph.num_rows, last - 1) + 1;
  }

  GNNLIB_INLINE int64_t row_of(int64_t e) const { return gnnlib::row_of(rowptr_, low_, high_, e); }

 private:
  const int64_t* rowptr_;
  int64_t low_ = 0, high_ = 0;
};

template <typename Op, typename U>
__global__ void __launch_bounds__(kThreads) edge_kernel(Op op, int64_t columns, Lanes lanes_of) {
  using T = typename Op::acc_t;
  constexpr int count = lanes<U, T>;
  const int lane = lane_index(), own = lane % lanes_of.columns;
  const int64_t head = blockIdx.y;
  const EdgesOfWarp edges(op.graph, warp_index());
  const int groups = lanes_of.groups();
  for (int64_t base = edges.first; base < edges.last; base += kEdgesInFlight * groups) {
    U acc[kEdgesInFlight] = {};
    int64_t row[kEdgesInFlight];
#pragma unroll
    for (int k = 0; k < kEdgesInFlight; ++k) {
      const int64_t e = base + k * groups + lane / lanes_of.columns;
      row[k] = e < edges.last ? edges.row_of(e) : -1;
    }
    for (int64_t f = own * count; f < columns; f += lanes_of.columns * count) {
#pragma unroll
      for (int k = 0; k < kEdgesInFlight; ++k) {
        if (row[k] < 0) continue;
        const int64_t e = base + k * groups + lane / lanes_of.columns;
        acc[k] = op.template step<U>(acc[k], row[k], e, head * columns + f);
      }
    }
#pragma unroll
    for (int k = 0; k < kEdgesInFlight; ++k) {
      const int64_t e = base + k * groups + lane / lanes_of.columns;
      const T sum = sum_of_lanes<T>(acc[k], lanes_of.columns);
      if (row[k] >= 0 && own == 0) op.finish(e, head, sum);
    }
  }
}

template <typename Op>
void fold_edges(const Op& op, int64_t heads = 1) {
  if (heads == 0 || op.graph.num_rows == 0) return;
  const int64_t columns = op.width / heads;
  const int64_t warps = ceil_div(op.graph.num_edges, kEdgesOfWarp);
  with_columns<Op>(columns, [&](auto tag) {
    using U = typename decltype(tag)::type;
    launch(&edge_kernel<Op, U>, blocks_of(warps), heads, op.graph.device, op, columns,
           lanes_for(columns, lanes<U, typename Op::acc_t>));
  });
}

}  // namespace gnnlib::GNNLIB_ISA
