// out[i] = sum over edges e = (j -> i) of softmax(scores)[e] * gate[j] * value[j], head by head,
// where an edge whose gate is zero takes no part in the softmax. The coefficients of a row are in
// memory only while it is folded; those of a hub's pieces are brought to a common scale afterwards.
#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "attend.h"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor gather_attend(Tensor value, Tensor scores, Tensor rowptr, Tensor col, OptionalTensor perm,
                     OptionalTensor, OptionalTensor, OptionalTensor, OptionalTensor gate) {
  const Message message(value, rowptr, col, perm, std::nullopt, gate);
  scores = features(scores, "scores");
  const int64_t heads = scores.size(1), width = message.width();
  require(heads > 0 ? width % heads == 0 : width == 0, "`scores` must have a column per head of ",
          width, " columns, got ", heads);
  scores = matching(scores, "scores", message.x, message.graph.num_edges * heads, "edge and head");
  Tensor out = empty_like(value, {message.graph.num_rows, width});
  dispatch_floating(value.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_attend<decltype(tag)>)(message, scores, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_attend", TORCH_BOX(&gather_attend));
}

}  // namespace gnnlib
