// The loop of edge kernels that fold each head's columns into a value of its own.
//
// A kernel is an `Op` with what edge_fold.h asks for but `finish`, and
//   heads                          of so many, whose columns follow each other
//   U term<U>(row, e, f)           what `step` adds
//   place(e)                       where the edge's values go, a head's after the other's
// Included inside foreach_isa.h, so without a guard.
#include "edge_fold.h"

namespace gnnlib::GNNLIB_ISA {

constexpr int64_t kBlock = 256;  // columns whose terms are kept at a time

// The terms of some heads, and room to add them up.
template <typename T>
struct HeadTerms {
  static constexpr int kStep = lanes<vec<T>, T>;
  alignas(64) T of[2][kBlock + 2 * kStep];

  // One sum a head: neighbours are added in pairs as long as they come in pairs.
  GNNLIB_INLINE const T* by_head(int64_t heads, int64_t columns) {
    int from = 0;
    for (; columns > 0 && columns % 2 == 0; columns /= 2, from = 1 - from) {
      add_pairs(of[from], of[1 - from], heads * columns / 2);
    }
    if (columns == 1) return of[from];
    const T* next = of[from];
    for (int64_t h = 0; h < heads; ++h) {
      T sum = 0;
      for (int64_t c = 0; c < columns; ++c) sum += *next++;
      of[1 - from][h] = sum;
    }
    return of[1 - from];
  }

  // Of `count` pairs, rounded up to a vector's worth.
  static GNNLIB_INLINE void add_pairs(const T* __restrict in, T* __restrict out, int64_t count) {
    for (int64_t k = 0; k < count; k += kStep) {
      for (int c = 0; c < kStep; ++c) out[k + c] = in[2 * (k + c)] + in[2 * (k + c) + 1];
    }
  }
};

template <typename Op>
class HeadFold {
  using T = typename Op::acc_t;
  using value_t = typename Op::value_t;
  static constexpr int kStep = lanes<vec<T>, T>;

 public:
  explicit HeadFold(const Op& op) : op_(op), columns_(op.width / op.heads) {}

  // Columns: how many a head has, if the compiler is to know, else 0.
  template <int Columns>
  void range(int64_t row, int64_t begin, int64_t end) const {
    HeadTerms<T> terms = {};
    for (int64_t e = begin; e < end; ++e) {
      if (e + kAhead < op_.graph.num_edges) op_.prefetch(e + kAhead);
      value_t* const to = op_.place(e);
      int64_t h = 0;
      if constexpr (Columns > 0 && Columns <= kStep) {
        for (int64_t f = 0; f + kStep <= op_.width; f += kStep, h += kStep / Columns) {
          head_sums<Columns>(op_.template term<vec<T> >(row, e, f), to + h);
        }
      } else if (columns_ < kStep) {
        narrow_heads(row, e, terms, to);
        continue;
      }
      for (; h < op_.heads; ++h) {
        to[h] = static_cast<value_t>(fold_edge(op_, row, e, h * columns_, (h + 1) * columns_));
      }
    }
  }

 private:
  // The sum of each head in a vector of terms, where several heads fit.
  template <int Columns>
  static GNNLIB_INLINE void head_sums(vec<T> terms, value_t* to) {
    constexpr int count = GNNLIB_REGISTER / sizeof(T), all = sizeof(terms) / GNNLIB_REGISTER;
    native<T> part[all];
    std::memcpy(part, &terms, sizeof(terms));
#pragma GCC unroll 4
    for (int p = 0; p < all; p += std::max(Columns / count, 1)) {
      for (int q = 1; q < Columns / count; ++q) part[p] += part[p + q];
      const native<T> sums = group_sums<T, std::min(Columns, count) / 2>(part[p]);
      for (int k = 0; k < count; k += Columns) *to++ = static_cast<value_t>(sums[k]);
    }
  }

  // Other heads narrower than a vector share it: their terms are written down, then summed by head.
  GNNLIB_INLINE void narrow_heads(int64_t row, int64_t e, HeadTerms<T>& terms, value_t* to) const {
    const int64_t at_once = kBlock / std::max<int64_t>(columns_, 1);
    for (int64_t first = 0; first < op_.heads; first += at_once) {
      const int64_t count = std::min(at_once, op_.heads - first), begin = first * columns_;
      int64_t f = 0;
      for (; f + kStep <= count * columns_; f += kStep) {
        store(terms.of[0] + f, op_.template term<vec<T> >(row, e, begin + f));
      }
      for (; f < count * columns_; ++f) terms.of[0][f] = op_.template term<T>(row, e, begin + f);
      const T* sums = terms.by_head(count, columns_);
      int64_t h = 0;
      for (; h + kStep <= count; h += kStep) store(to + first + h, load(sums + h));
      for (; h < count; ++h) to[first + h] = static_cast<value_t>(sums[h]);
    }
  }

  const Op& op_;
  const int64_t columns_;
};

template <typename Op>
void fold_heads(const Op& op) {
  if (op.heads == 0) return;
  const HeadFold<Op> fold(op);
  const auto run = [&](auto columns) {
    const auto range = [&](int64_t row, int64_t begin, int64_t end) {
      fold.template range<columns.value>(row, begin, end);
    };
    const Schedule schedule(op.graph, op.width);
    schedule.run(range,
                 [&](int64_t row, int64_t begin, int64_t end, int64_t) { range(row, begin, end); });
  };
  switch (op.width / op.heads) {
    case 1:
      return run(std::integral_constant<int, 1>{});
    case 2:
      return run(std::integral_constant<int, 2>{});
    case 4:
      return run(std::integral_constant<int, 4>{});
    case 8:
      return run(std::integral_constant<int, 8>{});
    default:
      return run(std::integral_constant<int, 0>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA
