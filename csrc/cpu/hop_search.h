// Searches a graph for the nodes at each distance 1, 2, ..., K of every node, from the node itself
// along the edges that point to it. All nodes of a small graph are searched at once, on rows of
// bits; those of a large one, one after the other. What small is depends on the graph alone: a
// batch is cut where no edge crosses.
#pragma once

#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

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

// The nodes at one distance, as bits of the range that begins at `first`.
template <int64_t Words>
struct BitLevel {
  const uint64_t* words;
  int64_t first;

  int64_t size() const {
    int64_t count = 0;
    for (int64_t w = 0; w < Words; ++w) {
      if (words[w] != 0) count += std::popcount(words[w]);
    }
    return count;
  }

  void write(int64_t* to) const {
    for (int64_t w = 0; w < Words; ++w) {
      for (uint64_t left = words[w]; left != 0; left &= left - 1) {
        *to++ = first + w * kWord + std::countr_zero(left);
      }
    }
  }
};

// The same as a list, which is sorted when it is written, and as a label on nodes [first, last).
struct ListLevel {
  int64_t* nodes;
  int64_t count;
  const uint32_t* labels;
  uint32_t label;
  int64_t first, last;

  int64_t size() const { return count; }

  void write(int64_t* to) const {
    if (count < (last - first) / 16) {
      std::sort(nodes, nodes + count);
      std::copy_n(nodes, count, to);
      return;
    }
    for (int64_t node = first; node < last; ++node) {  // faster than to sort that many
      if (labels[node] == label) *to++ = node;
    }
  }
};

// Calls f with the number of words that n bits take, known to the compiler.
template <int64_t Words = 1, typename F>
void with_words(int64_t n, const F& f) {
  if constexpr (Words < kMostWords) {
    if (n > Words * kWord) return with_words<Words + 1>(n, f);
  }
  f(std::integral_constant<int64_t, Words>{});
}

// What a thread needs to search.
class Search {
 public:
  // No path is longer than there are nodes.
  Search(const Neighbours& near, int64_t num_hops)
      : near_(near), num_hops_(std::min(num_hops, near.graph.num_rows)) {}

  // Calls found(root, hop, level) wherever there are nodes; the first hop is 0.
  template <typename F>
  void run(const Piece& piece, const F& found) {
    if (!piece.on_bits()) {
      for (int64_t root = piece.begin; root < piece.end; ++root) from(root, piece, found);
      return;
    }
    with_words(piece.last - piece.first, [&](auto words) { all<words()>(piece, found); });
  }

 private:
  // Row i holds the nodes that root i has seen, has met last, and meets next.
  template <int64_t Words, typename F>
  void all(const Piece& piece, const F& found) {
    const int64_t n = piece.last - piece.first;
    bits_.assign(3 * n * Words, 0);
    uint64_t* const seen = bits_.data();
    uint64_t* last = seen + n * Words;
    uint64_t* next = last + n * Words;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t word = i * Words + i / kWord;
      seen[word] = last[word] = uint64_t{1} << i % kWord;
    }
    bool met = true;
    for (int64_t hop = 0; hop < num_hops_ && met; ++hop, std::swap(last, next)) {
      met = false;
      for (int64_t i = 0; i < n; ++i) {
        uint64_t row[Words] = {}, any = 0;
        near_.each(piece.first + i, [&](int64_t node) {
          const uint64_t* const from = last + (node - piece.first) * Words;
          for (int64_t w = 0; w < Words; ++w) row[w] |= from[w];
        });
        for (int64_t w = 0; w < Words; ++w) {
          row[w] &= ~seen[i * Words + w];
          seen[i * Words + w] |= row[w];
          next[i * Words + w] = row[w];
          any |= row[w];
        }
        if (any == 0) continue;
        met = true;
        found(piece.first + i, hop, BitLevel<Words>{next + i * Words, piece.first});
      }
    }
  }

  template <typename F>
  void from(int64_t root, const Piece& piece, const F& found) {
    const uint32_t own = new_labels();
    uint32_t* const labels = labels_.get();
    queue_.assign(1, root);
    labels[root] = own;
    int64_t begin = 0, end = 1;
    for (int64_t hop = 0; hop < num_hops_ && begin < end; ++hop) {
      const uint32_t label = own + 1 + static_cast<uint32_t>(hop);
      for (int64_t q = begin; q < end; ++q) {
        near_.each(queue_[q], [&](int64_t node) {
          if (labels[node] >= own) return;
          labels[node] = label;
          queue_.push_back(node);
        });
      }
      begin = std::exchange(end, static_cast<int64_t>(queue_.size()));
      if (begin == end) return;
      found(root, hop,
            ListLevel{queue_.data() + begin, end - begin, labels, label, piece.first, piece.last});
    }
  }

  // The first of so many labels that no node has, nor any above them: one for the root and one for
  // each hop.
  uint32_t new_labels() {
    const int64_t size = near_.graph.num_rows;
    if (!labels_) {
      labels_.reset(static_cast<uint32_t*>(std::calloc(size, sizeof(uint32_t))));
      if (!labels_) throw std::bad_alloc();
    }
    const int64_t needed = num_hops_ + 1;
    if (used_ + needed > std::numeric_limits<uint32_t>::max()) {
      std::fill_n(labels_.get(), size, 0);
      used_ = 0;
    }
    return static_cast<uint32_t>(std::exchange(used_, used_ + needed) + 1);
  }

  struct Free {
    void operator()(void* p) const { std::free(p); }
  };

  const Neighbours& near_;
  const int64_t num_hops_;
  std::vector<uint64_t> bits_;
  std::vector<int64_t> queue_;
  std::unique_ptr<uint32_t[], Free> labels_;
  int64_t used_ = 0;
};

// Calls f(search, k) for every piece, on all threads.
template <typename F>
void each_piece(const Neighbours& near, int64_t num_hops, const std::vector<Piece>& todo,
                const F& f) {
  const int64_t n = static_cast<int64_t>(todo.size());
  const bool parallel = (near.graph.num_rows + near.graph.num_edges) * num_hops > (1 << 14);
  std::atomic<int64_t> next{0};
  on_all_threads(parallel ? n : std::min<int64_t>(n, 1), [&] {
    Search search(near, num_hops);
    for (int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < n;) f(search, k);
  });
}

}  // namespace gnnlib
