// The gradient of gather_softmax, which see for m, p, top and total. With share = grad / total and
//   gain(e)    = share[i] * p(e) * (1 + t * (m(e) - out[i])), the derivative by m(e); where the
//                softmax counts as constant, share[i] * p(e)
// they are
//   dx[j]      = sum over edges e = (j -> i) of gate[j] * weight[e] * gain(e)
//   dweight[e] = <gate[j] * x[j], gain(e)>
//   dt         = the sum over all j of
//   spread[j]  = sum over edges e = (j -> i) of share[i] * p(e) * (m(e) - out[i])^2
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "wide.h"

namespace gnnlib {

// What the gradient kernels read of the targets.
struct Attended {
  Tensor grad, out, top, total, t;

  Attended(const Tensor& grad_, const Tensor& out_, const Tensor& top_, const Tensor& total_,
           const Tensor& t_, const Tensor& x)
      : grad(matching(features(grad_, "grad"), "grad", x, out_.numel(), "target and column")),
        out(matching(features(out_, "out"), "out", x, grad_.size(0) * x.size(1),
                     "target and column")),
        top(matching_wide(top_, "top", x, out_.numel())),
        total(matching_wide(total_, "total", x, out_.numel())),
        t(matching_wide(t_, "t", x, x.size(1))) {}
};

}  // namespace gnnlib

#define GNNLIB_KERNEL "softmax_grad.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

std::tuple<Tensor, Tensor> softmax_grad(Tensor grad, Tensor out, Tensor top, Tensor total, Tensor x,
                                        Tensor t_rowptr, Tensor t_col, OptionalTensor t_perm,
                                        OptionalTensor weight, OptionalTensor gate, Tensor t,
                                        bool semi_grad, bool need_t) {
  const Message message(x, t_rowptr, t_col, t_perm, weight, gate);
  require(x.size(0) == message.graph.num_rows, "`x` must have a row per source node");
  const Attended at(grad, out, top, total, t, message.x);
  Tensor grad_x = empty_like(x, {message.graph.num_rows, message.width()});
  Tensor spread = empty_wide(x, need_t ? message.graph.num_rows : 0);
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(softmax_grad<decltype(tag)>)
    (message, at, semi_grad, grad_x, need_t ? &spread : nullptr);
  });
  return {grad_x, spread};
}

Tensor softmax_dot(Tensor grad, Tensor out, Tensor top, Tensor total, Tensor x, Tensor rowptr,
                   Tensor col, OptionalTensor perm, Tensor weight, OptionalTensor gate, Tensor t,
                   bool semi_grad) {
  const Message message(x, rowptr, col, perm, weight, gate);
  require(out.size(0) == message.graph.num_rows, "`out` must have a row per target node");
  const Attended at(grad, out, top, total, t, message.x);
  Tensor grad_weight = empty_like(x, {message.graph.num_edges});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(softmax_dot<decltype(tag)>)(message, at, semi_grad, grad_weight);
  });
  return grad_weight;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("softmax_grad", TORCH_BOX(&softmax_grad));
  m.impl("softmax_dot", TORCH_BOX(&softmax_dot));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "each_column.h"
#include "edge_fold.h"
#include "exp.h"
#include "fold.h"

namespace gnnlib::GNNLIB_ISA {

// The derivative by one message, from three tables of its target.
template <typename scalar_t>
struct SoftmaxGain {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  const scalar_t* out;
  const acc_t* top;
  const acc_t* share;
  const acc_t* t;
  bool constant;  // whether the softmax counts as such

  // At column `f`, offset `at` of the tables; spread is left times (m - out)^2.
  template <typename U>
  GNNLIB_INLINE U of(U message, int64_t at, int64_t f, U& spread) const {
    const U heat = load_as<U>(t + f), offset = message - load_as<U>(out + at);
    const U power = exp_of(static_cast<U>(message * heat - load_as<U>(top + at)));
    const U gain = power * load_as<U>(share + at);
    spread = gain * offset * offset;
    return constant ? gain : gain + gain * heat * offset;
  }
};

template <typename scalar_t, bool kSpread>
struct SoftmaxGrad {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    int64_t offset;
    acc_t factor;
  };

  Csr graph;  // transposed: rows are sources
  int64_t width;
  const scalar_t* x;
  Factors<scalar_t> factors;
  SoftmaxGain<scalar_t> gain;
  scalar_t* grad;
  acc_t* spread;  // null where kSpread is false

