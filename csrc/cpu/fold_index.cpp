// Batches of lists to one list. Checked first, as what is out of range in its own batch may well be
// in range in the next.
#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

Tensor empty_index(const Tensor& like, int64_t size) {
  return torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
}

// Groups [B, E, M] to (b * size + group) * M + m, each of the M a list of its own.
Tensor fold_index(Tensor index, int64_t size) {
  require_index(index, "index", 3);
  require(size >= 0, "`dim_size` must not be negative, got ", size);
  const int64_t batches = index.size(0), length = index.size(1), inner = index.size(2);
  const int64_t by_batch = index.stride(0), by_row = index.stride(1), stride = index.stride(2);
  const int64_t* from = index.const_data_ptr<int64_t>();
  Tensor folded = empty_index(index, batches * length * inner);
  int64_t* to = folded.mutable_data_ptr<int64_t>();
  FirstBad bad;
  const auto fold_rows = [&](int64_t batch, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      const int64_t* group = from + batch * by_batch + e * by_row;
      const int64_t row = (batch * length + e) * inner;
      for (int64_t m = 0; m < inner; ++m) {
        if (!in_range(group[m * stride], size)) return bad.see(row + m);
        to[row + m] = (batch * size + group[m * stride]) * inner + m;
      }
    }
  };
  parallel_ranges(batches * length, inner, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {  // from batch to batch
      const int64_t batch = row / length, last = std::min(end, (batch + 1) * length);
      fold_rows(batch, row - batch * length, last - batch * length);
      row = last;
    }
  });
  if (bad.seen()) {
    const int64_t row = bad.at() / inner;
    bad_index(from[row / length * by_batch + row % length * by_row + bad.at() % inner * stride],
              size);
  }
  return folded;
}

// Segments [B, N + 1] of lists of `size` elements to ptr + b * size, and the end of all: what lies
// between the segments of two batches is one more segment, the last of each batch.
Tensor fold_ptr(Tensor ptr, int64_t size) {
  require_index(ptr, "indptr", 2);
  ptr = torch::stable::contiguous(ptr);
  const int64_t batches = ptr.size(0), entries = ptr.size(1);
  require(entries > 0, "`indptr` must have at least one entry");
  const int64_t* from = ptr.const_data_ptr<int64_t>();
  Tensor folded = empty_index(ptr, batches * entries + 1);
  int64_t* to = folded.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < batches; ++b, from += entries) {
    require_segments({from, nullptr, nullptr, entries - 1, size});
    for (int64_t i = 0; i < entries; ++i) to[b * entries + i] = b * size + from[i];
  }
  to[batches * entries] = batches * size;
  return folded;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("fold_index", TORCH_BOX(&fold_index));
  m.impl("fold_ptr", TORCH_BOX(&fold_ptr));
}

}  // namespace gnnlib
