// Groups in any order: out[i] = reduce over e with index[e] == i of x[e], without sorting them: the
// fast way for narrow rows. Where a group has several elements on average the list is cut into
// pieces, reduced apart and then merged in order; how many is for the shape to say, not the
// threads.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

namespace gnnlib {

struct Groups {
  const int64_t* index;
  int64_t num_elements, num_groups, width, num_pieces;

  // Calls piece(k, begin, end) for every piece of the list.
  template <typename F>
  void for_each_piece(const F& piece) const {
    parallel_chunks(num_pieces, true, [&](int64_t k) {
      piece(k, num_elements * k / num_pieces, num_elements * (k + 1) / num_pieces);
    });
  }
};

constexpr int64_t kMaxPieces = 8;

}  // namespace gnnlib

#define GNNLIB_KERNEL "scatter_reduce.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

Groups groups(const Tensor& x, const Tensor& index, int64_t size) {
  require_index(index, "index");
  require(index.numel() == x.size(0), "`index` must have one entry per row of `src`, ", x.size(0),
          ", got ", index.numel());
  require(size >= 0, "`dim_size` must not be negative, got ", size);
  const int64_t* group = index.const_data_ptr<int64_t>();
  require_in_range(group, index.numel(), size);
  // Each piece has a result of its own to fill and to merge.
  const int64_t pieces = index.numel() / (2 * std::max<int64_t>(size, 1 << 12));
  return {group, index.numel(), size, x.size(1), std::clamp<int64_t>(pieces, 1, kMaxPieces)};
}

Tensor scatter_reduce(Tensor x, Tensor index, int64_t size, int64_t reduce) {
  x = features(x, "src");
  index = torch::stable::contiguous(index);
  const Groups grouped = groups(x, index, size);
  require(0 <= reduce && reduce <= 4, "`reduce` must be in [0, 4], got ", reduce);
  const Reduce how = static_cast<Reduce>(reduce);
  Tensor out = empty_like(x, {size, x.size(1)});
  if (is_integral(x.scalar_type())) {
    require(how != Reduce::Mean, "`reduce`=mean needs floating point features");
    dispatch_integral(x.scalar_type(), [&](auto tag) {
      baseline::scatter_reduce<decltype(tag)>(grouped, x, how, out);
    });
  } else {
    dispatch_floating(x.scalar_type(), [&](auto tag) {
      GNNLIB_BEST(scatter_reduce<decltype(tag)>)(grouped, x, how, out);
    });
  }
  return out;
}

std::tuple<Tensor, Tensor> scatter_arg(Tensor x, Tensor index, int64_t size, int64_t reduce) {
  x = features(x, "src");
  index = torch::stable::contiguous(index);
  const Groups grouped = groups(x, index, size);
  require(reduce == 2 || reduce == 3, "`reduce` must be 2 (min) or 3 (max), got ", reduce);
  Tensor out = empty_like(x, {size, x.size(1)});
  Tensor arg = torch::stable::empty({size, x.size(1)}, ScalarType::Long, std::nullopt, x.device());
  const auto run = [&](auto tag) {
    const bool least = static_cast<Reduce>(reduce) == Reduce::Min;
    baseline::scatter_arg<decltype(tag)>(grouped, x, least, out, arg);
  };
  if (is_integral(x.scalar_type())) {
    dispatch_integral(x.scalar_type(), run);
  } else {
    dispatch_floating(x.scalar_type(), run);
  }
  return {out, arg};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("scatter_reduce", TORCH_BOX(&scatter_reduce));
  m.impl("scatter_arg", TORCH_BOX(&scatter_arg));
}

}  // namespace gnnlib

#else  // once for every instruction set

