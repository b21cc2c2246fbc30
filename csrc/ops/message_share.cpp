// What the gradient of a target comes to for one of its messages (gain.h): shared by those that tie
// for an extremum; of a product, times the messages that are not zero.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "nonlinear.h"

#define GNNLIB_KERNEL "message_share.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor message_share(Tensor grad, Tensor out, Tensor x, Tensor rowptr, OptionalTensor col,
                     OptionalTensor perm, OptionalTensor weight, OptionalTensor gate,
                     int64_t reduce) {
  const Message message(x, rowptr, col, perm, weight, gate);
  const Reduce how = nonlinear(reduce);
  require(how != Reduce::Var, "a variance is shared without a look at its messages");
  grad = per_target(grad, "grad", message.x, message.graph.num_rows);
  out = per_target(out, "out", message.x, message.graph.num_rows);
  Tensor share = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(message_share<decltype(tag)>)(message, grad, out, how, share);
  });
  return share;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("message_share", TORCH_BOX(&message_share));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "fold.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

// How many messages tie for the extremum.
template <typename scalar_t>
struct ExtremumShare : SourceRows<scalar_t> {
  using typename SourceRows<scalar_t>::acc_t;
  using typename SourceRows<scalar_t>::Edge;
  using SourceRows<scalar_t>::width;

  const scalar_t* grad;
  const scalar_t* out;
  scalar_t* share;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&ties)[1], int64_t, int64_t) const {
    ties[0] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&ties)[1], int64_t row, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(edge.row + f) * edge.factor;
    ties[0] = by_register([](auto m, auto best, auto n)
                              GNNLIB_LAMBDA { return same(m, best) ? n + acc_t(1) : n; },
                          message, load_as<U>(out + row * width + f), ties[0]);
  }

  GNNLIB_INLINE void combine(acc_t (&a)[1], const acc_t (&b)[1]) const { a[0] += b[0]; }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&ties)[1], int64_t) const {
    const U among = by_register([](auto n) GNNLIB_LAMBDA { return n < 1 ? n + 1 : n; }, ties[0]);
    store_as(share + row * width + f, static_cast<U>(load_as<U>(grad + row * width + f) / among));
  }
};

// The product of the messages that are not zero, and how many are.
template <typename scalar_t>
struct ProductShare : SourceRows<scalar_t> {
  using typename SourceRows<scalar_t>::acc_t;
  using typename SourceRows<scalar_t>::Edge;
  using SourceRows<scalar_t>::width;

  const scalar_t* grad;
  scalar_t* share;

  static constexpr int kParts = 2;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[2], int64_t, int64_t) const {
    acc[0] = U{} + acc_t(1);
    acc[1] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[2], int64_t, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(edge.row + f) * edge.factor;
    acc[0] = by_register([](auto m, auto all) GNNLIB_LAMBDA { return m == 0 ? all : all * m; },
                         message, acc[0]);
    acc[1] = by_register([](auto m, auto n) GNNLIB_LAMBDA { return m == 0 ? n + 1 : n; }, message,
                         acc[1]);
  }

  GNNLIB_INLINE void combine(acc_t (&a)[2], const acc_t (&b)[2]) const {
    a[0] *= b[0];
    a[1] += b[1];
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[2], int64_t) const {
    const U all = load_as<U>(grad + row * width + f) * acc[0];
    store_as(
        share + row * width + f,
        by_register([](auto zeros, auto v) GNNLIB_LAMBDA { return zeros > 1 ? decltype(v){} : v; },
                    acc[1], all));
  }
};

template <typename scalar_t>
void message_share(const Message& m, const Tensor& grad, const Tensor& out, Reduce reduce,
                   Tensor& share) {
  if (reduce == Reduce::Mul) {
    fold_rows(ProductShare<scalar_t>{SourceRows<scalar_t>(m), grad.const_data_ptr<scalar_t>(),
                                     share.mutable_data_ptr<scalar_t>()});
  } else {
    fold_rows(ExtremumShare<scalar_t>{SourceRows<scalar_t>(m), grad.const_data_ptr<scalar_t>(),
                                      out.const_data_ptr<scalar_t>(),
                                      share.mutable_data_ptr<scalar_t>()});
  }
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
