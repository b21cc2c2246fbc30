// Activations of registers and their derivatives, with torch's values at zero, infinity and NaN;
// to a few units in the last place. Included inside foreach_isa.h, so without a guard.
#include "special.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T>
GNNLIB_INLINE native<T> sigmoid_of_register(native<T> v) {
  return T(1) / (T(1) + exp_of_register<T>(-v));
}

// Each activation has its `value` at v, and its `gain`, what it makes of a gradient g there.

template <typename T>
struct Relu {
  static GNNLIB_INLINE native<T> value(native<T> v, T) { return v <= T(0) ? native<T>{} : v; }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T) {
    return v <= T(0) ? native<T>{} : g;
  }
};

template <typename T>
struct LeakyRelu {
  static GNNLIB_INLINE native<T> value(native<T> v, T alpha) { return v > T(0) ? v : v * alpha; }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T alpha) {
    return v > T(0) ? g : g * alpha;
  }
};

template <typename T>
struct Elu {
  static GNNLIB_INLINE native<T> value(native<T> v, T alpha) {
    return v > T(0) ? v : expm1_of_register<T>(v) * alpha;
  }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T alpha) {
    return v > T(0) ? g : g * alpha * exp_of_register<T>(v);
  }
};

// v times the mass of a normal distribution below v.
template <typename T>
struct Gelu {
  static GNNLIB_INLINE native<T> value(native<T> v, T) { return v * Normal<T>(v).below; }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T) {
    const Normal<T> normal(v);
    return g * (normal.below + v * normal.bell * T(0.398942280401432678));  // 1 / sqrt(2 pi)
  }
};

// v * sigmoid(2 sqrt(2 / pi) (v + 0.044715 v^3)), which is how the tanh of its formula cancels.
template <typename T>
struct GeluTanh {
  static constexpr T kSlope = T(1.59576912160573071), kCubic = kSlope * T(0.044715);

  static GNNLIB_INLINE native<T> value(native<T> v, T) {
    return v * sigmoid_of_register<T>(v * (kSlope + kCubic * v * v));
  }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T) {
    const native<T> square = v * v, s = sigmoid_of_register<T>(v * (kSlope + kCubic * square));
    return g * (s + v * s * (T(1) - s) * (kSlope + T(3) * kCubic * square));
  }
};

template <typename T>
struct Silu {
  static GNNLIB_INLINE native<T> value(native<T> v, T) { return v * sigmoid_of_register<T>(v); }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T) {
    const native<T> s = sigmoid_of_register<T>(v);
    return g * s * (T(1) + v * (T(1) - s));
  }
};

template <typename T>
struct Tanh {
  static GNNLIB_INLINE native<T> value(native<T> v, T) {
    const native<T> less = expm1_of_register<T>(magnitude<T>(v) * T(-2));
    const native<T> size = -less / (less + T(2));
    return v < T(0) ? -size : size;
  }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T alpha) {
    const native<T> out = value(v, alpha);
    return g * (T(1) - out * out);
  }
};

template <typename T>
struct Sigmoid {
  static GNNLIB_INLINE native<T> value(native<T> v, T) { return sigmoid_of_register<T>(v); }
  static GNNLIB_INLINE native<T> gain(native<T> v, native<T> g, T) {
    const native<T> s = sigmoid_of_register<T>(v);
    return g * s * (T(1) - s);
  }
};

template <typename Act, typename U, typename T>
GNNLIB_INLINE U value_of(U v, T alpha) {
  return by_native<T>([alpha](auto at) GNNLIB_LAMBDA { return Act::value(at, alpha); }, v);
}

template <typename Act, typename U, typename T>
GNNLIB_INLINE U gain_of(U v, U g, T alpha) {
  return by_native<T>(
      [alpha](auto at, auto grad) GNNLIB_LAMBDA { return Act::gain(at, grad, alpha); }, v, g);
}

// Calls run(tag) with the tag of an activation.
template <typename T, typename F>
void with_activation(Activation act, const F& run) {
  switch (act) {
    case Activation::Relu:
      return run(Relu<T>{});
    case Activation::LeakyRelu:
      return run(LeakyRelu<T>{});
    case Activation::Elu:
      return run(Elu<T>{});
    case Activation::Gelu:
      return run(Gelu<T>{});
    case Activation::GeluTanh:
      return run(GeluTanh<T>{});
    case Activation::Silu:
      return run(Silu<T>{});
    case Activation::Tanh:
      return run(Tanh<T>{});
    case Activation::Sigmoid:
      return run(Sigmoid<T>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA
