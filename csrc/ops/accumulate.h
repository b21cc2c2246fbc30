// What a dtype is accumulated in.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

namespace gnnlib {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

template <typename T>
struct AccumulateIn {
  using type = T;
};
template <>
struct AccumulateIn<Half> {
  using type = float;
};
template <>
struct AccumulateIn<BFloat16> {
  using type = float;
};

}  // namespace gnnlib
