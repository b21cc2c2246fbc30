// Calls work.at<U>(row, f) for all columns [f, ...) of all rows of a matrix, register by register
// and then one by one. Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

template <typename Work>
void each_column(const Work& work, const Tensor& out) {
  using T = typename Work::acc_t;
  const int64_t width = out.size(1);
  parallel_ranges(out.size(0), 4 * width, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t f = 0;
      if constexpr (std::is_floating_point_v<T>) {
        constexpr int64_t step = lanes<vec<T>, T>;
        for (; f + step <= width; f += step) work.template at<vec<T> >(row, f);
      }
      for (; f < width; ++f) work.template at<T>(row, f);
    }
  });
}

}  // namespace gnnlib::GNNLIB_ISA
