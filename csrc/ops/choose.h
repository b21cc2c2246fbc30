// A choice per column. Included inside foreach_isa.h, so without a guard.

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
  return by_register(
      [](auto of, auto yes, auto no) GNNLIB_LAMBDA { return Is::holds(of) ? yes : no; }, v, a, b);
}

}  // namespace gnnlib::GNNLIB_ISA
