// Of every segment of rows of x, column by column:
//   softmax      out[e] = exp(x[e]) / sum exp(x), its largest value subtracted first
//   softmax_grad out[e] = a[e] * (grad[e] - sum a * grad), where a is the softmax
// Rows that are in no segment get 0.
#include "dispatch.h"
#include "segments.h"

#define GNNLIB_KERNEL "segment_softmax.h"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor segment_softmax(Tensor x, Tensor ptr, OptionalTensor perm) {
  const Segments segments(x, ptr, perm);
  Tensor out = segments.each_row();
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(segment_softmax<decltype(tag)>)(segments.graph, segments.x, out);
  });
  return out;
}

Tensor segment_softmax_grad(Tensor a, Tensor grad, Tensor ptr, OptionalTensor perm) {
  const Segments segments(a, ptr, perm);
  grad = matching(features(grad, "grad"), "grad", segments.x, a.numel(), "row and column");
  Tensor out = segments.each_row();
  dispatch_floating(a.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(segment_softmax_grad<decltype(tag)>)(segments.graph, segments.x, grad, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("segment_softmax", TORCH_BOX(&segment_softmax));
  m.impl("segment_softmax_grad", TORCH_BOX(&segment_softmax_grad));
}

}  // namespace gnnlib
