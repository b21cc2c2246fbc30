// What activations are made of besides exponentials.
#pragma once

#include "exp.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T>
GNNLIB_INLINE T magnitude(T v) {
  return fabs(v);
}

template <typename T>
GNNLIB_INLINE T expm1_of_register(T x) {
  return expm1(x);
}

// The normal distribution at v.
template <typename T>
struct Normal {
  T bell;   // exp(-v^2 / 2)
  T below;  // the mass below v

  GNNLIB_INLINE explicit Normal(T v)
      : bell(exp_of_register<T>(v * v * T(-0.5))),
        below(T(0.5) * erfc(v * T(-0.70710678118654752))) {}
};

}  // namespace gnnlib::GNNLIB_ISA
