// Calls work.at<U>(row, f) for all columns [f, ...) of all rows of a matrix.
#pragma once

namespace gnnlib::GNNLIB_ISA {

template <typename Work, typename U>
__global__ void __launch_bounds__(kThreads) each_kernel(Work work, int64_t count, int64_t of_row) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (k < count) work.template at<U>(k / of_row, k % of_row * lanes<U, typename Work::acc_t>);
}

template <typename Work>
void each_column(const Work& work, const Tensor& out) {
  with_columns<Work>(out.size(1), [&](auto tag) {
    using U = typename decltype(tag)::type;
    const int64_t of_row = out.size(1) / lanes<U, typename Work::acc_t>;
    const int64_t count = out.size(0) * of_row;
    launch(&each_kernel<Work, U>, ceil_div(count, kThreads), 1, out.get_device_index(), work, count,
           of_row);
  });
}

}  // namespace gnnlib::GNNLIB_ISA
