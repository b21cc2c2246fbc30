// out[e][h] = <x_src[j][h], x_dst[i][h]> for every edge e = (j -> i), in the caller's order of
// edges, where the columns are those of the heads h one after the other.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "edge_dot.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor edge_dot(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, OptionalTensor perm,
                OptionalTensor, OptionalTensor, OptionalTensor, int64_t heads) {
  const Csr graph = view(rowptr, col, perm);
  x_src = features(x_src, "x_src");
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", x_src, graph.num_rows * x_src.size(1),
                   "target node and column");
  const int64_t width = x_src.size(1);
  require(heads > 0 ? width % heads == 0 : width == 0 && heads == 0,
          "`heads` must divide the columns, ", width, ", got ", heads);
  Tensor out = heads == 1 ? empty_like(x_src, {graph.num_edges})
                          : empty_like(x_src, {graph.num_edges, heads});
  dispatch_floating(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(edge_dot<decltype(tag)>)(graph, x_src, x_dst, heads, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("edge_dot", TORCH_BOX(&edge_dot));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "head_fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct EdgeDot {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  int64_t heads;
  const scalar_t* x_src;
  const scalar_t* x_dst;
  scalar_t* out;

  GNNLIB_INLINE void prefetch(int64_t e) const {
    prefetch_row(x_src + graph.col[e] * width, width * sizeof(scalar_t));
    __builtin_prefetch(out + graph.position(e) * heads, 1);
  }

  template <typename U>
  GNNLIB_INLINE U term(int64_t row, int64_t e, int64_t f) const {
    return load_as<U>(x_src + graph.col[e] * width + f) * load_as<U>(x_dst + row * width + f);
  }

  template <typename U>
  GNNLIB_INLINE U step(U acc, int64_t row, int64_t e, int64_t f) const {
    return acc + term<U>(row, e, f);
  }

  GNNLIB_INLINE scalar_t* place(int64_t e) const { return out + graph.position(e) * heads; }
};

template <typename scalar_t>
void edge_dot(const Csr& graph, const Tensor& x_src, const Tensor& x_dst, int64_t heads,
              Tensor& out) {
  fold_heads(EdgeDot<scalar_t>{graph, x_src.size(1), heads, x_src.const_data_ptr<scalar_t>(),
                               x_dst.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
