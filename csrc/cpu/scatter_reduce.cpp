// Groups in any order: out[i] = reduce over e with index[e] == i of x[e], without sorting them: the
// fast way for narrow rows. Each thread owns a range of groups and looks through the whole index
// for them, so every group takes its elements in their order, however many threads there are.
#ifndef GNNLIB_ISA

#include "dispatch.h"
#include "message.h"

namespace gnnlib {

struct Groups {
  const int64_t* index;
  int64_t num_elements, num_groups, width;
};

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
  return {group, index.numel(), size, x.size(1)};
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

// Reading the index takes every thread as long; more of them would gain nothing.
constexpr int64_t kMaxParts = 8;

// Calls element(e, group) for every element, with a range of groups per thread.
template <typename F>
void for_each_element(const Groups& groups, const F& element) {
  const bool small = groups.num_elements * std::max<int64_t>(groups.width, 1) < (1 << 14);
  const int64_t parts =
      small ? 1 : std::clamp<int64_t>(torch::stable::get_num_threads(), 1, kMaxParts);
  parallel_chunks(parts, parts > 1, [&](int64_t part) {
    const int64_t first = groups.num_groups * part / parts;
    const int64_t last = groups.num_groups * (part + 1) / parts;
    for (int64_t e = 0; e < groups.num_elements; ++e) {
      const int64_t group = groups.index[e];
      if (group >= first && group < last) element(e, group);
    }
  });
}

template <typename Fold, typename scalar_t, typename acc_t>
GNNLIB_INLINE void take_row(acc_t* to, const scalar_t* from, int64_t width) {
  int64_t f = 0;
  if constexpr (std::is_floating_point_v<acc_t>) {
    constexpr int step = lanes<vec<acc_t>, acc_t>;
    for (; f + step <= width; f += step) {
      store(to + f, Fold::update(load(to + f), load(from + f)));
    }
  }
  for (; f < width; ++f) to[f] = Fold::update(to[f], static_cast<acc_t>(from[f]));
}

template <typename scalar_t, Reduce R>
void scatter_rows(const Groups& groups, const scalar_t* x, bool mean, scalar_t* out) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  using Fold = Reducer<acc_t, R>;
  const int64_t width = groups.width, size = groups.num_groups * width;
  // Where the result's own type is too narrow to accumulate in, a wide copy is kept.
  constexpr bool wide = !std::is_same_v<scalar_t, acc_t>;
  const std::unique_ptr<acc_t[]> copy(wide ? new acc_t[size] : nullptr);
  acc_t* acc;
  if constexpr (wide) {
    acc = copy.get();
  } else {
    acc = out;
  }
  std::fill_n(acc, size, Fold::init);
  const bool counted = mean || Fold::init != Fold::empty;
  std::vector<int64_t> count(counted ? groups.num_groups : 0, 0);
  for_each_element(groups, [&](int64_t e, int64_t group) {
    if (counted) ++count[group];
    if (e + kAhead < groups.num_elements) {
      prefetch_row(acc + groups.index[e + kAhead] * width, width * sizeof(acc_t));
    }
    take_row<Fold>(acc + group * width, x + e * width, width);
  });
  for (int64_t i = 0; counted && i < groups.num_groups; ++i) {
    for (int64_t f = i * width; f < (i + 1) * width; ++f) {
      if (count[i] == 0) acc[f] = Fold::empty;
      if (mean && count[i] > 0) acc[f] = acc[f] / static_cast<acc_t>(count[i]);
    }
  }
  if constexpr (wide) std::transform(acc, acc + size, out, [](acc_t v) { return scalar_t(v); });
}

template <typename scalar_t>
void scatter_reduce(const Groups& groups, const Tensor& x, Reduce reduce, Tensor& out) {
  const auto run = [&](auto how) {
    scatter_rows<scalar_t, how.value>(groups, x.const_data_ptr<scalar_t>(), reduce == Reduce::Mean,
                                      out.mutable_data_ptr<scalar_t>());
  };
  switch (reduce) {
    case Reduce::Min:
      return run(std::integral_constant<Reduce, Reduce::Min>{});
    case Reduce::Max:
      return run(std::integral_constant<Reduce, Reduce::Max>{});
    case Reduce::Mul:
      return run(std::integral_constant<Reduce, Reduce::Mul>{});
    default:
      return run(std::integral_constant<Reduce, Reduce::Sum>{});
  }
}

// The first of equals wins, and the first NaN over all.
template <typename scalar_t>
void scatter_arg(const Groups& groups, const Tensor& x, bool least, Tensor& out, Tensor& arg) {
  using acc_t = typename AccumulateIn<scalar_t>::type;
  const int64_t width = groups.width, missing = groups.num_elements;
  const scalar_t* from = x.const_data_ptr<scalar_t>();
  scalar_t* value = out.mutable_data_ptr<scalar_t>();
  int64_t* place = arg.mutable_data_ptr<int64_t>();
  std::fill_n(value, groups.num_groups * width, scalar_t(0));
  std::fill_n(place, groups.num_groups * width, missing);
  for_each_element(groups, [&](int64_t e, int64_t group) {
    for (int64_t f = 0; f < width; ++f) {
      const int64_t at = group * width + f;
      const acc_t next = from[e * width + f], best = value[at];
      const bool beats = (least ? next < best : next > best) | ((next != next) & (best == best));
      if (beats || place[at] == missing) {
        value[at] = from[e * width + f];
        place[at] = e;
      }
    }
  });
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
