// Calls work.at<U>(row, e, f) for all columns [f, ...) of all edges, register by register and then
// one by one, and work.prefetch(e) some edges earlier. Included inside foreach_isa.h, so without a
// guard.

namespace gnnlib::GNNLIB_ISA {

template <typename Work>
void each_edge(const Work& work) {
  using T = typename Work::acc_t;
  constexpr int64_t step = lanes<vec<T>, T>;
  const auto range = [&](int64_t row, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      if (e + kAhead < work.graph.num_edges) work.prefetch(e + kAhead);
      int64_t f = 0;
      for (; f + step <= work.width; f += step) work.template at<vec<T> >(row, e, f);
      for (; f < work.width; ++f) work.template at<T>(row, e, f);
    }
  };
  const Schedule schedule(work.graph, work.width);
  schedule.run(range,
               [&](int64_t row, int64_t begin, int64_t end, int64_t) { range(row, begin, end); });
}

}  // namespace gnnlib::GNNLIB_ISA
