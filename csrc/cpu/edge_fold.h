// The loop that all edge kernels share: fold `width` columns into one value per edge.
//
// A kernel is an `Op` with
//   graph, width                     the edges, the columns
//   value_t, acc_t                   what columns are stored and accumulated in
//   void prefetch(e)                 edge e will be wanted soon
//   U step<U>(acc, row, e, f)        takes columns [f, ...) of edge e as a vector U, or one
//   void finish(e, h, sum)           writes the value of the edge's h-th head; where there are no
//   heads, h is 0
// Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// Columns [f, end) of edge e.
template <typename Op>
GNNLIB_INLINE typename Op::acc_t fold_edge(const Op& op, int64_t row, int64_t e, int64_t f,
                                           int64_t end) {
  using T = typename Op::acc_t;
  constexpr int step = lanes<vec<T>, T>;
  // Four sums at a time, so that an addition need not wait for the one before.
  vec<T> acc[4] = {};
  const bool wide = end - f >= step;
  for (; f + 4 * step <= end; f += 4 * step) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[v] = op.template step<vec<T>>(acc[v], row, e, f + v * step);
  }
  for (; f + step <= end; f += step) acc[0] = op.template step<vec<T>>(acc[0], row, e, f);
  T sum = wide ? horizontal_sum<T>((acc[0] + acc[1]) + (acc[2] + acc[3])) : T(0);
  for (; f < end; ++f) sum = op.template step<T>(sum, row, e, f);
  return sum;
}

template <typename Op>
void fold_edge_range(const Op& op, int64_t row, int64_t begin, int64_t end) {
  for (int64_t e = begin; e < end; ++e) {
    if (e + kAhead < op.graph.num_edges) op.prefetch(e + kAhead);
    op.finish(e, 0, fold_edge(op, row, e, 0, op.width));
  }
}

template <typename Op>
void fold_edges(const Op& op) {
  const Schedule schedule(op.graph, op.width);
  schedule.run(
      [&](int64_t row, int64_t begin, int64_t end) { fold_edge_range(op, row, begin, end); },
      [&](int64_t row, int64_t begin, int64_t end, int64_t) {
        fold_edge_range(op, row, begin, end);
      });
}

}  // namespace gnnlib::GNNLIB_ISA
