// Rows of few values, as the scores of an edge's heads are, lie one after the other in a run that
// is worked on register by register. A row takes up a power of two of lanes, or whole registers, so
// that every register, or every so many, has the same columns in the same lanes. As many registers
// as one row takes, but at least one, are a tile. Nobody reads the lanes between a row's last
// column and the next row. Included inside foreach_isa.h, so without a guard.
#include <bit>

namespace gnnlib::GNNLIB_ISA {

template <typename T>
GNNLIB_INLINE native<T> load_register(const T* p) {
  native<T> value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

template <typename T>
GNNLIB_INLINE void store_register(T* p, native<T> value) {
  std::memcpy(p, &value, sizeof(value));
}

template <typename T>
struct Columns {
  static constexpr int64_t kLanes = GNNLIB_REGISTER / sizeof(T);

  int64_t count, stride;

  explicit Columns(int64_t count)
      : count(count),
        stride(count < kLanes ? std::bit_ceil(static_cast<uint64_t>(count)) : whole(count)) {}

  int64_t tile() const { return std::max(stride, kLanes); }
  int64_t lanes(int64_t rows) const { return whole(rows * stride); }

  // Calls f(i, k) for every register of a run: its first lane, and that in a tile.
  template <typename F>
  GNNLIB_INLINE void each(int64_t lanes, const F& f) const {
    for (int64_t i = 0, k = 0; i < lanes; i += kLanes) {
      f(i, k);
      k = k + kLanes < stride ? k + kLanes : 0;
    }
  }

  // The sum or extremum R of each column, in all its lanes of a tile; at(i) is a register of
  // values.
  template <Reduce R, typename At>
  GNNLIB_INLINE void fold(int64_t lanes, T* to, const At& at) const {
    using Fold = Reducer<T, R>;
    if (stride <= kLanes) {
      native<T> all = native<T>{} + Fold::init;
      for (int64_t i = 0; i < lanes; i += kLanes) all = Fold::update(all, at(i));
      store_register(to, fold_lanes<Fold, kLanes / 2>(all));
      return;
    }
    std::fill_n(to, stride, Fold::init);
    each(lanes, [&](int64_t i, int64_t k) {
      store_register(to + k, Fold::update(load_register(to + k), at(i)));
    });
  }

  // From the first value of each column to all its lanes.
  void spread(T* to) const {
    for (int64_t i = stride; i < kLanes; ++i) to[i] = to[i - stride];
  }

 private:
  static int64_t whole(int64_t lanes) { return (lanes + kLanes - 1) / kLanes * kLanes; }

  // Halves, quarters, ... down to a row: each lane meets all others of its column.
  template <typename Fold, int Half>
  GNNLIB_INLINE native<T> fold_lanes(native<T> all) const {
    if constexpr (Half > 0) {
      if (Half < stride) return all;
      return fold_lanes<Fold, Half / 2>(Fold::update(all, swapped<T, Half>(all)));
    }
    return all;
  }
};

template <typename T>
T* scratch(int64_t size, int which = 0) {
  static thread_local std::vector<T> buffer[2];
  if (static_cast<int64_t>(buffer[which].size()) < size) buffer[which].resize(size);
  return buffer[which].data();
}

// Calls f(n) with the usual small numbers known to the compiler.
template <typename F>
GNNLIB_INLINE void with_count(int64_t n, const F& f) {
  switch (n) {
    case 1:
      return f(std::integral_constant<int64_t, 1>{});
    case 2:
      return f(std::integral_constant<int64_t, 2>{});
    case 4:
      return f(std::integral_constant<int64_t, 4>{});
    case 8:
      return f(std::integral_constant<int64_t, 8>{});
    default:
      return f(n);
  }
}

// Columns [f, f + columns.count) of grouped rows [begin, end) of x, which has `width` in all: to a
// run, and from it back to the rows of `out`.
template <typename T, typename scalar_t>
void read_rows(const Csr& graph, const scalar_t* x, int64_t width, int64_t f,
               const Columns<T>& columns, int64_t begin, int64_t end, T* run,
               const scalar_t* out = nullptr) {
  with_count(columns.count, [&](auto n) {
    for (int64_t e = begin; e < end; ++e, run += columns.stride) {
      if (e + kAhead < graph.num_edges) {
        const int64_t soon = graph.position(e + kAhead) * width + f;
        __builtin_prefetch(x + soon);
        if (out) __builtin_prefetch(out + soon, 1);
      }
      const scalar_t* from = x + graph.position(e) * width + f;
      for (int64_t k = 0; k < n; ++k) run[k] = static_cast<T>(from[k]);
    }
  });
}

template <typename T, typename scalar_t>
void write_rows(const Csr& graph, const T* run, int64_t width, int64_t f, const Columns<T>& columns,
                int64_t begin, int64_t end, scalar_t* out) {
  with_count(columns.count, [&](auto n) {
    for (int64_t e = begin; e < end; ++e, run += columns.stride) {
      scalar_t* to = out + graph.position(e) * width + f;
      for (int64_t k = 0; k < n; ++k) to[k] = static_cast<scalar_t>(run[k]);
    }
  });
}

}  // namespace gnnlib::GNNLIB_ISA