  static constexpr int kParts = kSpread ? 2 : 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[kParts], int64_t, int64_t) const {
    for (U& part : acc) part = U{};
  }

  GNNLIB_INLINE bool edge(int64_t source, int64_t e, Edge& edge) const {
    if (!factors.open(source)) return false;
    edge = {graph.col[e] * width, factors.of(source, graph.position(e))};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const int64_t offset = graph.col[e] * width + f;
    factors.prefetch(graph.position(e));
    prefetch_row(gain.out + offset, columns * sizeof(scalar_t));
    prefetch_row(gain.top + offset, columns * sizeof(acc_t));
    prefetch_row(gain.share + offset, columns * sizeof(acc_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[kParts], int64_t source, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(x + source * width + f) * edge.factor;
    U spread;
    acc[0] = acc[0] + gain.of(message, edge.offset + f, f, spread) * edge.factor;
    if constexpr (kSpread) acc[1] = acc[1] + spread;
  }

  GNNLIB_INLINE void combine(acc_t (&a)[kParts], const acc_t (&b)[kParts]) const {
    for (int p = 0; p < kParts; ++p) a[p] += b[p];
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[kParts], int64_t) const {
    store_as(grad + row * width + f, acc[0]);
    if constexpr (kSpread) store_as(spread + row * width + f, acc[1]);
  }
};

template <typename scalar_t>
struct SoftmaxDot {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* x;
  Factors<scalar_t> factors;
  SoftmaxGain<scalar_t> gain;
  scalar_t* grad;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    factors.prefetch(graph.position(e));
    prefetch_row(x + graph.col[e] * width, width * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    const int64_t source = graph.col[e];
    if (!factors.open(source)) return acc;
    const U value = load_as<U>(x + source * width + f);
    const U message = value * factors.of(source, graph.position(e));
    U spread;
    return acc + value * gain.of(message, row * width + f, f, spread);
  }

  GNNLIB_INLINE void finish(int64_t e, int64_t, acc_t sum) const {
    const acc_t gate = factors.gate ? static_cast<acc_t>(factors.gate[graph.col[e]]) : acc_t(1);
    grad[graph.position(e)] = static_cast<scalar_t>(gate == acc_t(0) ? acc_t(0) : sum * gate);
  }
};

// share = grad / total, once a target and not once an edge.
template <typename scalar_t>
struct Share {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  int64_t width;
  const scalar_t* grad;
  const acc_t* total;
  acc_t* share;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t f) const {
    const int64_t k = row * width + f;
    store_as(share + k, static_cast<U>(load_as<U>(grad + k) / load_as<U>(total + k)));
  }
};

template <typename scalar_t>
Tensor shares(const Attended& at) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  Tensor share = empty_wide(at.grad, at.grad.size(0));
  each_column(Share<scalar_t>{at.grad.size(1), at.grad.const_data_ptr<scalar_t>(),
                              at.total.const_data_ptr<acc_t>(), share.mutable_data_ptr<acc_t>()},
              share);
  return share;
}

template <typename scalar_t>
SoftmaxGain<scalar_t> gain_of(const Attended& at, const Tensor& share, bool constant) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  return {at.out.const_data_ptr<scalar_t>(), at.top.const_data_ptr<acc_t>(),
          share.const_data_ptr<acc_t>(), at.t.const_data_ptr<acc_t>(), constant};
}

template <typename scalar_t>
void softmax_grad(const Message& m, const Attended& at, bool constant, Tensor& grad,
                  Tensor* spread) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const Tensor share = shares<scalar_t>(at);
  const auto run = [&](auto spreads) {
    fold_rows(SoftmaxGrad<scalar_t, spreads.value>{
        m.graph, m.width(), m.x.const_data_ptr<scalar_t>(), factors<scalar_t>(m.weight, m.gate),
        gain_of<scalar_t>(at, share, constant), grad.mutable_data_ptr<scalar_t>(),
        spread ? spread->mutable_data_ptr<acc_t>() : nullptr});
  };
  spread ? run(std::true_type{}) : run(std::false_type{});
}

template <typename scalar_t>
void softmax_dot(const Message& m, const Attended& at, bool constant, Tensor& grad) {
  const Tensor share = shares<scalar_t>(at);
  fold_edges(SoftmaxDot<scalar_t>{
      m.graph, m.width(), m.x.const_data_ptr<scalar_t>(), factors<scalar_t>(m.weight, m.gate),
      gain_of<scalar_t>(at, share, constant), grad.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
