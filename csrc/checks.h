// What every kernel asks of its tensors, in one place. The exception types are the ones that Python
// knows: std::out_of_range arrives as IndexError, std::invalid_argument as ValueError.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

#include "backend.h"

namespace gnnlib {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// In the order of the operators' `reduce`. A number, as torch 2.13's own conversion of a string
// argument leaks it.
enum class Reduce { Sum, Mean, Min, Max, Mul, Var };

template <typename... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) throw std::invalid_argument(message(parts...));
}

[[noreturn]] inline void bad_node(const char* end, int64_t value, int64_t size) {
  throw std::out_of_range(message("`edge_index` must hold ", end, " nodes in [0, ", size, "), got ",
                                  value,
                                  value < 0 ? " (a negative id is never a node; was it padding?)"
                                            : " (does `x` have a row for every node, or is `size` "
                                              "too small?)"));
}

[[noreturn]] inline void bad_index(int64_t value, int64_t size) {
  throw std::out_of_range(message("`index` must lie in [0, ", size, "), got ", value,
                                  value < 0
                                      ? " (a negative index is never a group; was it padding?)"
                                      : " (is `dim_size` or `out` too small?)"));
}

inline void require_index(const Tensor& t, const char* name, int64_t dim = 1) {
  require(t.scalar_type() == ScalarType::Long, "`", name, "` must be int64");
  require(t.dim() == dim, "`", name, "` must have ", dim, " dimension(s), got ", t.dim());
}

// A CSR graph as the kernels see it. Its indices were range-checked when it was built.
struct Csr {
  const int64_t* rowptr;
  const int64_t* col;   // null where the e-th edge comes from source e: the segments of a list
  const int64_t* perm;  // position of each grouped edge in the caller's order; null when the same
  int64_t num_rows;
  int64_t num_edges;
  int32_t device = -1;  // which GPU it is on

  GNNLIB_INLINE int64_t source(int64_t e) const { return col ? col[e] : e; }
  GNNLIB_INLINE int64_t position(int64_t e) const { return perm ? perm[e] : e; }
};

inline const int64_t* index_data(const OptionalTensor& t, const char* name) {
  if (!t) return nullptr;
  require_index(*t, name);
  require(t->is_contiguous(), "`", name, "` must be contiguous");
  return t->const_data_ptr<int64_t>();
}

// Without `col` the e-th edge comes from source e, of which there are `num_sources`.
inline Csr view(const Tensor& rowptr, const OptionalTensor& col, const OptionalTensor& perm,
                int64_t num_sources = 0) {
  require(rowptr.numel() > 0, "`rowptr` must have at least one entry");
  const int64_t num_edges = col ? col->numel() : num_sources;
  require(!perm || perm->numel() == num_edges, "`perm` must have one entry per edge");
  return {index_data(rowptr, "rowptr"),
          index_data(col, "col"),
          index_data(perm, "perm"),
          rowptr.numel() - 1,
          num_edges,
          rowptr.get_device_index()};
}

// Segments of a list need not begin at its first element nor end at its last.
inline void require_segments(const Csr& graph) {
  for (int64_t row = 0; row < graph.num_rows; ++row) {
    require(graph.rowptr[row] <= graph.rowptr[row + 1],
            "`indptr` must not decrease, but goes from ", graph.rowptr[row], " to ",
            graph.rowptr[row + 1], " at segment ", row);
  }
  for (const int64_t end : {graph.rowptr[0], graph.rowptr[graph.num_rows]}) {
    if (end < 0 || end > graph.num_edges) {
      throw std::out_of_range(message("`indptr` must lie in [0, ", graph.num_edges, "], got ", end,
                                      " (does it belong to another `src`, or another `dim`?)"));
    }
  }
}

// Groups of elements, where a negative one stands for none.
inline void require_groups(const int64_t* index, int64_t n, int64_t size) {
  for (int64_t e = 0; e < n; ++e) {
    if (index[e] >= size) bad_index(index[e], size);
  }
}

// Contiguous, and where the kernels' loads may begin.
inline Tensor dense(const Tensor& t) {
  const Tensor whole = torch::stable::contiguous(t);
  const auto address = reinterpret_cast<uintptr_t>(whole.const_data_ptr());
  return address % kAlignment == 0 ? whole : torch::stable::clone(whole);
}

// Features [N, F], made contiguous.
inline Tensor features(const Tensor& x, const char* name) {
  require(x.dim() == 2, "`", name, "` must be a matrix [N, F], got ", x.dim(), " dimension(s)");
  return dense(x);
}

// Another tensor of the features' dtype with `numel` values, made contiguous.
inline Tensor matching(const Tensor& t, const char* name, const Tensor& x, int64_t numel,
                       const char* per) {
  require(t.scalar_type() == x.scalar_type(), "`", name, "` must have the dtype of the features");
  require(t.numel() == numel, "`", name, "` must have one value per ", per, ", ", numel, ", got ",
          t.numel());
  return dense(t);
}

inline OptionalTensor matching(const OptionalTensor& t, const char* name, const Tensor& x,
                               int64_t numel, const char* per) {
  return t ? OptionalTensor(matching(*t, name, x, numel, per)) : std::nullopt;
}

}  // namespace gnnlib
