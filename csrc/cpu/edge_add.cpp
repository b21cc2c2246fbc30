// out[e] = x_src[j] + x_dst[i] for every edge e = (j -> i), in the caller's order of edges.
#include "dispatch.h"
#include "message.h"

namespace gnnlib {
namespace {

template <typename scalar_t>
void add_ends(const Csr& graph, const Tensor& x_src, const Tensor& x_dst, Tensor& out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const int64_t width = x_src.size(1);
  const scalar_t* const src = x_src.const_data_ptr<scalar_t>();
  const scalar_t* const dst = x_dst.const_data_ptr<scalar_t>();
  scalar_t* const to = out.mutable_data_ptr<scalar_t>();
  const auto range = [&](int64_t row, int64_t begin, int64_t end) {
    const scalar_t* const b = dst + row * width;
    for (int64_t e = begin; e < end; ++e) {
      if (e + kAhead < graph.num_edges) {
        __builtin_prefetch(src + graph.col[e + kAhead] * width);
        __builtin_prefetch(to + graph.position(e + kAhead) * width, 1);
      }
      const scalar_t* const a = src + graph.col[e] * width;
      scalar_t* const sum = to + graph.position(e) * width;
      for (int64_t k = 0; k < width; ++k) {
        sum[k] = static_cast<scalar_t>(static_cast<acc_t>(a[k]) + static_cast<acc_t>(b[k]));
      }
    }
  };
  const Schedule schedule(graph, width);
  schedule.run(range,
               [&](int64_t row, int64_t begin, int64_t end, int64_t) { range(row, begin, end); });
}

Tensor edge_add(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, OptionalTensor perm,
                OptionalTensor, OptionalTensor, OptionalTensor) {
  const Csr graph = view(rowptr, col, perm);
  x_src = features(x_src, "x_src");
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", x_src, graph.num_rows * x_src.size(1),
                   "target node and column");
  Tensor out = empty_like(x_src, {graph.num_edges, x_src.size(1)});
  dispatch_floating(x_src.scalar_type(),
                    [&](auto tag) { add_ends<decltype(tag)>(graph, x_src, x_dst, out); });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("edge_add", TORCH_BOX(&edge_add)); }

}  // namespace gnnlib
