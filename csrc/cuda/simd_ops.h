// Work on a pack of neighbouring columns, as many as a thread loads at once, or on one.
#pragma once

#include <cstring>

#include "launch.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T, int N>
struct Pack {
  using type = T;
  static constexpr int size = N;
  T v[N];
};

template <typename U>
constexpr bool is_pack = false;
template <typename T, int N>
constexpr bool is_pack<Pack<T, N> > = true;

// How many neighbouring columns a thread holds: 16 bytes of them. Integers come one by one, as they
// are rarely features, and there are many kinds of them to compile for.
template <typename Op>
constexpr int kColumnsOf =
    std::is_integral_v<typename Op::value_t> ? 1 : 16 / sizeof(typename Op::value_t);

// What one thread takes of a column in functions that know no packs.
template <typename T>
using native = T;

// Columns that a U holds: one if it is a plain T.
template <typename U, typename T>
constexpr int lanes = sizeof(U) / sizeof(T);

// f of each column.
template <typename F, typename U, typename... Us>
GNNLIB_INLINE U by_register(const F& f, U first, Us... others) {
  if constexpr (is_pack<U>) {
    U out;
#pragma unroll
    for (int k = 0; k < U::size; ++k) {
      out.v[k] = static_cast<typename U::type>(f(first.v[k], others.v[k]...));
    }
    return out;
  } else {
    return static_cast<U>(f(first, others...));
  }
}

// The same for functions of `native`.
template <typename T, typename F, typename U, typename... Us>
GNNLIB_INLINE U by_native(const F& f, U first, Us... others) {
  return by_register(f, first, others...);
}

#define GNNLIB_PACK_OPERATOR(op)                                                  \
  template <typename T, int N>                                                    \
  GNNLIB_INLINE Pack<T, N> operator op(Pack<T, N> a, Pack<T, N> b) {              \
    return by_register([](T x, T y) { return x op y; }, a, b);                    \
  }                                                                               \
  template <typename T, int N>                                                    \
  GNNLIB_INLINE Pack<T, N> operator op(Pack<T, N> a, std::type_identity_t<T> b) { \
    return by_register([b](T x) { return x op b; }, a);                           \
  }                                                                               \
  template <typename T, int N>                                                    \
  GNNLIB_INLINE Pack<T, N> operator op(std::type_identity_t<T> a, Pack<T, N> b) { \
    return by_register([a](T y) { return a op y; }, b);                           \
  }
GNNLIB_PACK_OPERATOR(+)
GNNLIB_PACK_OPERATOR(-)
GNNLIB_PACK_OPERATOR(*)
GNNLIB_PACK_OPERATOR(/)
#undef GNNLIB_PACK_OPERATOR

template <typename T, int N>
GNNLIB_INLINE Pack<T, N> operator-(Pack<T, N> a) {
  return by_register([](T x) { return -x; }, a);
}

// A value more in a fold.
template <typename Fold, typename U>
GNNLIB_INLINE U take(U acc, U value) {
  return by_register([](auto a, auto v) { return Fold::update(a, v); }, acc, value);
}

// What is moved at once.
template <int bytes>
struct Word {
  static_assert(bytes == 4 || bytes == 8 || bytes % 16 == 0, "a pack is 4, 8 or 16 bytes");
  using type =
      std::conditional_t<bytes == 4, unsigned, std::conditional_t<bytes == 8, uint2, uint4> >;
  static constexpr int count = bytes / sizeof(type);
};

// Columns [f, ...) of a row as U.
template <typename U, typename T>
GNNLIB_INLINE U load_as(const T* p) {
  if constexpr (is_pack<U>) {
    T raw[U::size];
    using Words = Word<sizeof(raw)>;
#pragma unroll
    for (int k = 0; k < Words::count; ++k) {
      // Nothing is written to while a kernel reads it.
      const auto word = __ldg(reinterpret_cast<const typename Words::type*>(p) + k);
      memcpy(reinterpret_cast<char*>(raw) + k * sizeof(word), &word, sizeof(word));
    }
    U out;
#pragma unroll
    for (int k = 0; k < U::size; ++k) out.v[k] = static_cast<typename U::type>(raw[k]);
    return out;
  } else {
    return static_cast<U>(*p);
  }
}

template <typename U, typename T>
GNNLIB_INLINE void store_as(T* p, U value) {
  if constexpr (is_pack<U>) {
    T raw[U::size];
#pragma unroll
    for (int k = 0; k < U::size; ++k) raw[k] = static_cast<T>(value.v[k]);
    using Words = Word<sizeof(raw)>;
#pragma unroll
    for (int k = 0; k < Words::count; ++k) {
      typename Words::type word;
      memcpy(&word, reinterpret_cast<const char*>(raw) + k * sizeof(word), sizeof(word));
      reinterpret_cast<typename Words::type*>(p)[k] = word;
    }
  } else {
    *p = static_cast<T>(value);
  }
}

// Equal, or both NaN: the test for "this message is the one that won".
template <typename V>
GNNLIB_INLINE bool same(V a, V b) {
  return (a == b) | ((a != a) & (b != b));
}

// Calls run(tag) with the tag of what a thread takes of `columns`: packs where they fit.
template <typename Op, typename F>
void with_columns(int64_t columns, const F& run) {
  using T = typename Op::acc_t;
  if constexpr (kColumnsOf<Op> > 1) {
    if (columns % kColumnsOf<Op> == 0) return run(std::type_identity<Pack<T, kColumnsOf<Op> > >{});
  }
  run(std::type_identity<T>{});
}

}  // namespace gnnlib::GNNLIB_ISA
