// Segments of a list: out[i] = reduce over e in [ptr[i], ptr[i + 1]) of x[perm[e]], or x[e] without
// perm; an empty segment is 0, an empty product 1. segment_arg also tells where the first extremum
// stands, segment_expand copies a segment's row to each of its elements.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "segment_reduce.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Csr segments(Tensor& ptr, const OptionalTensor& perm, int64_t size) {
  ptr = torch::stable::contiguous(ptr);
  const Csr graph = view(ptr, perm, std::nullopt, size);
  check_segments(graph, ptr);
  return graph;
}

Tensor segment_reduce(Tensor x, Tensor ptr, OptionalTensor perm, int64_t reduce) {
  x = features(x, "x");
  const Csr graph = segments(ptr, perm, x.size(0));
  require(0 <= reduce && reduce <= 4, "`reduce` must be in [0, 4], got ", reduce);
  const Reduce how = static_cast<Reduce>(reduce);
  Tensor out = empty_like(x, {graph.num_rows, x.size(1)});
  if (is_integral(x.scalar_type())) {
    require(how != Reduce::Mean, "`reduce`=mean needs floating point features");
    dispatch_integral(x.scalar_type(), [&](auto tag) {
      GNNLIB_PLAIN(segment_reduce<decltype(tag)>)(graph, x, how, out);
    });
  } else {
    dispatch_floating(x.scalar_type(), [&](auto tag) {
      GNNLIB_BEST(segment_reduce<decltype(tag)>)(graph, x, how, out);
    });
  }
  return out;
}

std::tuple<Tensor, Tensor> segment_arg(Tensor x, Tensor ptr, OptionalTensor perm, int64_t reduce) {
  x = features(x, "x");
  const Csr graph = segments(ptr, perm, x.size(0));
  require(reduce == 2 || reduce == 3, "`reduce` must be 2 (min) or 3 (max), got ", reduce);
  const Reduce how = static_cast<Reduce>(reduce);
  Tensor out = empty_like(x, {graph.num_rows, x.size(1)});
  Tensor arg =
      torch::stable::empty({graph.num_rows, x.size(1)}, ScalarType::Long, std::nullopt, x.device());
  if (is_integral(x.scalar_type())) {
    dispatch_integral(x.scalar_type(), [&](auto tag) {
      GNNLIB_PLAIN(segment_arg<decltype(tag)>)(graph, x, how, out, arg);
    });
  } else {
    dispatch_floating(x.scalar_type(), [&](auto tag) {
      GNNLIB_BEST(segment_arg<decltype(tag)>)(graph, x, how, out, arg);
    });
  }
  return {out, arg};
}

