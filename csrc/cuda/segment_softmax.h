// The softmax of segments and its gradient: a fold of each segment, then a look at each row.
#pragma once

#include "each_edge.h"
#include "exponentials.h"
#include "reduce_rows.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct SoftmaxTables : Exponentials<scalar_t> {
  using typename Exponentials<scalar_t>::acc_t;

  acc_t* top;
  acc_t* total;

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[2], int64_t) const {
    const int64_t to = row * this->width + f;
    store_as(top + to, acc[0]);
    // Beside an infinite value no other has a share: inf - inf is NaN, and all others give 0.
    store_as(total + to, static_cast<U>(acc[1] + (acc[0] - acc[0])));
  }
};

template <typename scalar_t>
struct Softmax : ListRows<scalar_t> {
  using typename ListRows<scalar_t>::acc_t;

  const acc_t* top;
  const acc_t* total;
  scalar_t* out;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t e, int64_t f) const {
    const int64_t at = this->graph.position(e) * this->width + f, of = row * this->width + f;
    const U power = exp_of(static_cast<U>(load_as<U>(this->x + at) - load_as<U>(top + of)));
    store_as(out + at, static_cast<U>(power / load_as<U>(total + of)));
  }
};

// What the shares weigh of the gradient.
template <typename scalar_t>
struct SharedGrad : ListRows<scalar_t> {
  using typename ListRows<scalar_t>::Edge;

  const scalar_t* grad;

  template <typename U>
  GNNLIB_INLINE U message(const Edge& edge, int64_t f) const {
    return load_as<U>(this->x + edge.at + f) * load_as<U>(grad + edge.at + f);
  }
};

template <typename scalar_t>
struct SoftmaxGrad : ListRows<scalar_t> {
  using typename ListRows<scalar_t>::acc_t;

  const scalar_t* grad;
  const acc_t* mean;
  scalar_t* out;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t e, int64_t f) const {
    const int64_t at = this->graph.position(e) * this->width + f;
    const U heard = load_as<U>(grad + at) - load_as<U>(mean + row * this->width + f);
    store_as(out + at, static_cast<U>(load_as<U>(this->x + at) * heard));
  }
};

template <typename scalar_t>
void segment_softmax(const Csr& graph, const Tensor& x, Tensor& out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const ListRows<scalar_t> rows{graph, x.size(1), x.const_data_ptr<scalar_t>()};
  const int64_t count = graph.num_rows * rows.width;
  Scratch<acc_t> top(count, graph.device), total(count, graph.device);
  fold_rows(SoftmaxTables<scalar_t>{{rows}, top.get(), total.get()});
  each_edge(Softmax<scalar_t>{rows, top.get(), total.get(), out.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void segment_softmax_grad(const Csr& graph, const Tensor& a, const Tensor& grad, Tensor& out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  using Mean = ReduceRows<acc_t, SharedGrad<scalar_t>, Reduce::Sum>;
  const ListRows<scalar_t> rows{graph, a.size(1), a.const_data_ptr<scalar_t>()};
  const scalar_t* heard = grad.const_data_ptr<scalar_t>();
  Scratch<acc_t> mean(graph.num_rows * rows.width, graph.device);
  fold_rows(Mean{{rows, heard}, false, mean.get()});
  each_edge(SoftmaxGrad<scalar_t>{rows, heard, mean.get(), out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA
