// What the gradients of min, max, mul and variance take.
#pragma once

#include "message.h"

namespace gnnlib {

inline Reduce nonlinear(int64_t reduce) {
  require(2 <= reduce && reduce <= 5, "`reduce` must be in [2, 5], got ", reduce);
  return static_cast<Reduce>(reduce);
}

inline Tensor per_target(const Tensor& t, const char* name, const Tensor& x, int64_t num_dst) {
  return matching(features(t, name), name, x, num_dst * x.size(1), "target node and column");
}

}  // namespace gnnlib
