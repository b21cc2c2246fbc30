// The aggregation of GINE and its gradient, with v(e) = x[j] + edge[e] for e = (j -> i):
//   out[i]       = sum over e of gate[j] * relu(v(e))
//   grad_x[j]    = gate[j] * sum over e of gain(e),  gain(e) = v(e) > 0 ? grad[i] : 0
//   grad_edge[e] = gate[j] * gain(e)
//   heard[j]     = sum over e of gain(e) * v(e), column by column: the gradient of gate[j]
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "gather_edge_relu.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor edge_rows(const Tensor& edge, const Message& message) {
  return matching(features(edge, "edge"), "edge", message.x,
                  message.graph.num_edges * message.width(), "edge and column");
}

Tensor gather_edge_relu(Tensor x, Tensor edge, Tensor rowptr, Tensor col, OptionalTensor perm,
                        OptionalTensor, OptionalTensor, OptionalTensor, OptionalTensor gate) {
  const Message message(x, rowptr, col, perm, std::nullopt, gate);
  edge = edge_rows(edge, message);
  Tensor out = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_edge_relu<decltype(tag)>)(message, edge, out);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> edge_relu_grad(Tensor grad, Tensor x, Tensor edge,
                                                  Tensor t_rowptr, Tensor t_col,
                                                  OptionalTensor t_perm, OptionalTensor gate,
                                                  bool need_edge, bool need_gate) {
  const Message message(x, t_rowptr, t_col, t_perm, std::nullopt, gate);
  require(x.size(0) == message.graph.num_rows, "`x` must have a row per source node");
  edge = edge_rows(edge, message);
  grad = matching(features(grad, "grad"), "grad", message.x, grad.size(0) * message.width(),
                  "target node and column");
  const int64_t rows = message.graph.num_rows, width = message.width();
  Tensor grad_x = empty_like(x, {rows, width});
  Tensor grad_edge = empty_like(x, {need_edge ? message.graph.num_edges : 0, width});
  Tensor heard = empty_like(x, {need_gate ? rows : 0, width});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(edge_relu_grad<decltype(tag)>)
    (message, grad, edge, grad_x, need_edge ? &grad_edge : nullptr, need_gate ? &heard : nullptr);
  });
  return {grad_x, grad_edge, heard};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_edge_relu", TORCH_BOX(&gather_edge_relu));
  m.impl("edge_relu_grad", TORCH_BOX(&edge_relu_grad));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "choose.h"
#include "fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct GatherEdgeRelu {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    const scalar_t* x;
    const scalar_t* edge;
    acc_t gate;
  };

  Csr graph;
  int64_t width;
  const scalar_t* x;
  const scalar_t* attr;
  Factors<scalar_t> factors;
  scalar_t* out;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    const int64_t source = graph.col[e];
    if (!factors.open(source)) return false;
    edge = {x + source * width, attr + graph.position(e) * width, factors.of(source, 0)};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const int64_t source = graph.col[e];
    if (!factors.open(source)) return;
    prefetch_row(x + source * width + f, columns * sizeof(scalar_t));
    prefetch_row(attr + graph.position(e) * width + f, columns * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t, const Edge& edge, int64_t f) const {
    const U value = load_as<U>(edge.x + f) + load_as<U>(edge.edge + f);
    // A NaN passes.
    acc[0] = acc[0] + choose<NotAbove>(value, U{}, value) * edge.gate;
  }

  GNNLIB_INLINE void combine(acc_t (&a)[1], const acc_t (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t) const {
    store_as(out + row * width + f, acc[0]);
  }
};

template <typename scalar_t, bool kHears>
struct EdgeReluGrad {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    const scalar_t* grad;
    const scalar_t* edge;
    scalar_t* grad_edge;
  };

  Csr graph;  // transposed: rows are sources
  int64_t width;
  const scalar_t* grad;
  const scalar_t* x;
  const scalar_t* attr;
  Factors<scalar_t> factors;
  scalar_t* grad_x;
  scalar_t* grad_edge;  // null where nobody asks
  scalar_t* heard;      // null where kHears is false

  static constexpr int kParts = kHears ? 2 : 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[kParts], int64_t, int64_t) const {
    for (U& part : acc) part = U{};
  }

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    const int64_t offset = graph.position(e) * width;
    edge = {grad + graph.col[e] * width, attr + offset, grad_edge ? grad_edge + offset : nullptr};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const int64_t offset = graph.position(e) * width + f;
    prefetch_row(grad + graph.col[e] * width + f, columns * sizeof(scalar_t));
    prefetch_row(attr + offset, columns * sizeof(scalar_t));
    if (grad_edge) prefetch_row(grad_edge + offset, columns * sizeof(scalar_t));
  }

  // A closed source passes nothing on, but its gate hears what it would.
  template <typename U>
  GNNLIB_INLINE U gated(U gain, int64_t source) const {
    return factors.open(source) ? static_cast<U>(gain * factors.of(source, 0)) : U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[kParts], int64_t source, const Edge& edge, int64_t f) const {
    const U value = load_as<U>(x + source * width + f) + load_as<U>(edge.edge + f);
    const U gain = choose<NotAbove>(value, U{}, load_as<U>(edge.grad + f));
    acc[0] = acc[0] + gain;
    if constexpr (kHears)
      acc[1] = acc[1] + choose<NotAbove>(value, U{}, static_cast<U>(gain * value));
    if (edge.grad_edge) store_as(edge.grad_edge + f, gated(gain, source));
  }

  GNNLIB_INLINE void combine(acc_t (&a)[kParts], const acc_t (&b)[kParts]) const {
    for (int p = 0; p < kParts; ++p) a[p] += b[p];
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[kParts], int64_t) const {
    store_as(grad_x + row * width + f, gated(acc[0], row));
    if constexpr (kHears) store_as(heard + row * width + f, acc[1]);
  }
};

template <typename scalar_t>
void gather_edge_relu(const Message& m, const Tensor& edge, Tensor& out) {
  fold_rows(GatherEdgeRelu<scalar_t>{
      m.graph, m.width(), m.x.const_data_ptr<scalar_t>(), edge.const_data_ptr<scalar_t>(),
      factors<scalar_t>(m.weight, m.gate), out.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void edge_relu_grad(const Message& m, const Tensor& grad, const Tensor& edge, Tensor& grad_x,
                    Tensor* grad_edge, Tensor* heard) {
  const auto data = [](Tensor* t) { return t ? t->mutable_data_ptr<scalar_t>() : nullptr; };
  const auto run = [&](auto hears) {
    fold_rows(EdgeReluGrad<scalar_t, hears.value>{
        m.graph, m.width(), grad.const_data_ptr<scalar_t>(), m.x.const_data_ptr<scalar_t>(),
        edge.const_data_ptr<scalar_t>(), factors<scalar_t>(m.weight, m.gate), data(&grad_x),
        data(grad_edge), data(heard)});
  };
  heard ? run(std::true_type{}) : run(std::false_type{});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
