// A choice per column, register by register: GCC takes comparisons of wider vectors apart lane by
// lane. Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// What `choose` may ask of v. NaN is neither.
struct Above {
  template <typename V>
  static GNNLIB_INLINE auto holds(V v) {
    return v > V{};
  }
};
struct NotAbove {
  template <typename V>
  static GNNLIB_INLINE auto holds(V v) {
    return v <= V{};
  }
};

// v > 0 ? a : b, or v <= 0 ? a : b.
template <typename Is, typename U>
GNNLIB_INLINE U choose(U v, U a, U b) {
  if constexpr (std::is_arithmetic_v<U>) {
    return Is::holds(v) ? a : b;
  } else {
    using Register = native<std::remove_cvref_t<decltype(v[0])>>;
    constexpr int count = sizeof(U) / sizeof(Register);
    Register of[count], yes[count], no[count];
    std::memcpy(of, &v, sizeof(v));
    std::memcpy(yes, &a, sizeof(a));
    std::memcpy(no, &b, sizeof(b));
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) yes[k] = Is::holds(of[k]) ? yes[k] : no[k];
    std::memcpy(&v, yes, sizeof(v));
    return v;
  }
}

}  // namespace gnnlib::GNNLIB_ISA
