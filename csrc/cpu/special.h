// What activations are made of besides exponentials, on registers. Included inside foreach_isa.h,
// so without a guard.
#include "exp.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T>
GNNLIB_INLINE native<T> magnitude(native<T> v) {
  return v < T(0) ? -v : v;
}

// exp(x) - 1 for x <= 0. Near 0 the difference would lose its digits, and the series has them.
template <typename T>
GNNLIB_INLINE native<T> expm1_of_register(native<T> x) {
  static constexpr Taylor<T> taylor;
  native<T> tail = native<T>{} + taylor.term[Exp<T>::kDegree];
#pragma GCC unroll 16
  for (int k = Exp<T>::kDegree - 1; k >= 2; --k) tail = tail * x + taylor.term[k];
  return x > T(-0.35) ? tail * x * x + x : exp_of_register<T>(x) - T(1);
}

// erfc(|v| / sqrt 2) exp(v^2 / 2) / t with t = 1 / (1 + kNear |v|), which falls from 1 to 0, is a
// polynomial of u = kSpan t + kShift in [-1, 1], which interpolates it at Chebyshev's nodes; to
// half a unit in the last place where the exponential is not 0.
template <typename T>
struct Erfc;

template <>
struct Erfc<float> {
  static constexpr int kDegree = 9;
  static constexpr float kNear = 0.23570226f, kSpan = 44 / 17.f, kShift = -27 / 17.f;
  static constexpr float term[] = {
      .436414982f,   .310572683f,     .167591091f,     .0665038157f,     .0175592404f,
      .00198570845f, -.000461727236f, -.000184507334f, .00000778609884f, .0000109303268f};
};

template <>
struct Erfc<double> {
  static constexpr int kDegree = 21;
  static constexpr double kNear = .176776695296636881, kSpan = 626 / 273.0, kShift = -353 / 273.0;
  static constexpr double term[] = {
      .3086613454284418097669,  .2624645901128456496504,  .1934072854820494740418,
      .1230574132752749601089,  .0669576902902632891048,  .0305815777730820684516,
      .0113132998925645515349,  .0031348104997910273063,  .0005057594533684193232,
      -.0000333886509567348770, -.0000442818536557310042, -.0000086354323198075677,
      .0000015962185129926090,  .0000010106009934454079,  .0000000186484084350209,
      -.0000000894694221893603, -.0000000107588010102940, .0000000078527212098339,
      .0000000013912215988863,  -.0000000006991596742568, -.0000000001018452669370,
      .0000000000466214807858};
};

// The normal distribution at v.
template <typename T>
struct Normal {
  native<T> bell;   // exp(-v^2 / 2)
  native<T> below;  // the mass below v

  GNNLIB_INLINE explicit Normal(native<T> v) : bell(exp_of_register<T>(v * v * T(-0.5))) {
    using E = Erfc<T>;
    const native<T> t = T(1) / (T(1) + E::kNear * magnitude<T>(v));
    const native<T> u = t * E::kSpan + E::kShift;
    native<T> sum = native<T>{} + E::term[E::kDegree];
#pragma GCC unroll 32
    for (int k = E::kDegree - 1; k >= 0; --k) sum = sum * u + E::term[k];
    const native<T> beyond = bell * sum * t * T(0.5);
    below = v > T(0) ? T(1) - beyond : beyond;
  }
};

}  // namespace gnnlib::GNNLIB_ISA
