// Rows of few values, as the scores of an edge's heads are, lie one after the other in a run that
// is worked on register by register, whatever the number of columns: registers come round to the
// same columns after `period` of them. A tile is that many registers, one value a lane; lane i
// belongs to column i % count. Included inside foreach_isa.h, so without a guard.
#include <numeric>

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
  static constexpr int kLanes = GNNLIB_REGISTER / sizeof(T);

  int64_t count, period;

  explicit Columns(int64_t count)
      : count(count), period(count / std::gcd(count, int64_t{kLanes})) {}

  int64_t tile() const { return period * kLanes; }
  // Lanes of a run of so many rows, whose last register it must be possible to touch.
  int64_t lanes(int64_t rows) const { return (rows * count + kLanes - 1) / kLanes * kLanes; }

  // Calls f(i, k) for every register of a run: its first lane, and that in a tile.
  template <typename F>
  GNNLIB_INLINE void each(int64_t lanes, const F& f) const {
    for (int64_t i = 0, k = 0; i < lanes; i += kLanes) {
      f(i, k);
      k = k + kLanes == tile() ? 0 : k + kLanes;
    }
  }

  // The sum or extremum R of each column, in all lanes of a tile; at(i) is a register of values.
  template <Reduce R, typename At>
  GNNLIB_INLINE void fold(int64_t lanes, T* to, const At& at) const {
    using Fold = Reducer<T, R>;
    if (period == 1) {
      native<T> all = native<T>{} + Fold::init;
      for (int64_t i = 0; i < lanes; i += kLanes) all = Fold::update(all, at(i));
      store_register(to, fold_lanes<Fold, kLanes / 2>(all));
      return;
    }
    std::fill_n(to, tile(), Fold::init);
    each(lanes, [&](int64_t i, int64_t k) {
      store_register(to + k, Fold::update(load_register(to + k), at(i)));
    });
    for (int64_t i = count, c = 0; i < tile(); ++i) {
      to[c] = Fold::update(to[c], to[i]);
      c = c + 1 == count ? 0 : c + 1;
    }
    spread(to);
  }

  // From the first value of each column to all lanes.
  void spread(T* to) const {
    for (int64_t i = count; i < tile(); ++i) to[i] = to[i - count];
  }

 private:
  // Halves, quarters, ... down to the columns: each lane meets all others of its own.
  template <typename Fold, int Half>
  GNNLIB_INLINE native<T> fold_lanes(native<T> all) const {
    if constexpr (Half > 0) {
      if (Half < count) return all;
      using Index = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
      native<Index> other;
      for (int k = 0; k < kLanes; ++k) other[k] = k ^ Half;
      return fold_lanes<Fold, Half / 2>(Fold::update(all, __builtin_shuffle(all, other)));
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

// Grouped rows [begin, end) of `stride` values each, of which `count` from column f on are of
// interest: to a run, and back.
template <typename T, typename scalar_t>
void read_rows(const Csr& graph, const scalar_t* x, int64_t stride, int64_t f, int64_t count,
               int64_t begin, int64_t end, T* run) {
  with_count(count, [&](auto n) {
    for (int64_t e = begin; e < end; ++e, run += n) {
      if (e + kAhead < graph.num_edges) {
        __builtin_prefetch(x + graph.position(e + kAhead) * stride + f);
      }
      const scalar_t* from = x + graph.position(e) * stride + f;
      for (int64_t k = 0; k < n; ++k) run[k] = static_cast<T>(from[k]);
    }
  });
}

template <typename T, typename scalar_t>
void write_rows(const Csr& graph, const T* run, int64_t stride, int64_t f, int64_t count,
                int64_t begin, int64_t end, scalar_t* out) {
  with_count(count, [&](auto n) {
    for (int64_t e = begin; e < end; ++e, run += n) {
      scalar_t* to = out + graph.position(e) * stride + f;
      for (int64_t k = 0; k < n; ++k) to[k] = static_cast<scalar_t>(run[k]);
    }
  });
}

}  // namespace gnnlib::GNNLIB_ISA
