// Exponentials of columns.
#pragma once

namespace gnnlib::GNNLIB_ISA {

template <typename T>
GNNLIB_INLINE T exp_of_register(T x) {
  return exp(x);
}

template <typename U>
GNNLIB_INLINE U exp_of(U x) {
  return by_register([](auto v) { return exp(v); }, x);
}

}  // namespace gnnlib::GNNLIB_ISA
