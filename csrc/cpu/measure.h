// The loop of the kernels that measure every segment, column by column, and then give each of its
// rows a value. Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// Columns that are worked on together: few enough for their runs to stay in the cache.
constexpr int64_t kColumns = 64;

// A tile of each of two statistics of a segment's columns.
template <typename T>
struct Statistics {
  T first[kColumns], second[kColumns];
};

// Some columns of some rows.
template <typename T>
struct Block {
  Columns<T> columns;
  int64_t row, begin, end, f;

  int64_t lanes() const { return columns.lanes(end - begin); }
};

// Measures every segment, then writes what depends on the measure; the pieces of a hub are measured
// one by one, combined, and written. A kernel is an `Op` with
//   graph, width, acc_t              the segments, the columns, what to accumulate in
//   measure(block, statistics&)      of a segment or piece
//   combine(a&, b&, a_piece, b_piece)  takes in the two statistics of a piece, in a column
//   write(block, statistics)         after `measure`
//   again(block, statistics)         the same for a piece, knowing the statistics of its hub
template <typename Op>
void measure_and_write(const Op& op) {
  using T = typename Op::acc_t;
  const int64_t width = op.width;
  if (width == 0 || op.graph.num_rows == 0) return;
  const Schedule schedule(op.graph, width);
  const std::unique_ptr<T[]> table(new T[schedule.num_pieces() * 2 * width]);
  const auto each_block = [&](int64_t row, int64_t begin, int64_t end, const auto& work) {
    for (int64_t f = 0; f < width; f += kColumns) {
      work(Block<T>{Columns<T>(std::min(kColumns, width - f)), row, begin, end, f});
    }
  };
  schedule.run(
      [&](int64_t row, int64_t begin, int64_t end) {
        each_block(row, begin, end, [&](const Block<T>& block) {
          Statistics<T> found;
          op.measure(block, found);
          op.write(block, found);
        });
      },
      [&](int64_t row, int64_t begin, int64_t end, int64_t k) {
        T* const to = table.get() + k * 2 * width;
        each_block(row, begin, end, [&](const Block<T>& block) {
          Statistics<T> found;
          op.measure(block, found);
          std::copy_n(found.first, block.columns.count, to + block.f);
          std::copy_n(found.second, block.columns.count, to + width + block.f);
        });
      });
  if (schedule.hubs().empty()) return;
  for (const Hub& hub : schedule.hubs()) {
    T* const all = table.get() + hub.first_piece * 2 * width;
    for (int64_t k = 1; k < hub.num_pieces; ++k) {
      const T* piece = all + k * 2 * width;
      for (int64_t f = 0; f < width; ++f) {
        op.combine(all[f], all[width + f], piece[f], piece[width + f]);
      }
    }
    for (int64_t k = 1; k < hub.num_pieces; ++k) std::copy_n(all, 2 * width, all + k * 2 * width);
  }
  schedule.run([](int64_t, int64_t, int64_t) {},
               [&](int64_t row, int64_t begin, int64_t end, int64_t k) {
                 const T* const from = table.get() + k * 2 * width;
                 each_block(row, begin, end, [&](const Block<T>& block) {
                   Statistics<T> known;
                   std::copy_n(from + block.f, block.columns.count, known.first);
                   std::copy_n(from + width + block.f, block.columns.count, known.second);
                   block.columns.spread(known.first);
                   block.columns.spread(known.second);
                   op.again(block, known);
                 });
               });
}

// Measures a segment by its largest value and the sum of exponentials.
template <typename scalar_t>
struct Exponentials {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* x;
  scalar_t* out;

  // `soon`: what will be written to in the order of x, if anything.
  acc_t* read(const Block<acc_t>& b, const scalar_t* soon) const {
    acc_t* const run = scratch<acc_t>(b.lanes());
    read_rows(graph, x, width, b.f, b.columns, b.begin, b.end, run, soon);
    return run;
  }

  void combine(acc_t& top, acc_t& sum, acc_t piece_top, acc_t piece_sum) const {
    combine_exponentials(top, sum, piece_top, piece_sum);
  }
};

}  // namespace gnnlib::GNNLIB_ISA