namespace gnnlib::GNNLIB_ISA {

template <typename Fold, typename scalar_t, typename acc_t>
GNNLIB_INLINE void take_row(acc_t* to, const scalar_t* from, int64_t width) {
  int64_t f = 0;
  if constexpr (std::is_floating_point_v<acc_t>) {
    constexpr int step = lanes<vec<acc_t>, acc_t>;
    for (; f + step <= width; f += step) {
      store(to + f, take<Fold>(load(to + f), load(from + f)));
    }
  }
  for (; f < width; ++f) to[f] = Fold::update(to[f], static_cast<acc_t>(from[f]));
}

template <typename scalar_t, Reduce R>
void scatter_rows(const Groups& groups, const scalar_t* x, bool mean, scalar_t* out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  using Fold = Reducer<acc_t, R>;
  const int64_t width = groups.width, size = groups.num_groups * width;
  const bool counted = mean || Fold::init != Fold::empty;
  const std::unique_ptr<acc_t[]> acc(new acc_t[groups.num_pieces * size]);
  std::vector<int64_t> count(counted ? groups.num_pieces * groups.num_groups : 0, 0);

  groups.for_each_piece([&](int64_t piece, int64_t begin, int64_t end) {
    acc_t* to = acc.get() + piece * size;
    int64_t* number = count.data() + piece * groups.num_groups;
    std::fill_n(to, size, Fold::init);
    for (int64_t e = begin; e < end; ++e) {
      if (e + kAhead < end) {
        prefetch_row(to + groups.index[e + kAhead] * width, width * sizeof(acc_t));
      }
      take_row<Fold>(to + groups.index[e] * width, x + e * width, width);
      if (counted) ++number[groups.index[e]];
    }
  });

  parallel_ranges(groups.num_groups, width * groups.num_pieces, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t number = 0;
      for (int64_t piece = 0; counted && piece < groups.num_pieces; ++piece) {
        number += count[piece * groups.num_groups + i];
      }
      for (int64_t f = i * width; f < (i + 1) * width; ++f) {
        acc_t value = acc[f];
        for (int64_t piece = 1; piece < groups.num_pieces; ++piece) {
          value = Fold::update(value, acc[piece * size + f]);
        }
        if (counted && number == 0) value = Fold::empty;
        if (mean && number > 0) value = value / static_cast<acc_t>(number);
        out[f] = static_cast<scalar_t>(value);
      }
    }
  });
}

template <typename scalar_t>
void scatter_reduce(const Groups& groups, const Tensor& x, Reduce reduce, Tensor& out) {
  with_reducer(reduce, [&](auto how) {
    scatter_rows<scalar_t, how.value>(groups, x.const_data_ptr<scalar_t>(), reduce == Reduce::Mean,
                                      out.mutable_data_ptr<scalar_t>());
  });
}

// The first of equals wins, and the first NaN over all.
template <typename scalar_t>
bool beats(scalar_t next, scalar_t best, bool least) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const acc_t a = next, b = best;
  return (least ? a < b : a > b) | ((a != a) & (b == b));
}

template <typename scalar_t>
void scatter_arg(const Groups& groups, const Tensor& x, bool least, Tensor& out, Tensor& arg) {
  const int64_t width = groups.width, size = groups.num_groups * width;
  const int64_t missing = groups.num_elements;
  const scalar_t* from = x.const_data_ptr<scalar_t>();
  scalar_t* value = out.mutable_data_ptr<scalar_t>();
  int64_t* place = arg.mutable_data_ptr<int64_t>();
  const std::unique_ptr<int64_t[]> found(new int64_t[groups.num_pieces * size]);

  groups.for_each_piece([&](int64_t piece, int64_t begin, int64_t end) {
    int64_t* first = found.get() + piece * size;
    std::fill_n(first, size, missing);
    for (int64_t e = begin; e < end; ++e) {
      int64_t* at = first + groups.index[e] * width;
      for (int64_t f = 0; f < width; ++f) {
        if (at[f] == missing || beats(from[e * width + f], from[at[f] * width + f], least)) {
          at[f] = e;
        }
      }
    }
  });

  parallel_ranges(size, groups.num_pieces, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t f = k % width;
      int64_t best = found[k];
      for (int64_t piece = 1; piece < groups.num_pieces; ++piece) {
        const int64_t next = found[piece * size + k];
        if (next == missing) continue;
        if (best == missing || beats(from[next * width + f], from[best * width + f], least)) {
          best = next;
        }
      }
      place[k] = best;
      value[k] = best == missing ? scalar_t(0) : from[best * width + f];
    }
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
