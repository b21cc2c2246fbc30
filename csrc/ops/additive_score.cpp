// Additive attention over H heads of C columns, with s(e) = x_src[j] + x_dst[i] for e = (j -> i):
//   out[e][h] = <att[h], leaky_relu(s(e)[h])>, in the caller's order of edges
// and, a row and its edges' other ends being either way round, what brings its gradient:
//   bent[r]   = sum over r's edges e of grad[e][h] * (s(e) > 0 ? 1 : negative_slope)
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "wide.h"

#define GNNLIB_KERNEL "additive_score.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor additive_score(Tensor x_src, Tensor x_dst, Tensor att, Tensor rowptr, Tensor col,
                      OptionalTensor perm, OptionalTensor, OptionalTensor, OptionalTensor,
                      double negative_slope) {
  const Csr graph = view(rowptr, col, perm);
  x_src = features(x_src, "x_src");
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", x_src, graph.num_rows * x_src.size(1),
                   "target node and column");
  att = matching(features(att, "att"), "att", x_src, x_src.size(1), "column");
  Tensor out = empty_like(x_src, {graph.num_edges, att.size(0)});
  dispatch_floating(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(additive_score<decltype(tag)>)(graph, x_src, x_dst, att, negative_slope, out);
  });
  return out;
}

Tensor additive_grad(Tensor grad, Tensor x, Tensor other, Tensor rowptr, Tensor col,
                     OptionalTensor perm, double negative_slope) {
  const Csr graph = view(rowptr, col, perm);
  x = features(x, "x");
  require(x.size(0) == graph.num_rows, "`x` must have a row per row of the graph");
  other =
      matching(features(other, "other"), "other", x, other.size(0) * x.size(1), "node and column");
  grad =
      matching(features(grad, "grad"), "grad", x, graph.num_edges * grad.size(1), "edge and head");
  const int64_t heads = grad.size(1);
  require(heads > 0 ? x.size(1) % heads == 0 : x.size(1) == 0,
          "`grad` must have a column per head of ", x.size(1), " columns, got ", heads);
  Tensor bent = empty_wide(x, graph.num_rows);
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(additive_grad<decltype(tag)>)(graph, grad, x, other, negative_slope, bent);
  });
  return bent;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("additive_score", TORCH_BOX(&additive_score));
  m.impl("additive_grad", TORCH_BOX(&additive_grad));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "choose.h"
#include "fold.h"
#include "head_fold.h"
#include "heads.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct AdditiveScore {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  int64_t heads;
  const scalar_t* x_src;
  const scalar_t* x_dst;
  const scalar_t* att;
  acc_t negative_slope;
  scalar_t* out;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    prefetch_row(x_src + graph.col[e] * width, width * sizeof(scalar_t));
    prefetch_row(out + graph.position(e) * heads, heads * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U term(int64_t row, int64_t e, int64_t f) const {
    const U sum =
        load_as<U>(x_src + graph.col[e] * width + f) + load_as<U>(x_dst + row * width + f);
    return choose<Above>(sum, sum, static_cast<U>(sum * negative_slope)) * load_as<U>(att + f);
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    return acc + term<U>(row, e, f);
  }

  GNNLIB_INLINE scalar_t* place(int64_t e) const { return out + graph.position(e) * heads; }
};

template <typename scalar_t>
struct AdditiveGrad {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    const scalar_t* other;
    const scalar_t* grad;
  };

  Csr graph;
  int64_t width;
  Heads<acc_t> heads;
  const scalar_t* grad;
  const scalar_t* x;
  const scalar_t* other;
  acc_t negative_slope;
  acc_t* bent;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    edge = {other + graph.col[e] * width, grad + graph.position(e) * heads.count};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    prefetch_row(other + graph.col[e] * width + f, columns * sizeof(scalar_t));
    prefetch_row(grad + graph.position(e) * heads.count, heads.count * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t row, const Edge& edge, int64_t f) const {
    const U sum = load_as<U>(x + row * width + f) + load_as<U>(edge.other + f);
    const U gain = heads.template spread<U>(edge.grad, f);
    acc[0] = acc[0] + choose<Above>(sum, gain, static_cast<U>(gain * negative_slope));
  }

  GNNLIB_INLINE void combine(acc_t (&a)[1], const acc_t (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t) const {
    store_as(bent + row * width + f, acc[0]);
  }
};

template <typename scalar_t>
void additive_score(const Csr& graph, const Tensor& x_src, const Tensor& x_dst, const Tensor& att,
                    double negative_slope, Tensor& out) {
  using Op = AdditiveScore<scalar_t>;
  fold_heads(Op{graph, x_src.size(1), att.size(0), x_src.const_data_ptr<scalar_t>(),
                x_dst.const_data_ptr<scalar_t>(), att.const_data_ptr<scalar_t>(),
                static_cast<typename Op::acc_t>(negative_slope), out.mutable_data_ptr<scalar_t>()});
}

template <typename scalar_t>
void additive_grad(const Csr& graph, const Tensor& grad, const Tensor& x, const Tensor& other,
                   double negative_slope, Tensor& bent) {
  using Op = AdditiveGrad<scalar_t>;
  using acc_t = typename Op::acc_t;
  fold_rows(Op{graph,
               x.size(1),
               {x.size(1), grad.size(1)},
               grad.const_data_ptr<scalar_t>(),
               x.const_data_ptr<scalar_t>(),
               other.const_data_ptr<scalar_t>(),
               static_cast<acc_t>(negative_slope),
               bent.mutable_data_ptr<acc_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
