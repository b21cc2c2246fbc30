// out[e] = x_src[j] + x_dst[i] for every edge e = (j -> i), in the caller's order of edges.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "edge_add.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor edge_add(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, OptionalTensor perm,
                OptionalTensor, OptionalTensor, OptionalTensor) {
  const Csr graph = view(rowptr, col, perm);
  x_src = features(x_src, "x_src");
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", x_src, graph.num_rows * x_src.size(1),
                   "target node and column");
  Tensor out = empty_like(x_src, {graph.num_edges, x_src.size(1)});
  dispatch_floating(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(edge_add<decltype(tag)>)(graph, x_src, x_dst, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("edge_add", TORCH_BOX(&edge_add));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "each_edge.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct EdgeAdd {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* x_src;
  const scalar_t* x_dst;
  scalar_t* out;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    __builtin_prefetch(x_src + graph.col[e] * width);
    __builtin_prefetch(out + graph.position(e) * width, 1);
  }

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t e, int64_t f) const {
    store_as(out + graph.position(e) * width + f,
             static_cast<U>(load_as<U>(x_src + graph.col[e] * width + f) +
                            load_as<U>(x_dst + row * width + f)));
  }
};

template <typename scalar_t>
void edge_add(const Csr& graph, const Tensor& x_src, const Tensor& x_dst, Tensor& out) {
  each_edge(EdgeAdd<scalar_t>{graph, x_src.size(1), x_src.const_data_ptr<scalar_t>(),
                              x_dst.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
