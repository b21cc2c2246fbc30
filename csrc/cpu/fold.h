// The loop that all row kernels share: fold the edges of every CSR row into `width` values.
//
// A kernel is an `Op` with
//   graph, width, acc_t                   the rows to fold, the columns, what to accumulate in
//   T init(), U combine(U, U)             the fold's start, and two partial folds into one
//   bool edge(row, e, Edge&)              reads an edge; false when it is not there
//   void prefetch(e, f, columns)          edge e will be wanted soon
//   U step<U>(acc, row, Edge, f)          takes one message; U is columns [f, ...), or one column
//   void finish<U>(row, f, acc, present)  writes a finished row, with its number of present edges
// Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// Where a piece of a hub leaves its partial fold; null where whole rows are folded.
template <typename T>
struct Partial {
  T* acc = nullptr;
  int64_t* present = nullptr;
};

template <typename Op, typename U, int V>
void fold_tile(const Op& op, int64_t row, int64_t begin, int64_t end, int64_t f,
               Partial<typename Op::acc_t> partial) {
  constexpr int step = lanes<U, typename Op::acc_t>;
  U acc[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) acc[v] = U{} + op.init();
  int64_t present = 0;
  for (int64_t e = begin; e < end; ++e) {
    if (e + kAhead < op.graph.num_edges) op.prefetch(e + kAhead, f, V * step);
    typename Op::Edge edge;
    if (!op.edge(row, e, edge)) continue;
    ++present;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[v] = op.template step<U>(acc[v], row, edge, f + v * step);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    if (partial.acc) {
      store_as(partial.acc + f + v * step, acc[v]);
    } else {
      op.template finish<U>(row, f + v * step, acc[v], present);
    }
  }
  if (partial.present) *partial.present = present;
}

template <typename Op, typename U, int V>
GNNLIB_INLINE void fold_columns(const Op& op, int64_t row, int64_t begin, int64_t end, int64_t f,
                                Partial<typename Op::acc_t> partial) {
  constexpr int64_t columns = V * lanes<U, typename Op::acc_t>;
  for (; f + columns <= op.width; f += columns) {
    fold_tile<Op, U, V>(op, row, begin, end, f, partial);
  }
  if constexpr (V > 1) {
    fold_columns<Op, U, V / 2>(op, row, begin, end, f, partial);
  } else if (f < op.width) {
    // The last columns overlap the tile before: the same values are written twice.
    fold_tile<Op, U, 1>(op, row, begin, end, op.width - columns, partial);
  }
}

template <typename Op>
void fold_row(const Op& op, int64_t row, int64_t begin, int64_t end,
              Partial<typename Op::acc_t> partial = {}) {
  using T = typename Op::acc_t;
  if constexpr (std::is_floating_point_v<T>) {
    if (op.width >= lanes<vec<T>, T>) {
      fold_columns<Op, vec<T>, kVectors>(op, row, begin, end, 0, partial);
      return;
    }
  }
  fold_columns<Op, T, 4>(op, row, begin, end, 0, partial);
}

template <typename Op>
void fold_rows(const Op& op) {
  using T = typename Op::acc_t;
  if (op.width == 0 || op.graph.num_rows == 0) return;
  const Schedule schedule(op.graph, op.width);
  const std::unique_ptr<T[]> partial(new T[schedule.num_pieces() * op.width]);
  std::vector<int64_t> present(schedule.num_pieces());
  schedule.run([&](int64_t row, int64_t begin, int64_t end) { fold_row(op, row, begin, end); },
               [&](int64_t row, int64_t begin, int64_t end, int64_t k) {
                 fold_row(op, row, begin, end, {partial.get() + k * op.width, &present[k]});
               });
  for (const Hub& hub : schedule.hubs()) {
    int64_t count = 0;
    for (int64_t k = 0; k < hub.num_pieces; ++k) count += present[hub.first_piece + k];
    for (int64_t f = 0; f < op.width; ++f) {
      const T* piece = partial.get() + hub.first_piece * op.width + f;
      T acc = piece[0];
      for (int64_t k = 1; k < hub.num_pieces; ++k) acc = op.combine(acc, piece[k * op.width]);
      op.template finish<T>(hub.row, f, acc, count);
    }
  }
}

}  // namespace gnnlib::GNNLIB_ISA
