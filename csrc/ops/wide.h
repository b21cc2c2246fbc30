// What a dtype is accumulated in, at run time.
#pragma once

#include "message.h"

namespace gnnlib {

inline ScalarType wide(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Tensor empty_wide(const Tensor& x, int64_t rows) {
  return torch::stable::empty({rows, x.size(1)}, wide(x), std::nullopt, x.device());
}

// A tensor of what `x` is accumulated in, made contiguous.
inline Tensor matching_wide(const Tensor& t, const char* name, const Tensor& x, int64_t numel) {
  require(t.scalar_type() == wide(x), "`", name,
          "` must have the dtype that `x` is accumulated in");
  require(t.numel() == numel, "`", name, "` must have ", numel, " value(s), got ", t.numel());
  return dense(t);
}

}  // namespace gnnlib
