// Attention: the largest score of each row and head, then the messages by their exponentials and
// the sum of those, which no edge's memory is needed for.
#pragma once

#include "exponentials.h"
#include "heads.h"
#include "reduce_rows.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

// The scores of a target's edges, of those whose source is there.
template <typename scalar_t>
struct ScoreRows : ListRows<scalar_t> {
  using Rows = ListRows<scalar_t>;
  using typename Rows::Edge;

  Factors<scalar_t> factors;

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    return factors.open(this->graph.source(e)) && Rows::edge(row, e, edge);
  }
};

// The messages times their exponentials, and the sum of the exponentials. A thread whose columns
// are all of one head takes a single exponential for them.
template <typename scalar_t, bool kOneHead>
struct Attend : SourceRows<scalar_t> {
  using Rows = SourceRows<scalar_t>;
  using typename Rows::acc_t;
  struct Edge : Rows::Edge {
    const scalar_t* score;
  };

  Heads<acc_t> heads;
  const scalar_t* scores;
  const acc_t* top;
  scalar_t* out;

  static constexpr int kParts = 2;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[2], int64_t, int64_t) const {
    acc[0] = acc[1] = U{};
  }

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    edge.score = scores + this->graph.position(e) * heads.count;
    return Rows::edge(row, e, edge);
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[2], int64_t row, const Edge& edge, int64_t f) const {
    using Powers = std::conditional_t<kOneHead, acc_t, U>;
    const Powers score = heads.template spread<Powers>(edge.score, f);
    const Powers most = heads.template spread<Powers>(top + row * heads.count, f);
    const Powers power = exp_of(static_cast<Powers>(score - most));
    acc[0] = acc[0] + load_as<U>(edge.row + f) * (power * edge.factor);
    acc[1] = acc[1] + power;
  }

  GNNLIB_INLINE void combine(acc_t (&a)[2], const acc_t (&b)[2]) const {
    a[0] += b[0];
    a[1] += b[1];
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[2], int64_t present) const {
    store_as(out + row * this->width + f, present == 0 ? U{} : acc[0] / acc[1]);
  }
};

template <typename scalar_t>
void gather_attend(const Message& m, const Tensor& scores, Tensor& out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const Csr& graph = m.graph;
  const SourceRows<scalar_t> values(m);
  const Heads<acc_t> heads(values.width, scores.size(1));
  const scalar_t* of_edges = scores.const_data_ptr<scalar_t>();
  Scratch<acc_t> top(graph.num_rows * heads.count, graph.device);
  fold_rows(ReduceRows<acc_t, ScoreRows<scalar_t>, Reduce::Max>{
      {{graph, heads.count, of_edges}, values.factors}, false, top.get()});
  const auto attend = [&](auto one_head) {
    fold_rows(Attend<scalar_t, one_head.value>{values, heads, of_edges, top.get(),
                                               out.mutable_data_ptr<scalar_t>()});
  };
  if (heads.columns % kColumnsOf<SourceRows<scalar_t> > == 0) {
    attend(std::true_type{});
  } else {
    attend(std::false_type{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA
