// Of every segment of rows of x, column by column:
//   logsumexp      out[i] = log sum exp(x), its largest value subtracted first
//   logsumexp_grad out[e] = grad[i] * exp(x[e] - total[i]), where total is the logsumexp; 0 for
//   rows
//                  that are in no segment, or in one of -inf alone
#include "dispatch.h"
#include "segments.h"

#define GNNLIB_KERNEL "segment_logsumexp.h"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor segment_logsumexp(Tensor x, Tensor ptr, OptionalTensor perm) {
  const Segments segments(x, ptr, perm);
  Tensor out = empty_like(x, {segments.graph.num_rows, x.size(1)});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(segment_logsumexp<decltype(tag)>)(segments.graph, segments.x, out);
  });
  return out;
}

Tensor segment_logsumexp_grad(Tensor grad, Tensor x, Tensor total, Tensor ptr,
                              OptionalTensor perm) {
  const Segments segments(x, ptr, perm);
  grad = segments.per_segment(grad, "grad");
  total = segments.per_segment(total, "total");
  Tensor out = segments.each_row();
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(segment_logsumexp_grad<decltype(tag)>)
    (segments.graph, grad, segments.x, total, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("segment_logsumexp", TORCH_BOX(&segment_logsumexp));
  m.impl("segment_logsumexp_grad", TORCH_BOX(&segment_logsumexp_grad));
}

}  // namespace gnnlib
