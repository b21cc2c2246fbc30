// out[e] = <x_src[j], x_dst[i]> for every edge e = (j -> i), in the caller's order of edges.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "edge_dot.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor edge_dot(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, OptionalTensor perm,
                OptionalTensor, OptionalTensor, OptionalTensor) {
  const Csr graph = view(rowptr, col, perm);
  x_src = features(x_src, "x_src");
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", x_src, graph.num_rows * x_src.size(1),
                   "target node and column");
  Tensor out = empty_like(x_src, {graph.num_edges});
  dispatch_floating(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(edge_dot<decltype(tag)>)(graph, x_src, x_dst, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("edge_dot", TORCH_BOX(&edge_dot)); }

}  // namespace gnnlib

#else  // once for every instruction set

#include "edge_fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct EdgeDot {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* x_src;
  const scalar_t* x_dst;
  scalar_t* out;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    prefetch_row(x_src + graph.col[e] * width, width * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    return acc + load_as<U>(x_src + graph.col[e] * width + f) * load_as<U>(x_dst + row * width + f);
  }

  GNNLIB_INLINE void finish(int64_t e, acc_t sum) const {
    out[graph.position(e)] = static_cast<scalar_t>(sum);
  }
};

template <typename scalar_t>
void edge_dot(const Csr& graph, const Tensor& x_src, const Tensor& x_dst, Tensor& out) {
  fold_edges(EdgeDot<scalar_t>{graph, x_src.size(1), x_src.const_data_ptr<scalar_t>(),
                               x_dst.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
