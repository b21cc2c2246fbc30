// The loop that all row kernels share: fold the edges of every CSR row into `width` columns.
//
// A kernel is an `Op` with
//   graph, width                             the rows to fold, the columns
//   value_t, acc_t                           what columns are stored and accumulated in
//   kParts                                   how many values a column's fold consists of
//   void init<U>(U acc[kParts], row, f)      the fold's start; U is columns [f, ...), or one
//   void combine(T a[kParts], const T b[kParts])  takes in a later part of the row, in a column
//   bool edge(row, e, Edge&)                 reads an edge; false when it is not there
//   void prefetch(e, f, columns)             edge e will be wanted soon
//   void step<U>(U acc[kParts], row, Edge, f)  takes one message
//   void finish<U>(row, f, const U acc[kParts], present)  writes a finished row, with its number of
//                                            present edges
// Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// Where a piece of a hub leaves its partial fold, part by part, each `width` wide; null where whole
// rows are folded.
template <typename T>
struct Partial {
  T* acc = nullptr;
  int64_t* present = nullptr;
};

template <typename Op, typename U, int V>
void fold_tile(const Op& op, int64_t row, int64_t begin, int64_t end, int64_t f,
               Partial<typename Op::acc_t> partial) {
  constexpr int step = lanes<U, typename Op::acc_t>;
  U acc[V][Op::kParts];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) op.template init<U>(acc[v], row, f + v * step);
  int64_t present = 0;
  for (int64_t e = begin; e < end; ++e) {
    if (e + kAhead < op.graph.num_edges) op.prefetch(e + kAhead, f, V * step);
    typename Op::Edge edge;
    if (!op.edge(row, e, edge)) continue;
    ++present;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) op.template step<U>(acc[v], row, edge, f + v * step);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    if (partial.acc) {
      for (int p = 0; p < Op::kParts; ++p) {
        store_as(partial.acc + p * op.width + f + v * step, acc[v][p]);
      }
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
      constexpr int tile = Op::kParts > 2 ? 4 : 8;  // no more than there are registers for
      fold_columns<Op, vec<T>, tile>(op, row, begin, end, 0, partial);
      return;
    }
  }
  fold_columns<Op, T, 4>(op, row, begin, end, 0, partial);
}

// A hub's pieces into one, column by column.
template <typename Op>
void finish_hub(const Op& op, const Hub& hub, const typename Op::acc_t* partial,
                const int64_t* present) {
  using T = typename Op::acc_t;
  const int64_t stride = Op::kParts * op.width;
  const T* pieces = partial + hub.first_piece * stride;
  int64_t count = 0;
  for (int64_t k = 0; k < hub.num_pieces; ++k) count += present[hub.first_piece + k];
  for (int64_t f = 0; f < op.width; ++f) {
    T acc[Op::kParts], piece[Op::kParts];
    for (int p = 0; p < Op::kParts; ++p) acc[p] = pieces[p * op.width + f];
    for (int64_t k = 1; k < hub.num_pieces; ++k) {
      for (int p = 0; p < Op::kParts; ++p) piece[p] = pieces[k * stride + p * op.width + f];
      op.combine(acc, piece);
    }
    op.template finish<T>(hub.row, f, acc, count);
  }
}

template <typename Op>
void fold_rows(const Op& op) {
  using T = typename Op::acc_t;
  if (op.width == 0 || op.graph.num_rows == 0) return;
  const Schedule schedule(op.graph, op.width);
  const int64_t stride = Op::kParts * op.width;
  const std::unique_ptr<T[]> partial(new T[schedule.num_pieces() * stride]);
  std::vector<int64_t> present(schedule.num_pieces());
  schedule.run([&](int64_t row, int64_t begin, int64_t end) { fold_row(op, row, begin, end); },
               [&](int64_t row, int64_t begin, int64_t end, int64_t k) {
                 fold_row(op, row, begin, end, {partial.get() + k * stride, &present[k]});
               });
  for (const Hub& hub : schedule.hubs()) finish_hub(op, hub, partial.get(), present.data());
}

}  // namespace gnnlib::GNNLIB_ISA
