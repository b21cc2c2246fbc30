// The softmax of runs of columns (columns.h), in parts: their largest values, the exponentials of
// what is left of them (exp.h), and the sums of those. Included inside foreach_isa.h, so without a
// guard.

namespace gnnlib::GNNLIB_ISA {

// exp(x - top) of a run in place. Where even the largest is -inf all are 0, as in a piece of a hub
// beside others.
template <typename T>
void exponentiate(const Columns<T>& columns, T* run, int64_t lanes, const T* top) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  columns.each(lanes, [&](int64_t i, int64_t k) {
    native<T> shift = load_register(top + k);
    shift = shift == lowest ? native<T>{} : shift;
    store_register(run + i, exp_of_register<T>(load_register(run + i) - shift));
  });
}

// The largest value of each column of a run, and the sum of the exponentials that replace it.
template <typename T>
void exponentials(const Columns<T>& columns, T* run, int64_t rows, T* top, T* sum) {
  const int64_t lanes = columns.lanes(rows);
  const auto at = [&](int64_t i) { return load_register(run + i); };
  std::fill(run + rows * columns.stride, run + lanes, -std::numeric_limits<T>::infinity());
  columns.template fold<Reduce::Max>(lanes, top, at);
  exponentiate(columns, run, lanes, top);
  columns.template fold<Reduce::Sum>(lanes, sum, at);
}

// What the exponentials of a piece of a hub are worth, whose largest value is `top`, beside those
// of the others.
template <typename T>
GNNLIB_INLINE T rescaled(T top, T top_of_all) {
  return exp_of(top_of_all == -std::numeric_limits<T>::infinity() ? top : top - top_of_all);
}

// Takes the top and sum of a piece into those of the pieces before.
template <typename T>
GNNLIB_INLINE void combine_exponentials(T& top, T& sum, T piece_top, T piece_sum) {
  const T all = Reducer<T, Reduce::Max>::update(top, piece_top);
  sum = sum * rescaled(top, all) + piece_sum * rescaled(piece_top, all);
  top = all;
}

}  // namespace gnnlib::GNNLIB_ISA
