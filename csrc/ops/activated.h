// What the kernels of activated sums take.
#pragma once

#include "message.h"

namespace gnnlib {

// In the order of the operators' `act`.
enum class Activation { Relu, LeakyRelu, Elu, Gelu, GeluTanh, Silu, Tanh, Sigmoid };

inline Activation activation(int64_t act) {
  require(0 <= act && act <= 7, "`act` must be in [0, 7], got ", act);
  return static_cast<Activation>(act);
}

}  // namespace gnnlib
