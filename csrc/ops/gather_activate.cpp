// out[i] = sum over edges e = (j -> i) of gate[j] * weight[e] * act(x_src[j] + x_dst[i])
#ifndef GNNLIB_ISA

#include "activated.h"
#include "dispatch.h"

#define GNNLIB_KERNEL "gather_activate.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor gather_activate(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, OptionalTensor perm,
                       OptionalTensor, OptionalTensor, OptionalTensor, OptionalTensor weight,
                       OptionalTensor gate, int64_t act, double alpha) {
  const Message message(x_src, rowptr, col, perm, weight, gate);
  const Activation how = activation(act);
  const int64_t rows = message.graph.num_rows, width = message.width();
  x_dst = matching(features(x_dst, "x_dst"), "x_dst", message.x, rows * width,
                   "target node and column");
  Tensor out = empty_like(x_src, {rows, width});
  dispatch_wide(x_src.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_activate<decltype(tag)>)(message, x_dst, how, alpha, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_activate", TORCH_BOX(&gather_activate));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "activations.h"
#include "fold.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

template <typename T, typename Act>
struct GatherActivate : SourceRows<T> {
  using acc_t = T;
  using typename SourceRows<T>::Edge;
  using SourceRows<T>::width;

  const T* x_dst;
  T alpha;
  T* out;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t row, const Edge& edge, int64_t f) const {
    const U sum = load_as<U>(edge.row + f) + load_as<U>(x_dst + row * width + f);
    acc[0] = acc[0] + value_of<Act>(sum, alpha) * edge.factor;
  }

  GNNLIB_INLINE void combine(T (&a)[1], const T (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t) const {
    store_as(out + row * width + f, acc[0]);
  }
};

template <typename T>
void gather_activate(const Message& m, const Tensor& x_dst, Activation act, double alpha,
                     Tensor& out) {
  with_activation<T>(act, [&](auto how) {
    fold_rows(GatherActivate<T, decltype(how)>{SourceRows<T>(m), x_dst.const_data_ptr<T>(),
                                               static_cast<T>(alpha), out.mutable_data_ptr<T>()});
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
