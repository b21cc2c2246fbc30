// The gradient of reductions that are not linear in their messages (gain.h), given the share of a
// target's gradient that is one message's (message_share.cpp):
//   dx[j]      = sum over edges (j -> i) of gate[j] * weight[e] * gain(message(e), i)
//   dweight[e] = <gate[j] * x[j], gain(message(e), i)>
//   segments   : dx[e] = gain(x[e], index[e]), the messages themselves
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "nonlinear.h"

#define GNNLIB_KERNEL "message_grad.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor message_grad(Tensor share, Tensor out, Tensor x, Tensor t_rowptr, Tensor t_col,
                    OptionalTensor t_perm, OptionalTensor weight, OptionalTensor gate,
                    int64_t reduce) {
  const Message message(x, t_rowptr, t_col, t_perm, weight, gate);
  const Reduce how = nonlinear(reduce);
  require(x.size(0) == message.graph.num_rows, "`x` must have a row per source node");
  share = per_target(share, "share", message.x, out.size(0));
  out = per_target(out, "out", message.x, out.size(0));
  Tensor grad = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(message_grad<decltype(tag)>)(message, share, out, how, grad);
  });
  return grad;
}

Tensor message_dot(Tensor share, Tensor out, Tensor x, Tensor rowptr, Tensor col,
                   OptionalTensor perm, Tensor weight, OptionalTensor gate, int64_t reduce) {
  const Message message(x, rowptr, col, perm, weight, gate);
  const Reduce how = nonlinear(reduce);
  share = per_target(share, "share", message.x, message.graph.num_rows);
  out = per_target(out, "out", message.x, message.graph.num_rows);
  Tensor grad = empty_like(x, {message.graph.num_edges});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(message_dot<decltype(tag)>)(message, share, out, how, grad);
  });
  return grad;
}

Tensor segment_grad(Tensor share, Tensor out, Tensor x, Tensor index, int64_t reduce) {
  const Reduce how = nonlinear(reduce);
  x = features(x, "x");
  require_index(index, "index");
  require(index.numel() == x.size(0), "`index` must have one entry per row of `x`");
  index = torch::stable::contiguous(index);
  share = per_target(share, "share", x, out.size(0));
  out = per_target(out, "out", x, out.size(0));
  check_groups(index, out.size(0));
  Tensor grad = empty_like(x, {x.size(0), x.size(1)});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(segment_grad<decltype(tag)>)(share, out, x, index.const_data_ptr<int64_t>(), how,
                                             grad);
  });
  return grad;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("message_grad", TORCH_BOX(&message_grad));
  m.impl("message_dot", TORCH_BOX(&message_dot));
  m.impl("segment_grad", TORCH_BOX(&segment_grad));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "each_column.h"
#include "edge_fold.h"
#include "fold.h"
#include "gain.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t, Reduce R>
struct MessageGrad {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    int64_t offset;
    acc_t factor;
  };

  Csr graph;  // transposed: rows are sources
  int64_t width;
  const scalar_t* share;
  const scalar_t* out;
  const scalar_t* x;
  Factors<scalar_t> factors;
  scalar_t* grad;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t source, int64_t e, Edge& edge) const {
    if (!factors.open(source)) return false;
    edge = {graph.col[e] * width, factors.of(source, graph.position(e))};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const int64_t offset = graph.col[e] * width + f;
    prefetch_row(out + offset, columns * sizeof(scalar_t));
    prefetch_row(share + offset, columns * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t source, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(x + source * width + f) * edge.factor;
    acc[0] = acc[0] + Gain<R>::of(message, load_as<U>(out + edge.offset + f),
                                  static_cast<U>(load_as<U>(share + edge.offset + f))) *
                          edge.factor;
  }

  GNNLIB_INLINE void combine(acc_t (&a)[1], const acc_t (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t) const {
    store_as(grad + row * width + f, acc[0]);
  }
};

template <typename scalar_t, Reduce R>
struct MessageDot {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* share;
  const scalar_t* out;
  const scalar_t* x;
  Factors<scalar_t> factors;
  scalar_t* grad;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    prefetch_row(x + graph.col[e] * width, width * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    const int64_t source = graph.col[e];
    if (!factors.open(source)) return acc;
    const U value = load_as<U>(x + source * width + f);
    const U gain =
        Gain<R>::of(static_cast<U>(value * factors.of(source, graph.position(e))),
                    load_as<U>(out + row * width + f), load_as<U>(share + row * width + f));
    // A message that does not count adds nothing, even where x is not finite.
    return by_register([](auto sum, auto v, auto g)
                           GNNLIB_LAMBDA { return g != 0 ? sum + v * g : sum; },
                       acc, value, gain);
  }

  GNNLIB_INLINE void finish(int64_t e, int64_t, acc_t sum) const {
    const acc_t gate = factors.gate ? static_cast<acc_t>(factors.gate[graph.col[e]]) : acc_t(1);
    grad[graph.position(e)] = static_cast<scalar_t>(gate == acc_t(0) ? acc_t(0) : sum * gate);
  }
};

// An element of a group is its own message; one of no group, -1, has no gradient.
template <typename scalar_t, Reduce R>
struct SegmentGrad {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  int64_t width;
  const scalar_t* share;
  const scalar_t* out;
  const scalar_t* x;
  const int64_t* index;
  scalar_t* grad;

  template <typename U>
  GNNLIB_INLINE void at(int64_t e, int64_t f) const {
    U gain{};
    if (index[e] >= 0) {
      const int64_t to = index[e] * width + f;
      gain =
          Gain<R>::of(load_as<U>(x + e * width + f), load_as<U>(out + to), load_as<U>(share + to));
    }
    store_as(grad + e * width + f, gain);
  }
};

template <typename scalar_t>
void message_grad(const Message& m, const Tensor& share, const Tensor& out, Reduce reduce,
                  Tensor& grad) {
  dispatch_gain(reduce, [&](auto how) {
    fold_rows(MessageGrad<scalar_t, how.value>{
        m.graph, m.width(), share.const_data_ptr<scalar_t>(), out.const_data_ptr<scalar_t>(),
        m.x.const_data_ptr<scalar_t>(), factors<scalar_t>(m.weight, m.gate),
        grad.mutable_data_ptr<scalar_t>()});
  });
}

template <typename scalar_t>
void message_dot(const Message& m, const Tensor& share, const Tensor& out, Reduce reduce,
                 Tensor& grad) {
  dispatch_gain(reduce, [&](auto how) {
    fold_edges(MessageDot<scalar_t, how.value>{
        m.graph, m.width(), share.const_data_ptr<scalar_t>(), out.const_data_ptr<scalar_t>(),
        m.x.const_data_ptr<scalar_t>(), factors<scalar_t>(m.weight, m.gate),
        grad.mutable_data_ptr<scalar_t>()});
  });
}

template <typename scalar_t>
void segment_grad(const Tensor& share, const Tensor& out, const Tensor& x, const int64_t* index,
                  Reduce reduce, Tensor& grad) {
  dispatch_gain(reduce, [&](auto how) {
    each_column(SegmentGrad<scalar_t, how.value>{x.size(1), share.const_data_ptr<scalar_t>(),
                                                 out.const_data_ptr<scalar_t>(),
                                                 x.const_data_ptr<scalar_t>(), index,
                                                 grad.mutable_data_ptr<scalar_t>()},
                grad);
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
