// The message along an edge, gate * weight * x[source], as every gather kernel reads it.
#pragma once

#include "../checks.h"
#include "schedule.h"
#include "simd.h"

namespace gnnlib {

// A zero gate says that the source is not there: its edges are skipped, not multiplied by zero.
template <typename scalar_t>
struct Factors {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  const scalar_t* weight;  // [E] in the caller's order, or null
  const scalar_t* gate;    // [num_src], or null

  GNNLIB_INLINE void prefetch(int64_t position) const {
    if (weight) __builtin_prefetch(weight + position);
  }
  GNNLIB_INLINE bool open(int64_t source) const {
    return !gate || static_cast<acc_t>(gate[source]) != acc_t(0);
  }
  GNNLIB_INLINE acc_t of(int64_t source, int64_t position) const {
    acc_t factor = weight ? static_cast<acc_t>(weight[position]) : acc_t(1);
    return gate ? static_cast<acc_t>(gate[source]) * factor : factor;
  }
};

template <typename scalar_t>
Factors<scalar_t> factors(const OptionalTensor& weight, const OptionalTensor& gate) {
  const auto data = [](const OptionalTensor& t) {
    return t ? t->const_data_ptr<scalar_t>() : nullptr;
  };
  return {data(weight), data(gate)};
}

// What the kernels of a message take: x [num_src, F] and its factors, checked and contiguous.
struct Message {
  Csr graph;
  Tensor x;
  OptionalTensor weight, gate;

  Message(const Tensor& x_, const Tensor& rowptr, const OptionalTensor& col,
          const OptionalTensor& perm, const OptionalTensor& weight_, const OptionalTensor& gate_)
      : graph(view(rowptr, col, perm, x_.size(0))),
        x(features(x_, "x")),
        weight(matching(weight_, "weight", x, graph.num_edges, "edge")),
        gate(matching(gate_, "gate", x, x.size(0), "source node")) {}

  int64_t width() const { return x.size(1); }
};

inline Tensor empty_like(const Tensor& x, std::initializer_list<int64_t> size) {
  return torch::stable::empty(size, x.scalar_type(), std::nullopt, x.device());
}

}  // namespace gnnlib
