// out[i] = reduce over edges e = (j -> i) of gate[j] * weight[e] * x[j]; an empty row is 0, an
// empty product 1. Where weight is [E, H], the columns of x are those of H heads one after the
// other, each with a weight of its own.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "gather_reduce.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

// One weight a head, [E, H].
Tensor head_weights(const Tensor& weight, const Message& message, Reduce how) {
  const int64_t heads = weight.size(1), width = message.width();
  require(how == Reduce::Sum || how == Reduce::Mean, "one weight a head is for sum and mean");
  require(heads > 0 ? width % heads == 0 : width == 0, "`weight` must have a column per head of ",
          width, " columns, got ", heads);
  return matching(weight, "weight", message.x, message.graph.num_edges * heads, "edge and head");
}

Tensor gather_reduce(Tensor x, Tensor rowptr, Tensor col, OptionalTensor perm, OptionalTensor,
                     OptionalTensor, OptionalTensor, OptionalTensor weight, OptionalTensor gate,
                     int64_t reduce) {
  const bool by_head = weight && weight->dim() == 2;
  const Message message(x, rowptr, col, perm, by_head ? std::nullopt : weight, gate);
  require(0 <= reduce && reduce <= 4, "`reduce` must be in [0, 4], got ", reduce);
  const Reduce how = static_cast<Reduce>(reduce);
  require(how != Reduce::Mean || !gate, "`reduce`=mean takes no gate: divide two gated sums");
  OptionalTensor heads;
  if (by_head) heads = head_weights(*weight, message, how);
  Tensor out = empty_like(x, {message.graph.num_rows, message.width()});
  if (is_integral(x.scalar_type())) {
    require(how != Reduce::Mean, "`reduce`=mean needs floating point features");
    dispatch_integral(x.scalar_type(), [&](auto tag) {
      GNNLIB_PLAIN(gather_reduce<decltype(tag)>)(message, heads, how, out);
    });
  } else {
    dispatch_floating(x.scalar_type(), [&](auto tag) {
      GNNLIB_BEST(gather_reduce<decltype(tag)>)(message, heads, how, out);
    });
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_reduce", TORCH_BOX(&gather_reduce));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "fold.h"
#include "heads.h"
#include "reduce_rows.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t, Reduce R>
using GatherReduce = ReduceRows<scalar_t, SourceRows<scalar_t>, R>;

template <typename scalar_t>
struct GatherHeads : GatherReduce<scalar_t, Reduce::Sum> {
  using One = GatherReduce<scalar_t, Reduce::Sum>;
  using typename One::acc_t;
  struct Edge : One::Edge {
    const scalar_t* weight;
  };

  Heads<acc_t> heads;
  const scalar_t* weight;

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    edge.weight = weight + this->graph.position(e) * heads.count;
    return One::edge(row, e, edge);
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    One::prefetch(e, f, columns);
    prefetch_row(weight + this->graph.position(e) * heads.count, heads.count * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t, const Edge& edge, int64_t f) const {
    const U factor = heads.template spread<U>(edge.weight, f);
    acc[0] = static_cast<U>(acc[0] + load_as<U>(edge.row + f) * (factor * edge.factor));
  }
};

template <typename scalar_t>
void gather_reduce(const Message& m, const OptionalTensor& weight, Reduce reduce, Tensor& out) {
  if (weight) {
    using Op = GatherHeads<scalar_t>;
    fold_rows(
        Op{{SourceRows<scalar_t>(m), reduce == Reduce::Mean, out.mutable_data_ptr<scalar_t>()},
           {m.width(), weight->size(1)},
           weight->const_data_ptr<scalar_t>()});
    return;
  }
  with_reducer(reduce, [&](auto how) {
    fold_rows(GatherReduce<scalar_t, how.value>{SourceRows<scalar_t>(m), reduce == Reduce::Mean,
                                                out.mutable_data_ptr<scalar_t>()});
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
