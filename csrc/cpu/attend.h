// Attention, row by row. The coefficients of a row are in memory only while it is folded; those of
// a hub's pieces are brought to a common scale afterwards. Included inside foreach_isa.h, so
// without a guard.
#include "columns.h"
#include "exp.h"
#include "exponentials.h"
#include "fold.h"
#include "heads.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

// One row, or a piece of it, whose exponentials are known.
template <typename scalar_t>
struct Attend : SourceRows<scalar_t> {
  using Rows = SourceRows<scalar_t>;
  using typename Rows::acc_t;
  struct Edge : Rows::Edge {
    const acc_t* share;
  };

  const Heads<acc_t>& heads;
  scalar_t* out;
  const acc_t* share;  // of the edges from `begin` on, a row of heads each
  int64_t stride, begin;
  const acc_t* sum;  // of the shares

  static constexpr int kParts = 1;

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    edge.share = share + (e - begin) * stride;
    return Rows::edge(row, e, edge);
  }

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t, const Edge& edge, int64_t f) const {
    const U factor = heads.template spread<U>(edge.share, f);
    acc[0] = acc[0] + load_as<U>(edge.row + f) * (factor * edge.factor);
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t present) const {
    const U value = present == 0 ? U{} : acc[0] / heads.template spread<U>(sum, f);
    store_as(out + row * this->width + f, value);
  }
};

// What is known of a hub's pieces, one after the other.
template <typename T>
struct Pieces {
  std::vector<T> top, sum, acc;
  std::vector<int64_t> present;

  Pieces(int64_t count, int64_t heads, int64_t width)
      : top(count * heads), sum(count * heads), acc(count * width), present(count) {}
};

template <typename scalar_t>
class AttendRows {
  using acc_t = typename AccumulateIn<scalar_t>::type;

 public:
  AttendRows(const Message& m, const Tensor& scores, Tensor& out)
      : rows_(m),
        heads_(m.width(), scores.size(1)),
        columns_(scores.size(1)),
        scores_(scores.const_data_ptr<scalar_t>()),
        out_(out.mutable_data_ptr<scalar_t>()) {}

  void run() const {
    const Schedule schedule(rows_.graph, rows_.width);
    Pieces<acc_t> pieces(schedule.num_pieces(), heads_.count, rows_.width);
    schedule.run(
        [&](int64_t row, int64_t begin, int64_t end) { fold(row, begin, end, nullptr, 0); },
        [&](int64_t row, int64_t begin, int64_t end, int64_t k) {
          fold(row, begin, end, &pieces, k);
        });
    for (const Hub& hub : schedule.hubs()) finish(hub, pieces);
  }

 private:
  Attend<scalar_t> attend(const acc_t* share, int64_t begin, const acc_t* sum) const {
    return {rows_, heads_, out_, share, columns_.stride, begin, sum};
  }

  void fold(int64_t row, int64_t begin, int64_t end, Pieces<acc_t>* pieces, int64_t k) const {
    const int64_t heads = heads_.count;
    acc_t* const share = scratch<acc_t>(columns_.lanes(end - begin), 0);
    acc_t* const top = scratch<acc_t>(2 * columns_.tile(), 1);
    acc_t* const sum = top + columns_.tile();
    read_rows(rows_.graph, scores_, heads, 0, columns_, begin, end, share);
    if (rows_.factors.gate) {
      for (int64_t e = begin; e < end; ++e) {
        if (rows_.factors.open(rows_.graph.col[e])) continue;
        std::fill_n(share + (e - begin) * columns_.stride, heads,
                    -std::numeric_limits<acc_t>::infinity());
      }
    }
    exponentials(columns_, share, end - begin, top, sum);
    const Attend<scalar_t> op = attend(share, begin, sum);
    if (!pieces) return fold_row(op, row, begin, end);
    std::copy_n(top, heads, &pieces->top[k * heads]);
    std::copy_n(sum, heads, &pieces->sum[k * heads]);
    fold_row(op, row, begin, end, {&pieces->acc[k * rows_.width], &pieces->present[k]});
  }

  void finish(const Hub& hub, const Pieces<acc_t>& pieces) const {
    const int64_t heads = heads_.count, width = rows_.width;
    std::vector<acc_t> top(heads, -std::numeric_limits<acc_t>::infinity()), sum(heads), acc(width),
        scale(heads);
    const int64_t last = hub.first_piece + hub.num_pieces;
    int64_t present = 0;
    for (int64_t k = hub.first_piece; k < last; ++k) {
      present += pieces.present[k];
      for (int64_t h = 0; h < heads; ++h) {
        top[h] = Reducer<acc_t, Reduce::Max>::update(top[h], pieces.top[k * heads + h]);
      }
    }
    for (int64_t k = hub.first_piece; k < last; ++k) {
      for (int64_t h = 0; h < heads; ++h) {
        scale[h] = rescaled(pieces.top[k * heads + h], top[h]);
        sum[h] += pieces.sum[k * heads + h] * scale[h];
      }
      for (int64_t f = 0; f < width; ++f) {
        acc[f] += pieces.acc[k * width + f] * heads_.template spread<acc_t>(scale.data(), f);
      }
    }
    const Attend<scalar_t> op = attend(nullptr, 0, sum.data());
    for (int64_t f = 0; f < width; ++f) {
      const acc_t column[1] = {acc[f]};
      op.template finish<acc_t>(hub.row, f, column, present);
    }
  }

  const SourceRows<scalar_t> rows_;
  const Heads<acc_t> heads_;
  const Columns<acc_t> columns_;
  const scalar_t* const scores_;
  scalar_t* const out_;
};

template <typename scalar_t>
void gather_attend(const Message& m, const Tensor& scores, Tensor& out) {
  if (m.width() > 0 && m.graph.num_rows > 0) AttendRows<scalar_t>(m, scores, out).run();
}

}  // namespace gnnlib::GNNLIB_ISA
