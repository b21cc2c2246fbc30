// Rows of a list and the segments they are in, as the kernels that give every row a value take
// them.
#pragma once

#include "message.h"

namespace gnnlib {

struct Segments {
  Tensor x, ptr;
  Csr graph;

  Segments(const Tensor& x_, const Tensor& ptr_, const OptionalTensor& perm)
      : x(features(x_, "x")),
        ptr(torch::stable::contiguous(ptr_)),
        graph(view(ptr, std::nullopt, perm, x.size(0))) {
    check_segments(graph, ptr);
  }

  // Zero for rows that are in no segment.
  Tensor each_row() const {
    Tensor out = empty_like(x, {x.size(0), x.size(1)});
    if (!covers(graph, x.size(0))) torch::stable::zero_(out);
    return out;
  }

  Tensor per_segment(const Tensor& t, const char* name) const {
    return matching(features(t, name), name, x, graph.num_rows * x.size(1), "segment and column");
  }
};

}  // namespace gnnlib