Tensor segment_expand(Tensor a, Tensor ptr, OptionalTensor perm, int64_t size) {
  a = features(a, "a");
  const Csr graph = segments(ptr, perm, size);
  require(a.size(0) == graph.num_rows, "`src` must have a row per segment, ", graph.num_rows,
          ", got ", a.size(0));
  Tensor out = empty_like(a, {size, a.size(1)});
  if (!covers(graph, size)) torch::stable::zero_(out);
  GNNLIB_PLAIN(expand_rows)(graph, a, out);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("segment_reduce", TORCH_BOX(&segment_reduce));
  m.impl("segment_arg", TORCH_BOX(&segment_arg));
  m.impl("segment_expand", TORCH_BOX(&segment_expand));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "expand_rows.h"
#include "fold.h"
#include "reduce_rows.h"

namespace gnnlib::GNNLIB_ISA {

// The elements of a segment, one by one.
template <typename scalar_t, typename accumulate_t>
struct SegmentRows {
  using value_t = scalar_t;
  using acc_t = accumulate_t;
  struct Edge {
    const scalar_t* row;
    acc_t place, piece;  // its place in its piece, and which piece that is
  };

  Csr graph;
  int64_t width;
  const scalar_t* x;

  SegmentRows(const Csr& graph, const Tensor& x)
      : graph(graph), width(x.size(1)), x(x.const_data_ptr<scalar_t>()) {}

  GNNLIB_INLINE bool edge(int64_t row, int64_t e, Edge& edge) const {
    const uint64_t at = e - graph.rowptr[row];
    edge = {x + graph.source(e) * width, static_cast<acc_t>(at % kPiece),
            static_cast<acc_t>(at / kPiece)};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    prefetch_row(x + graph.source(e) * width + f, columns * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U message(const Edge& edge, int64_t f) const {
    return load_as<U>(edge.row + f);
  }
};

template <typename scalar_t, Reduce R>
using SegmentReduce =
    ReduceRows<scalar_t, SegmentRows<scalar_t, typename AccumulateIn<scalar_t>::type>, R>;

// Places are counted in a piece, of at most kPiece elements, and the pieces of a hub apart from
// them: both are whole numbers that even a float32 holds.
template <typename scalar_t>
using ArgAccumulate = std::conditional_t<std::is_integral_v<scalar_t>, int64_t,
                                         typename AccumulateIn<scalar_t>::type>;

template <typename scalar_t, Reduce R>
struct SegmentArg : SegmentRows<scalar_t, ArgAccumulate<scalar_t> > {
  using Rows = SegmentRows<scalar_t, ArgAccumulate<scalar_t> >;
  using typename Rows::acc_t;
  using typename Rows::Edge;
  using Fold = Reducer<acc_t, R>;

  scalar_t* out;
  int64_t* arg;
  int64_t missing;

  static constexpr int kParts = 3;  // value, place in its piece, piece

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[3], int64_t, int64_t) const {
    acc[0] = U{} + Fold::init;
    acc[1] = acc[2] = U{};
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[3], int64_t, const Edge& edge, int64_t f) const {
    const U value = load_as<U>(edge.row + f);
    const auto won = [&](U old, acc_t now) GNNLIB_LAMBDA {
      return by_register([this](auto best, auto next, auto a, auto b)
                             GNNLIB_LAMBDA { return first_wins(best, next) ? b : a; },
                         acc[0], value, old, static_cast<U>(U{} + now));
    };
    acc[1] = won(acc[1], edge.place);
    acc[2] = won(acc[2], edge.piece);
    acc[0] = by_register([this](auto best, auto next)
                             GNNLIB_LAMBDA { return first_wins(best, next) ? next : best; },
                         acc[0], value);
  }

  GNNLIB_INLINE void combine(acc_t (&a)[3], const acc_t (&b)[3]) const {
    if (!first_wins(a[0], b[0])) return;
    for (int p = 0; p < kParts; ++p) a[p] = b[p];
  }

  // A later one replaces only what it beats; the first NaN stays.
  template <typename V>
  GNNLIB_INLINE auto first_wins(V acc, V value) const {
    if constexpr (R == Reduce::Min) {
      return (value < acc) | ((value != value) & (acc == acc));
    } else {
      return (value > acc) | ((value != value) & (acc == acc));
    }
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[3], int64_t present) const {
    const int64_t at = row * this->width + f;
    store_as(out + at, present == 0 ? U{} : acc[0]);
    constexpr int count = lanes<U, acc_t>;
    acc_t place[count], piece[count];
    std::memcpy(place, &acc[1], sizeof(place));
    std::memcpy(piece, &acc[2], sizeof(piece));
    for (int k = 0; k < count; ++k) {
      const int64_t e = this->graph.rowptr[row] + static_cast<int64_t>(piece[k]) * kPiece +
                        static_cast<int64_t>(place[k]);
      arg[at + k] = present == 0 ? missing : this->graph.source(e);
    }
  }
};

template <typename scalar_t>
void segment_reduce(const Csr& graph, const Tensor& x, Reduce reduce, Tensor& out) {
  with_reducer(reduce, [&](auto how) {
    fold_rows(SegmentReduce<scalar_t, how.value>{
        {graph, x}, reduce == Reduce::Mean, out.mutable_data_ptr<scalar_t>()});
  });
}

template <typename scalar_t>
void segment_arg(const Csr& graph, const Tensor& x, Reduce reduce, Tensor& out, Tensor& arg) {
  const auto run = [&](auto how) {
    fold_rows(SegmentArg<scalar_t, how.value>{
        {graph, x}, out.mutable_data_ptr<scalar_t>(), arg.mutable_data_ptr<int64_t>(), x.size(0)});
  };
  if (reduce == Reduce::Min) {
    run(std::integral_constant<Reduce, Reduce::Min>{});
  } else {
    run(std::integral_constant<Reduce, Reduce::Max>{});
  }
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
