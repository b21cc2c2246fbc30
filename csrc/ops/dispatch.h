// From a dtype at run time to a type at compile time.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../checks.h"

namespace gnnlib {

inline bool is_integral(ScalarType type) {
  switch (type) {
    case ScalarType::Byte:
    case ScalarType::Char:
    case ScalarType::Short:
    case ScalarType::Int:
    case ScalarType::Long:
      return true;
    default:
      return false;
  }
}

template <typename F>
void dispatch_floating(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::Half:
      return f(torch::headeronly::Half{});
    case ScalarType::BFloat16:
      return f(torch::headeronly::BFloat16{});
    default:
      require(false, "needs float32, float64, float16, bfloat16 or integer features");
  }
}

// For kernels whose callers widen half types first.
template <typename F>
void dispatch_wide(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    default:
      require(false, "needs float32 or float64 features");
  }
}

template <typename F>
void dispatch_integral(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Byte:
      return f(uint8_t{});
    case ScalarType::Char:
      return f(int8_t{});
    case ScalarType::Short:
      return f(int16_t{});
    case ScalarType::Int:
      return f(int32_t{});
    default:
      return f(int64_t{});
  }
}

}  // namespace gnnlib
