// The logsumexp of segments and its gradient.
#pragma once

#include "each_edge.h"
#include "exponentials.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct LogSumExp : Exponentials<scalar_t> {
  scalar_t* out;

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[2], int64_t) const {
    store_as(out + row * this->width + f,
             by_register([](auto top, auto total) { return top + log(total); }, acc[0], acc[1]));
  }
};

template <typename scalar_t>
struct LogSumExpGrad : ListRows<scalar_t> {
  using typename ListRows<scalar_t>::acc_t;

  const scalar_t* grad;
  const scalar_t* total;
  scalar_t* out;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t e, int64_t f) const {
    constexpr acc_t infinity = std::numeric_limits<acc_t>::infinity();
    const int64_t at = this->graph.position(e) * this->width + f, of = row * this->width + f;
    const U all = by_register(  // infinite for a segment that is not there
        [](auto v) { return v == -infinity ? infinity : v; }, load_as<U>(total + of));
    const U share = exp_of(static_cast<U>(load_as<U>(this->x + at) - all));
    store_as(out + at, static_cast<U>(share * load_as<U>(grad + of)));
  }
};

template <typename scalar_t>
void segment_logsumexp(const Csr& graph, const Tensor& x, Tensor& out) {
  const ListRows<scalar_t> rows{graph, x.size(1), x.const_data_ptr<scalar_t>()};
  fold_rows(LogSumExp<scalar_t>{{rows}, out.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void segment_logsumexp_grad(const Csr& graph, const Tensor& grad, const Tensor& x,
                            const Tensor& total, Tensor& out) {
  const ListRows<scalar_t> rows{graph, x.size(1), x.const_data_ptr<scalar_t>()};
  each_edge(LogSumExpGrad<scalar_t>{rows, grad.const_data_ptr<scalar_t>(),
                                    total.const_data_ptr<scalar_t>(),
                                    out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA
