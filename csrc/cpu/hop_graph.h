// A graph as it is searched for the nodes at each distance from every node, and the pieces of work
// that come of it. They depend on the graph alone: a batch is cut where no edge crosses.
#pragma once

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {

constexpr int64_t kWord = 64;
// Largest graph that is searched on bits, in words.
constexpr int64_t kMostWords = 8;
// Nodes of a larger one that a thread searches from before it takes the next.
constexpr int64_t kRoots = 64;

// The nodes next to a node: its row, and, where edges are followed both ways, its row in the
// transpose.
struct Neighbours {
  Csr graph;
  std::optional<Csr> back;

  Neighbours(const Tensor& rowptr, const Tensor& col, const OptionalTensor& t_rowptr,
             const OptionalTensor& t_col)
      : graph(view(rowptr, col, std::nullopt)) {
    require(t_rowptr.has_value() == t_col.has_value(), "`t_rowptr` and `t_col` come together");
    if (t_rowptr) back = view(*t_rowptr, t_col, std::nullopt);
    require(!back || back->num_rows == graph.num_rows, "the transpose must have the graph's nodes");
  }

  int32_t count(int64_t node) const {
    const auto in = [&](const Csr& way) { return way.rowptr[node + 1] - way.rowptr[node]; };
    return static_cast<int32_t>(in(graph) + (back ? in(*back) : 0));
  }

  template <typename F>
  void each(int64_t node, const F& f) const {
    for (int64_t e = graph.rowptr[node]; e < graph.rowptr[node + 1]; ++e) f(graph.col[e]);
    if (!back) return;
    for (int64_t e = back->rowptr[node]; e < back->rowptr[node + 1]; ++e) f(back->col[e]);
  }
};

// Roots [begin, end), which reach only nodes [first, last): no edge crosses the ends of that range.
struct Piece {
  int64_t begin, end;
  int64_t first, last;

  bool on_bits() const {
    return begin == first && end == last && last - first <= kMostWords * kWord;
  }
};

inline std::vector<Piece> pieces(const Csr& graph) {
  std::vector<int64_t> cuts;  // where ranges begin that no edge seen so far leaves
  int64_t reach = -1;         // the last node that an edge joins to the rows so far
  for (int64_t row = 0; row < graph.num_rows; ++row) {
    if (reach < row) cuts.push_back(row);
    int64_t low = row;
    reach = std::max(reach, row);
    for (int64_t e = graph.rowptr[row]; e < graph.rowptr[row + 1]; ++e) {
      low = std::min(low, graph.col[e]);
      reach = std::max(reach, graph.col[e]);
    }
    while (cuts.back() > low) cuts.pop_back();
  }
  std::vector<Piece> found;
  for (size_t k = 0; k < cuts.size(); ++k) {
    const int64_t first = cuts[k], last = k + 1 < cuts.size() ? cuts[k + 1] : graph.num_rows;
    if (!found.empty() && last - found.back().first <= kWord) {  // tiny graphs share a word
      found.back().end = found.back().last = last;
    } else if (last - first <= kMostWords * kWord) {
      found.push_back({first, last, first, last});
    } else {
      for (int64_t root = first; root < last; root += kRoots) {
        found.push_back({root, std::min(root + kRoots, last), first, last});
      }
    }
  }
  return found;
}

}  // namespace gnnlib
