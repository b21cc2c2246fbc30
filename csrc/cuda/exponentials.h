// The rows of a list that are in a segment, and the sums of their exponentials.
#pragma once

#include "fold.h"
#include "running_softmax.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct ListRows {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    int64_t at;  // where its row begins
  };

  Csr graph;
  int64_t width;
  const scalar_t* x;

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    edge.at = graph.position(e) * width;
    return true;
  }

  template <typename U>
  GNNLIB_INLINE U message(const Edge& edge, int64_t f) const {
    return load_as<U>(x + edge.at + f);
  }
};

// A column's largest value, and the sum of exp(x - largest).
template <typename scalar_t>
struct Exponentials : ListRows<scalar_t> {
  using Rows = ListRows<scalar_t>;
  using typename Rows::acc_t;
  using typename Rows::Edge;

  static constexpr int kParts = 2;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[2], int64_t, int64_t) const {
    acc[0] = U{} - std::numeric_limits<acc_t>::infinity();
    acc[1] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[2], int64_t, const Edge& edge, int64_t f) const {
    merge(acc, {this->template message<U>(edge, f), U{} + acc_t(1)});
  }

  // Equal infinities are no distance apart, though their difference is NaN.
  template <typename U>
  static GNNLIB_INLINE void merge(U (&acc)[2], const U (&next)[2]) {
    merge_powers(
        acc, next,
        by_register([](auto a, auto b) { return a == b ? acc_t(0) : b - a; }, acc[0], next[0]));
  }

  GNNLIB_INLINE void combine(acc_t (&a)[2], const acc_t (&b)[2]) const { merge(a, b); }
};

}  // namespace gnnlib::GNNLIB_ISA
