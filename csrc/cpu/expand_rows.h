// A segment's row to each of its elements, as it is: any dtype. Included inside foreach_isa.h, so
// without a guard.

namespace gnnlib::GNNLIB_ISA {

inline void expand_rows(const Csr& graph, const Tensor& from, Tensor& to) {
  const int64_t bytes = from.size(1) * from.element_size();
  const char* source = static_cast<const char*>(from.const_data_ptr());
  char* target = static_cast<char*>(to.mutable_data_ptr());
  const auto copy = [&](int64_t row, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      std::memcpy(target + graph.source(e) * bytes, source + row * bytes, bytes);
    }
  };
  const Schedule schedule(graph, bytes / 4);
  schedule.run(copy,
               [&](int64_t row, int64_t begin, int64_t end, int64_t) { copy(row, begin, end); });
}

}  // namespace gnnlib::GNNLIB_ISA
