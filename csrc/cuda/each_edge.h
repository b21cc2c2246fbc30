// Calls work.at<U>(row, e, f) for all columns [f, ...) of all edges.
#pragma once

#include "edge_fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename Work, typename U>
__global__ void __launch_bounds__(kThreads) each_edge_kernel(Work work, Lanes lanes_of) {
  constexpr int count = lanes<U, typename Work::acc_t>;
  const int lane = lane_index();
  const EdgesOfWarp edges(work.graph, warp_index());
  for (int64_t e = edges.first + lane / lanes_of.columns; e < edges.last; e += lanes_of.groups()) {
    const int64_t row = edges.row_of(e);
    for (int64_t f = lane % lanes_of.columns * count; f < work.width;
         f += lanes_of.columns * count) {
      work.template at<U>(row, e, f);
    }
  }
}

template <typename Work>
void each_edge(const Work& work) {
  if (work.width == 0 || work.graph.num_rows == 0) return;
  const int64_t warps = ceil_div(work.graph.num_edges, kEdgesOfWarp);
  with_columns<Work>(work.width, [&](auto tag) {
    using U = typename decltype(tag)::type;
    launch(&each_edge_kernel<Work, U>, blocks_of(warps), 1, work.graph.device, work,
           lanes_for(work.width, lanes<U, typename Work::acc_t>));
  });
}

}  // namespace gnnlib::GNNLIB_ISA
