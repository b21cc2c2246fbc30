// out[i] = sum over edges e = (j -> i) of p(e) * m(e) / total[i], column by column, where
//   m(e)     = gate[j] * weight[e] * x[j]
//   p(e)     = exp(t * m(e) - top[i])
//   top[i]   = the largest t * m(e)
//   total[i] = the sum of p(e)
// An empty row is 0.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "wide.h"

#define GNNLIB_KERNEL "gather_softmax.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

std::tuple<Tensor, Tensor, Tensor> gather_softmax(Tensor x, Tensor rowptr, Tensor col,
                                                  OptionalTensor perm, OptionalTensor,
                                                  OptionalTensor, OptionalTensor,
                                                  OptionalTensor weight, OptionalTensor gate,
                                                  Tensor t, bool) {
  const Message message(x, rowptr, col, perm, weight, gate);
  t = matching_wide(t, "t", message.x, message.width());
  const int64_t rows = message.graph.num_rows;
  Tensor out = empty_like(x, {rows, message.width()});
  Tensor top = empty_wide(x, rows), total = empty_wide(x, rows);
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_softmax<decltype(tag)>)(message, t, out, top, total);
  });
  return {out, top, total};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_softmax", TORCH_BOX(&gather_softmax));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "fold.h"
#include "running_softmax.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

// A running softmax: the largest exponent so far, the sum of powers, that of powers times messages.
template <typename scalar_t>
struct GatherSoftmax : SourceRows<scalar_t> {
  using typename SourceRows<scalar_t>::acc_t;
  using typename SourceRows<scalar_t>::Edge;
  using SourceRows<scalar_t>::width;

  const acc_t* t;
  scalar_t* out;
  acc_t* top;
  acc_t* total;

  static constexpr int kParts = 3;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[3], int64_t, int64_t) const {
    acc[0] = U{} - std::numeric_limits<acc_t>::infinity();
    acc[1] = acc[2] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[3], int64_t, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(edge.row + f) * edge.factor;
    const U next[3] = {static_cast<U>(message * load_as<U>(t + f)), U{} + acc_t(1), message};
    merge_powers(acc, next, static_cast<U>(next[0] - acc[0]));
  }

  // A piece without a present edge has no largest exponent.
  GNNLIB_INLINE void combine(acc_t (&a)[3], const acc_t (&b)[3]) const {
    if (b[1] == acc_t(0)) return;
    merge_powers(a, b, b[0] - a[0]);
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[3], int64_t present) const {
    const int64_t to = row * width + f;
    // An infinite exponent leaves no sum to divide by: inf - inf is NaN, and all others give 0.
    const U lost = acc[0] - acc[0];
    store_as(out + to, present ? acc[2] / acc[1] + lost : U{});
    store_as(top + to, present ? acc[0] : U{});
    store_as(total + to, present ? acc[1] : U{} + acc_t(1));
  }
};

template <typename scalar_t>
void gather_softmax(const Message& m, const Tensor& t, Tensor& out, Tensor& top, Tensor& total) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  fold_rows(GatherSoftmax<scalar_t>{SourceRows<scalar_t>(m), t.const_data_ptr<acc_t>(),
                                    out.mutable_data_ptr<scalar_t>(), top.mutable_data_ptr<acc_t>(),
                                    total.mutable_data_ptr<acc_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
