// Work on one register at a time: GCC takes vectors of several apart through memory. Included by
// kernels inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// What one register holds.
template <typename T>
struct Native {
  typedef T type __attribute__((vector_size(GNNLIB_REGISTER)));
};
template <typename T>
using native = typename Native<T>::type;

template <typename T>
using vec = native<T>;

// Columns that a U holds: one if it is a plain T, a register's worth otherwise.
template <typename U, typename T>
constexpr int lanes = sizeof(U) / sizeof(T);

// f of registers, or of numbers, whose type a comparison may widen.
template <typename F, typename U, typename... Us>
GNNLIB_INLINE U by_register(const F& f, U first, Us... others) {
  return static_cast<U>(f(first, others...));
}

// f of registers, or of numbers, which get the bits that they would get in a register.
template <typename T, typename F, typename U, typename... Us>
GNNLIB_INLINE U by_native(const F& f, U first, Us... others) {
  if constexpr (std::is_arithmetic_v<U>) {
    return f(native<T>{} + first, native<T>{} + others...)[0];
  } else {
    return f(first, others...);
  }
}

// A value more in a fold.
template <typename Fold, typename U>
GNNLIB_INLINE U take(U acc, U value) {
  if constexpr (Fold::compares) {
    return by_register([](auto a, auto v) GNNLIB_LAMBDA { return Fold::update(a, v); }, acc, value);
  } else {
    return Fold::update(acc, value);
  }
}

typedef uint16_t halves __attribute__((vector_size(GNNLIB_REGISTER / 2)));

template <typename T>
GNNLIB_INLINE vec<typename AccumulateIn<T>::type> load(const T* p) {
  if constexpr (sizeof(T) == 2 && !std::is_integral_v<T>) {
    halves raw;
    std::memcpy(&raw, p, sizeof(raw));
    vec<uint32_t> bits = __builtin_convertvector(raw, vec<uint32_t>);
    if constexpr (std::is_same_v<T, BFloat16>) {
      return (vec<float>)(bits << 16);
    } else {
      // The exponent is re-biased by a multiplication, which treats subnormals right; infinities
      // and NaN then need their exponent filled.
      const vec<uint32_t> sign = (bits & 0x8000u) << 16;
      vec<float> value = (vec<float>)((bits & 0x7fffu) << 13) * 0x1p112f;
      vec<uint32_t> magnitude = (vec<uint32_t>)value;
      magnitude |= (vec<uint32_t>)(value >= 65536.0f) & 0x7f800000u;
      return (vec<float>)(magnitude | sign);
    }
  } else {
    vec<T> value;
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
}

template <typename T>
GNNLIB_INLINE void store(T* p, vec<typename AccumulateIn<T>::type> value) {
  if constexpr (std::is_same_v<T, typename AccumulateIn<T>::type>) {
    std::memcpy(p, &value, sizeof(value));
  } else {
    for (int k = 0; k < lanes<vec<float>, float>; ++k) p[k] = static_cast<T>(value[k]);
  }
}

// Every lane k in the place of lane k ^ Distance.
template <typename T, int Distance>
GNNLIB_INLINE native<T> swapped(native<T> v) {
  using Index = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
  native<Index> from;
  for (int k = 0; k < GNNLIB_REGISTER / int(sizeof(T)); ++k) from[k] = k ^ Distance;
  return __builtin_shuffle(v, from);
}

// In every lane the sum of its group of 2 * Half, a power of two.
template <typename T, int Half>
GNNLIB_INLINE native<T> group_sums(native<T> v) {
  if constexpr (Half > 0) {
    return group_sums<T, Half / 2>(v + swapped<T, Half>(v));
  } else {
    return v;
  }
}

template <typename T>
GNNLIB_INLINE T horizontal_sum(vec<T> v) {
  return group_sums<T, lanes<vec<T>, T> / 2>(v)[0];
}

// Equal, or both NaN: the test for "this message is the one that won".
template <typename V>
GNNLIB_INLINE auto same(V a, V b) {
  return (a == b) | ((a != a) & (b != b));
}

// Columns [f, ...) of a row as U: one element, or a vector of them.
template <typename U, typename T>
GNNLIB_INLINE U load_as(const T* p) {
  if constexpr (std::is_arithmetic_v<U>) {
    return static_cast<U>(*p);
  } else {
    return load(p);
  }
}

template <typename U, typename T>
GNNLIB_INLINE void store_as(T* p, U value) {
  if constexpr (std::is_arithmetic_v<U>) {
    *p = static_cast<T>(value);
  } else {
    store(p, value);
  }
}

GNNLIB_INLINE void prefetch_row(const void* row, int64_t bytes) {
  const char* line = static_cast<const char*>(row);
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(line + b);
}

}  // namespace gnnlib::GNNLIB_ISA
