// One reduction, written once for every instruction set and for the GPU: where to start, how to
// take one more value. Included where GNNLIB_ISA names the namespace to compile it in, so without a
// guard.
#include <limits>
#include <type_traits>

namespace gnnlib::GNNLIB_ISA {

// `update` takes scalars and SIMD vectors alike. `v != v` is true of NaN alone: a NaN replaces any
// accumulator, and no comparison removes it again.
template <typename T, Reduce R>
struct Reducer {
  using Limits = std::numeric_limits<T>;
  static constexpr T lowest = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  static constexpr T highest = Limits::has_infinity ? Limits::infinity() : Limits::max();
  static constexpr bool compares = R == Reduce::Min || R == Reduce::Max;
  // What nothing at all reduces to.
  static constexpr T empty = R == Reduce::Mul ? T(1) : T(0);
  static constexpr T init = R == Reduce::Min ? highest : R == Reduce::Max ? lowest : empty;

  template <typename V>
  static GNNLIB_INLINE V update(V acc, V v) {
    if constexpr (R == Reduce::Min) {
      return ((v < acc) | (v != v)) ? v : acc;
    } else if constexpr (R == Reduce::Max) {
      return ((v > acc) | (v != v)) ? v : acc;
    } else if constexpr (R == Reduce::Mul) {
      return static_cast<V>(acc * v);
    } else {
      return static_cast<V>(acc + v);
    }
  }
};

// Calls run(tag) with the tag of a reduction's Reducer: a mean is a sum that is divided later.
template <typename F>
void with_reducer(Reduce reduce, const F& run) {
  switch (reduce) {
    case Reduce::Min:
      return run(std::integral_constant<Reduce, Reduce::Min>{});
    case Reduce::Max:
      return run(std::integral_constant<Reduce, Reduce::Max>{});
    case Reduce::Mul:
      return run(std::integral_constant<Reduce, Reduce::Mul>{});
    default:
      return run(std::integral_constant<Reduce, Reduce::Sum>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA
