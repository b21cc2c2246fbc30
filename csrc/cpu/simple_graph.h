// An undirected graph without self loops and repeated edges, as rewiring sees it. It was checked
// where it was built.
#pragma once

#include <algorithm>

#include "../checks.h"

namespace gnnlib {

struct SimpleGraph {
  const int64_t* rowptr;
  const int64_t* col;  // of every node, its neighbours in ascending order
  int64_t num_nodes;

  SimpleGraph(const Tensor& rowptr, const Tensor& col) {
    const Csr csr = view(rowptr, col, std::nullopt);
    this->rowptr = csr.rowptr;
    this->col = csr.col;
    num_nodes = csr.num_rows;
  }

  const int64_t* begin(int64_t node) const { return col + rowptr[node]; }
  const int64_t* end(int64_t node) const { return col + rowptr[node + 1]; }
  int64_t degree(int64_t node) const { return rowptr[node + 1] - rowptr[node]; }
  bool joins(int64_t u, int64_t v) const { return std::binary_search(begin(u), end(u), v); }
};

}  // namespace gnnlib
