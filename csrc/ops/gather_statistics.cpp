// Sum, variance, minimum and maximum of the messages gate[j] * weight[e] * x[j] over the present
// edges of every row, whichever are asked for, in one pass; all 0 where there is no edge. Squares
// are summed relative to the row's first message s: var = (S2 - S1^2 / n) / n with
// Sk = sum (m - s)^k, so that an offset shared by the messages costs no precision.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "gather_statistics.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

using Statistics = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Statistics gather_statistics(Tensor x, Tensor rowptr, Tensor col, OptionalTensor perm,
                             OptionalTensor, OptionalTensor, OptionalTensor, OptionalTensor weight,
                             OptionalTensor gate, int64_t which) {
  const Message message(x, rowptr, col, perm, weight, gate);
  require(1 <= which && which <= 7, "`which` must be in [1, 7], got ", which);
  const bool var = which & 2, sum = which & 3, extrema = which & 4;
  const auto wanted = [&](bool is) {
    return is ? empty_like(x, {message.graph.num_rows, message.width()}) : empty_like(x, {0});
  };
  Statistics out(wanted(sum), wanted(var), wanted(extrema), wanted(extrema));
  Tensor first = torch::stable::empty({var ? message.graph.num_rows : 0, 1}, ScalarType::Long,
                                      std::nullopt, x.device());
  dispatch_wide(x.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gather_statistics<decltype(tag)>)(message, first, which, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gather_statistics", TORCH_BOX(&gather_statistics));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "each_column.h"
#include "fold.h"
#include "source_rows.h"

namespace gnnlib::GNNLIB_ISA {

// Where the first edge of each row is that is present; rows without one have rowptr[row + 1].
template <typename scalar_t>
struct FirstPresent {
  using value_t = int64_t;
  using acc_t = int64_t;

  Csr graph;
  Factors<scalar_t> factors;
  int64_t* first;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t) const {
    int64_t e = graph.rowptr[row];
    while (e < graph.rowptr[row + 1] && !factors.open(graph.col[e])) ++e;
    first[row] = e;
  }
};

// Moments: 0 none, 1 the sum, 2 the sum and the variance.
template <typename scalar_t, int Moments, bool Extrema>
struct GatherStatistics : SourceRows<scalar_t> {
  using typename SourceRows<scalar_t>::acc_t;
  using typename SourceRows<scalar_t>::Edge;
  using SourceRows<scalar_t>::graph;
  using SourceRows<scalar_t>::width;
  using Low = Reducer<acc_t, Reduce::Min>;
  using High = Reducer<acc_t, Reduce::Max>;

  const int64_t* first;
  scalar_t* sum;
  scalar_t* var;
  scalar_t* low;
  scalar_t* high;

  // The parts of a column's fold, in order: S1, S2 and the shift s; minimum and maximum.
  static constexpr int kLow = Moments == 2 ? 3 : Moments;
  static constexpr int kParts = kLow + 2 * Extrema;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[kParts], int64_t row, int64_t f) const {
    if constexpr (Moments > 0) acc[0] = U{};
    if constexpr (Moments == 2) {
      acc[1] = U{};
      acc[2] = shift<U>(row, f);
    }
    if constexpr (Extrema) {
      acc[kLow] = U{} + Low::init;
      acc[kLow + 1] = U{} + High::init;
    }
  }

  // The row's first message, where it is finite.
  template <typename U>
  GNNLIB_INLINE U shift(int64_t row, int64_t f) const {
    const int64_t e = first[row];
    if (e == graph.rowptr[row + 1]) return U{};
    const int64_t source = graph.col[e];
    const U s =
        load_as<U>(this->x + source * width + f) * this->factors.of(source, graph.position(e));
    return by_register([](auto v) GNNLIB_LAMBDA { return v - v == 0 ? v : decltype(v){}; }, s);
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[kParts], int64_t, const Edge& edge, int64_t f) const {
    const U message = load_as<U>(edge.row + f) * edge.factor;
    if constexpr (Moments == 1) acc[0] = acc[0] + message;
    if constexpr (Moments == 2) {
      const U offset = message - acc[2];
      acc[0] = acc[0] + offset;
      acc[1] = acc[1] + offset * offset;
    }
    if constexpr (Extrema) {
      acc[kLow] = take<Low>(acc[kLow], message);
      acc[kLow + 1] = take<High>(acc[kLow + 1], message);
    }
  }

  GNNLIB_INLINE void combine(acc_t (&a)[kParts], const acc_t (&b)[kParts]) const {
    if constexpr (Moments > 0) a[0] += b[0];
    if constexpr (Moments == 2) a[1] += b[1];
    if constexpr (Extrema) {
      a[kLow] = Low::update(a[kLow], b[kLow]);
      a[kLow + 1] = High::update(a[kLow + 1], b[kLow + 1]);
    }
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[kParts], int64_t present) const {
    const int64_t at = row * width + f;
    const acc_t n = static_cast<acc_t>(present > 0 ? present : 1);
    if constexpr (Moments == 1) store_as(sum + at, acc[0]);
    if constexpr (Moments == 2) {
      store_as(sum + at, static_cast<U>(acc[0] + acc[2] * static_cast<acc_t>(present)));
      const U spread = (acc[1] - acc[0] * acc[0] / n) / n;
      // Rounding may take it below 0; a NaN passes.
      store_as(var + at,
               by_register([](auto v) GNNLIB_LAMBDA { return v < 0 ? decltype(v){} : v; }, spread));
    }
    if constexpr (Extrema) {
      store_as(low + at, present > 0 ? acc[kLow] : U{});
      store_as(high + at, present > 0 ? acc[kLow + 1] : U{});
    }
  }
};

template <typename scalar_t>
void gather_statistics(const Message& m, Tensor& first, int64_t which,
                       std::tuple<Tensor, Tensor, Tensor, Tensor>& out) {
  int64_t* const start = first.mutable_data_ptr<int64_t>();
  each_column(FirstPresent<scalar_t>{m.graph, factors<scalar_t>(m.weight, m.gate), start}, first);
  const auto data = [](Tensor& t) { return t.mutable_data_ptr<scalar_t>(); };
  auto& [sum, var, low, high] = out;
  const auto run = [&](auto moments, auto extrema) {
    fold_rows(GatherStatistics<scalar_t, moments.value, extrema.value>{
        SourceRows<scalar_t>(m), start, data(sum), data(var), data(low), data(high)});
  };
  const auto with = [&](auto moments) {
    if (which & 4) {
      run(moments, std::true_type{});
    } else if constexpr (moments.value > 0) {
      run(moments, std::false_type{});
    }
  };
  if (which & 2) {
    with(std::integral_constant<int, 2>{});
  } else if (which & 1) {
    with(std::integral_constant<int, 1>{});
  } else {
    with(std::integral_constant<int, 0>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
