// The gradient of gather_reduce for min and max, where messages that tie share it evenly:
//   share[i]  = grad[i] / #{edges e = (j -> i) : message(e) == out[i]}
//   dx[j]     = sum over edges (j -> i) of gate[j] * weight[e] * share[i], where message(e) ==
//   out[i] dweight[e] = <gate[j] * x[j], share[i]>, likewise
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "extremum.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor per_target(const Tensor& t, const char* name, const Message& message, int64_t num_dst) {
  return matching(features(t, name), name, message.x, num_dst * message.width(),
                  "target node and column");
}

Tensor extremum_share(Tensor grad, Tensor out, Tensor x, Tensor rowptr, Tensor col,
                      OptionalTensor perm, OptionalTensor weight, OptionalTensor gate) {
  const Message message(x, rowptr, col, perm, weight, gate);
  grad = per_target(grad, "grad", message, message.graph.num_rows);
  out = per_target(out, "out", message, message.graph.num_rows);
  Tensor share = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(extremum_share<decltype(tag)>)(message, grad, out, share);
  });
  return share;
}

Tensor extremum_grad(Tensor share, Tensor out, Tensor x, Tensor t_rowptr, Tensor t_col,
                     OptionalTensor t_perm, OptionalTensor weight, OptionalTensor gate) {
  const Message message(x, t_rowptr, t_col, t_perm, weight, gate);
  require(x.size(0) == message.graph.num_rows, "`x` must have a row per source node");
  share = per_target(share, "share", message, out.size(0));
  out = per_target(out, "out", message, out.size(0));
  Tensor grad = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(extremum_grad<decltype(tag)>)(message, share, out, grad);
  });
  return grad;
}

Tensor extremum_dot(Tensor share, Tensor out, Tensor x, Tensor rowptr, Tensor col,
                    OptionalTensor perm, Tensor weight, OptionalTensor gate) {
  const Message message(x, rowptr, col, perm, weight, gate);
  share = per_target(share, "share", message, message.graph.num_rows);
  out = per_target(out, "out", message, message.graph.num_rows);
  Tensor grad = empty_like(x, {message.graph.num_edges});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(extremum_dot<decltype(tag)>)(message, share, out, grad);
  });
  return grad;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("extremum_share", TORCH_BOX(&extremum_share));
  m.impl("extremum_grad", TORCH_BOX(&extremum_grad));
  m.impl("extremum_dot", TORCH_BOX(&extremum_dot));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "edge_fold.h"
#include "fold.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct ExtremumShare : SourceRows<scalar_t> {
  using typename SourceRows<scalar_t>::acc_t;
  using typename SourceRows<scalar_t>::Edge;
  using SourceRows<scalar_t>::width;

  const scalar_t* grad;
  const scalar_t* out;
  scalar_t* share;

  static constexpr acc_t init() { return 0; }

  template <typename U>
  GNNLIB_INLINE U step(U ties, int64_t row, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(edge.row + f) * edge.factor;
    return same(message, load_as<U>(out + row * width + f)) ? ties + acc_t(1) : ties;
  }

  template <typename U>
  GNNLIB_INLINE U combine(U a, U b) const {
    return a + b;
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, U ties, int64_t) const {
    const U one = U{} + acc_t(1);
    store_as(share + row * width + f,
             load_as<U>(grad + row * width + f) / (ties < one ? one : ties));
  }
};

template <typename scalar_t>
struct ExtremumGrad {
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

  static constexpr acc_t init() { return 0; }

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
  GNNLIB_INLINE U step(U acc, int64_t source, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(x + source * width + f) * edge.factor;
    const U gain = load_as<U>(share + edge.offset + f) * edge.factor;
    return same(message, load_as<U>(out + edge.offset + f)) ? acc + gain : acc;
  }

  template <typename U>
  GNNLIB_INLINE U combine(U a, U b) const {
    return a + b;
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, U acc, int64_t) const {
    store_as(grad + row * width + f, acc);
  }
};

template <typename scalar_t>
struct ExtremumDot {
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
    const U message = value * factors.of(source, graph.position(e));
    const U gain = value * load_as<U>(share + row * width + f);
    return same(message, load_as<U>(out + row * width + f)) ? acc + gain : acc;
  }

  GNNLIB_INLINE void finish(int64_t e, acc_t sum) const {
    const acc_t gate = factors.gate ? static_cast<acc_t>(factors.gate[graph.col[e]]) : acc_t(1);
    grad[graph.position(e)] = static_cast<scalar_t>(gate == acc_t(0) ? acc_t(0) : sum * gate);
  }
};

template <typename scalar_t>
void extremum_share(const Message& m, const Tensor& grad, const Tensor& out, Tensor& share) {
  fold_rows(ExtremumShare<scalar_t>{SourceRows<scalar_t>(m), grad.const_data_ptr<scalar_t>(),
                                    out.const_data_ptr<scalar_t>(),
                                    share.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void extremum_grad(const Message& m, const Tensor& share, const Tensor& out, Tensor& grad) {
  fold_rows(ExtremumGrad<scalar_t>{m.graph, m.width(), share.const_data_ptr<scalar_t>(),
                                   out.const_data_ptr<scalar_t>(), m.x.const_data_ptr<scalar_t>(),
                                   factors<scalar_t>(m.weight, m.gate),
                                   grad.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void extremum_dot(const Message& m, const Tensor& share, const Tensor& out, Tensor& grad) {
  fold_edges(ExtremumDot<scalar_t>{m.graph, m.width(), share.const_data_ptr<scalar_t>(),
                                   out.const_data_ptr<scalar_t>(), m.x.const_data_ptr<scalar_t>(),
                                   factors<scalar_t>(m.weight, m.gate),
                                   grad.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
