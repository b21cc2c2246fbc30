// out[i] = sum over edges e = (j -> i) of w(e) * x[j], all complex: w(e) is weight[e][0] + i *
// weight[e][1], or its conjugate. A row of x or out holds its real parts, then its imaginary ones.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "gather_complex.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Tensor gather_complex(Tensor x, Tensor rowptr, Tensor col, OptionalTensor perm, OptionalTensor,
                      OptionalTensor, OptionalTensor, Tensor weight, bool conjugate) {
  const Message message(x, rowptr, col, perm, std::nullopt, std::nullopt);
  require(message.width() % 2 == 0, "`x` must have as many imaginary as real columns, got ",
          message.width(), " in all");
  weight = matching(weight, "weight", message.x, 2 * message.graph.num_edges, "edge and part");
  Tensor out = empty_like(x, {message.graph.num_rows, message.width()});
  dispatch_floating(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_complex<decltype(tag)>)(message, weight, conjugate, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_complex", TORCH_BOX(&gather_complex));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "fold.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct GatherComplex {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    const scalar_t* row;
    acc_t real, imag;
  };

  Csr graph;
  int64_t width;  // of the real parts
  const scalar_t* x;
  const scalar_t* weight;
  acc_t sign;  // of the imaginary part of a weight
  scalar_t* out;

  static constexpr int kParts = 2;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[2], int64_t, int64_t) const {
    acc[0] = acc[1] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    const scalar_t* w = weight + 2 * graph.position(e);
    edge = {x + 2 * graph.col[e] * width, static_cast<acc_t>(w[0]),
            sign * static_cast<acc_t>(w[1])};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const scalar_t* row = x + 2 * graph.col[e] * width + f;
    __builtin_prefetch(weight + 2 * graph.position(e));
    prefetch_row(row, columns * sizeof(scalar_t));
    prefetch_row(row + width, columns * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[2], int64_t, const Edge& edge, int64_t f) const {
    const U real = load_as<U>(edge.row + f), imag = load_as<U>(edge.row + width + f);
    acc[0] = acc[0] + (real * edge.real - imag * edge.imag);
    acc[1] = acc[1] + (real * edge.imag + imag * edge.real);
  }

  GNNLIB_INLINE void combine(acc_t (&a)[2], const acc_t (&b)[2]) const {
    for (int p = 0; p < 2; ++p) a[p] += b[p];
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[2], int64_t) const {
    for (int p = 0; p < 2; ++p) store_as(out + (2 * row + p) * width + f, acc[p]);
  }
};

template <typename scalar_t>
void gather_complex(const Message& m, const Tensor& weight, bool conjugate, Tensor& out) {
  using Op = GatherComplex<scalar_t>;
  fold_rows(Op{m.graph, m.width() / 2, m.x.const_data_ptr<scalar_t>(),
               weight.const_data_ptr<scalar_t>(), typename Op::acc_t(conjugate ? -1 : 1),
               out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
