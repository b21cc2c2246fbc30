// The loop of edge kernels that fold each head's columns into a value of its own: what an `Op` is,
// cpu/head_fold.h says.
#pragma once

#include "edge_fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename Op>
struct ByHead : Op {
  GNNLIB_INLINE void finish(int64_t e, int64_t h, typename Op::acc_t sum) const {
    this->place(e)[h] = static_cast<typename Op::value_t>(sum);
  }
};

template <typename Op>
void fold_heads(const Op& op) {
  fold_edges(ByHead<Op>{op}, op.heads);
}

}  // namespace gnnlib::GNNLIB_ISA
