// The gradient of gather_activate, with v(e) = x_src[j] + x_dst[i] and
// gain(e) = act'(v(e)) * grad[i] for e = (j -> i):
//   activate_grad, a row per source: out[j] = sum over e of weight[e] * gain(e)
//                  a row per target: out[i] = sum over e of gate[j] * weight[e] * gain(e)
//   activate_dot : out[e] = <grad[i], act(v(e))>, in the caller's order of edges
#ifndef GNNLIB_ISA

#include "activated.h"
#include "dispatch.h"

#define GNNLIB_KERNEL "activate_grad.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

// Rows are targets or sources, `other` holds what is at their edges' other ends.
Tensor activate_grad(Tensor grad, Tensor x, Tensor other, Tensor rowptr, Tensor col,
                     OptionalTensor perm, OptionalTensor weight, OptionalTensor gate, bool own,
                     int64_t act, double alpha) {
  const Message message(other, rowptr, col, perm, weight, gate);
  const Activation how = activation(act);
  const int64_t rows = message.graph.num_rows, width = message.width();
  x = matching(features(x, "x"), "x", message.x, rows * width, "row and column");
  grad = matching(features(grad, "grad"), "grad", message.x,
                  (own ? rows : message.x.size(0)) * width, "target node and column");
  Tensor out = empty_like(x, {rows, width});
  dispatch_wide(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(activate_grad<decltype(tag)>)(message, grad, x, own, how, alpha, out);
  });
  return out;
}

Tensor activate_dot(Tensor grad, Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col,
                    OptionalTensor perm, int64_t act, double alpha) {
  const Message message(x_src, rowptr, col, perm, std::nullopt, std::nullopt);
  const Activation how = activation(act);
  const int64_t numel = message.graph.num_rows * message.width();
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", message.x, numel, "target node and column");
  grad = matching(features(grad, "grad"), "grad", message.x, numel, "target node and column");
  Tensor out = empty_like(x_src, {message.graph.num_edges});
  dispatch_wide(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(activate_dot<decltype(tag)>)(message, grad, x_dst, how, alpha, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("activate_grad", TORCH_BOX(&activate_grad));
  m.impl("activate_dot", TORCH_BOX(&activate_dot));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "activations.h"
#include "edge_fold.h"
#include "fold.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T, typename Act>
struct ActivateGrad : SourceRows<T> {
  using Rows = SourceRows<T>;
  using acc_t = T;
  using Rows::width;
  struct Edge : Rows::Edge {
    const T* grad;
  };

  const T* grad;
  const T* x;
  bool own;  // whether the gradient is the row's own
  T alpha;
  T* out;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    edge.grad = grad + (own ? row : this->graph.col[e]) * width;
    return Rows::edge(row, e, edge);
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    Rows::prefetch(e, f, columns);
    if (!own) prefetch_row(grad + this->graph.col[e] * width + f, columns * sizeof(T));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t row, const Edge& edge, int64_t f) const {
    const U sum = load_as<U>(edge.row + f) + load_as<U>(x + row * width + f);
    acc[0] = acc[0] + gain_of<Act>(sum, load_as<U>(edge.grad + f), alpha) * edge.factor;
  }

  GNNLIB_INLINE void combine(T (&a)[1], const T (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t) const {
    store_as(out + row * width + f, acc[0]);
  }
};

template <typename T, typename Act>
struct ActivateDot {
  using value_t = T;
  using acc_t = T;

  Csr graph;
  int64_t width;
  const T* grad;
  const T* x_src;
  const T* x_dst;
  T alpha;
  T* out;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    prefetch_row(x_src + graph.col[e] * width, width * sizeof(T));
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    const int64_t to = row * width + f;
    const U sum = load_as<U>(x_src + graph.col[e] * width + f) + load_as<U>(x_dst + to);
    return acc + value_of<Act>(sum, alpha) * load_as<U>(grad + to);
  }

  GNNLIB_INLINE void finish(int64_t e, int64_t, T sum) const { out[graph.position(e)] = sum; }
};

template <typename T>
void activate_grad(const Message& m, const Tensor& grad, const Tensor& x, bool own, Activation act,
                   double alpha, Tensor& out) {
  with_activation<T>(act, [&](auto how) {
    fold_rows(ActivateGrad<T, decltype(how)>{SourceRows<T>(m), grad.const_data_ptr<T>(),
                                             x.const_data_ptr<T>(), own, static_cast<T>(alpha),
                                             out.mutable_data_ptr<T>()});
  });
}

template <typename T>
void activate_dot(const Message& m, const Tensor& grad, const Tensor& x_dst, Activation act,
                  double alpha, Tensor& out) {
  with_activation<T>(act, [&](auto how) {
    fold_edges(ActivateDot<T, decltype(how)>{m.graph, m.width(), grad.const_data_ptr<T>(),
                                             m.x.const_data_ptr<T>(), x_dst.const_data_ptr<T>(),
                                             static_cast<T>(alpha), out.mutable_data_ptr<T>()});
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
