// The derivative of one target's value by one message m, for reductions in which it depends on m:
// min, max, product and variance. Each reads the same two tables of the target i:
//   reduction   out[i]      share[i]                             derivative by m
//   min, max    the value   grad / number of messages that tie   m == out ? share : 0
//   mul         the value   grad * product of the nonzero        share / m, and at a zero share;
//                           messages; 0 if two are zero          0 where another one is zero
//   var         the mean    2 grad / number of messages          share * (m - out)
// Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

template <Reduce R>
struct Gain {
  template <typename U>
  static GNNLIB_INLINE U of(U m, U out, U share) {
    return by_register([](auto a, auto b, auto c) GNNLIB_LAMBDA { return one(a, b, c); }, m, out,
                       share);
  }

 private:
  template <typename V>
  static GNNLIB_INLINE V one(V m, V out, V share) {
    const V zero = V{};
    if constexpr (R == Reduce::Mul) {
      return m != zero ? (out != zero ? share / m : zero) : share;
    } else if constexpr (R == Reduce::Var) {
      return share * (m - out);
    } else {
      return same(m, out) ? share : zero;
    }
  }
};

// Calls run(tag) with the tag of a gain: ties are the same for min and max.
template <typename F>
void dispatch_gain(Reduce reduce, const F& run) {
  switch (reduce) {
    case Reduce::Mul:
      return run(std::integral_constant<Reduce, Reduce::Mul>{});
    case Reduce::Var:
      return run(std::integral_constant<Reduce, Reduce::Var>{});
    default:
      return run(std::integral_constant<Reduce, Reduce::Max>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA
