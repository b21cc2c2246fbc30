// Searches a graph for the nodes at each distance 1, 2, ..., K of every node, from the node itself
// along the edges that point to it. All nodes of a small graph are searched at once, on rows of
// bits; those of a large one, one after the other. Included inside foreach_isa.h, so without a
// guard.
#include <array>
#include <bit>
#include <new>
#include <utility>

#include "hop_graph.h"

namespace gnnlib::GNNLIB_ISA {

// The nodes at one distance, as bits of the range that begins at `first`.
template <int64_t Words>
struct BitLevel {
  const uint64_t* words;
  int64_t first;

  bool empty() const {
    uint64_t any = 0;
    for (int64_t w = 0; w < Words; ++w) any |= words[w];
    return any == 0;
  }

  int64_t size() const {
    int64_t count = 0;
    for (int64_t w = 0; w < Words; ++w) count += std::popcount(words[w]);
    return count;
  }

  // Returns where the nodes end. What lies behind, up to `limit`, may be overwritten: four numbers
  // written blindly cost less than a guess how many there are.
  int64_t* write(int64_t* to, const int64_t* limit) const {
    for (int64_t w = 0; w < Words; ++w) {
      uint64_t left = words[w];
      if (left == 0) continue;
      const int64_t base = first + w * kWord;
      int64_t* const end = to + std::popcount(left);
      const bool blindly = limit - to >= kWord;
      while (blindly && to < end) {
        for (int64_t k = 0; k < 4; ++k, left &= left - 1) to[k] = base + std::countr_zero(left);
        to += 4;
      }
      for (; left != 0; left &= left - 1) *to++ = base + std::countr_zero(left);
      to = end;
    }
    return to;
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

  int64_t* write(int64_t* to, const int64_t*) const {
    if (count < (last - first) / 16) {
      std::sort(nodes, nodes + count);
      return std::copy_n(nodes, count, to);
    }
    for (int64_t node = first; node < last; ++node) {  // faster than to sort that many
      if (labels[node] == label) *to++ = node;
    }
    return to;
  }
};

// Calls f with a number of words, a power of two, that holds n bits and is known to the compiler.
template <int64_t Words = 1, typename F>
void with_words(int64_t n, const F& f) {
  if constexpr (Words < kMostWords) {
    if (n > Words * kWord) return with_words<2 * Words>(n, f);
  }
  f(std::integral_constant<int64_t, Words>{});
}

// That many words as one value, in registers.
template <int64_t Words>
using Row [[gnu::vector_size(Words * sizeof(uint64_t))]] = uint64_t;

template <int64_t Words>
GNNLIB_INLINE Row<Words> load_row(const uint64_t* from) {
  Row<Words> row;
  std::memcpy(&row, from, sizeof(row));
  return row;
}

template <int64_t Words>
GNNLIB_INLINE void store_row(uint64_t* to, Row<Words> row) {
  std::memcpy(to, &row, sizeof(row));
}

// What a thread needs to search.
class Search {
 public:
  // No path is longer than there are nodes.
  Search(const Neighbours& near, int64_t num_hops)
      : near_(near), num_hops_(std::min(num_hops, near.graph.num_rows)) {}

  // The number of pairs of the piece's roots, with at most so many at one distance of a root.
  int64_t count(const Piece& piece, int64_t at_most) {
    int64_t total = 0;
    if (piece.on_bits() && at_most >= piece.last - piece.first) {
      with_words(piece.last - piece.first, [&](auto words) {
        meet<words()>(piece, false);
        for (const uint64_t word : seen_) total += std::popcount(word);
      });
      return total - (piece.last - piece.first);
    }
    run(piece,
        [&](int64_t, int64_t, const auto& level) { total += std::min(level.size(), at_most); });
    return total;
  }

  // Calls found(root, hop, level) wherever there are nodes, in order of root and hop, of which the
  // first is 0.
  template <typename F>
  void run(const Piece& piece, const F& found) {
    if (!piece.on_bits()) {
      for (int64_t root = piece.begin; root < piece.end; ++root) from(root, piece, found);
      return;
    }
    const int64_t n = piece.last - piece.first;
    with_words(n, [&](auto words) {
      const int64_t hops = meet<words()>(piece, true);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t hop = 0; hop < hops; ++hop) {
          const uint64_t* const row = levels_.data() + ((hop + 1) * n + i) * words();
          const BitLevel<words()> level{row, piece.first};
          if (level.empty()) break;
          found(piece.first + i, hop, level);
        }
      }
    });
  }

 private:
  // Searches from all nodes of a small graph at once, and returns after how many hops none is met.
  // Row i of seen_ holds what root i has seen, and, if levels are kept, row (hop + 1) * n + i of
  // levels_ what it meets.
  template <int64_t Words>
  int64_t meet(const Piece& piece, bool keep) {
    const int64_t n = piece.last - piece.first;
    list<Words>(piece);
    seen_.assign(n * Words, 0);
    for (int64_t i = 0; i < n; ++i) seen_[i * Words + i / kWord] |= uint64_t{1} << i % kWord;
    reserve_levels(2 * n * Words);
    std::copy(seen_.begin(), seen_.end(), levels_.begin());
    bool met = true;
    int64_t hop = 0;
    for (; hop < num_hops_ && met; ++hop) {
      const int64_t from_level = keep ? hop : hop % 2, to_level = keep ? hop + 1 : (hop + 1) % 2;
      reserve_levels((to_level + 1) * n * Words);
      const uint64_t* const last = levels_.data() + from_level * n * Words;
      uint64_t* const next = levels_.data() + to_level * n * Words;
      uint64_t* const seen = seen_.data();
      const int32_t* from = lists_.data();
      Row<Words> any = {};
      for (const Listed& row : rows_) {
        Row<Words> reached = {};
        for (int32_t left = row.count; left > 0; --left) {
          reached |= load_row<Words>(last + *from++);
        }
        const Row<Words> before = load_row<Words>(seen + row.place);
        reached &= ~before;
        any |= reached;
        store_row<Words>(seen + row.place, before | reached);
        store_row<Words>(next + row.place, reached);
      }
      met = false;
      for (int64_t w = 0; w < Words; ++w) met |= any[w] != 0;
    }
    return hop;
  }

  void reserve_levels(size_t words) {
    if (levels_.size() < words) levels_.resize(words);
  }

  // Lists the nodes of a small graph and their neighbours by their places among the words of bits.
  // Nodes with as many neighbours stand together, so that the processor foresees where a list ends.
  template <int64_t Words>
  void list(const Piece& piece) {
    const int64_t n = piece.last - piece.first;
    std::array<int32_t, 18> begin = {};
    rows_.resize(n);
    counts_.resize(n);
    for (int64_t i = 0; i < n; ++i) {
      counts_[i] = near_.count(piece.first + i);
      ++begin[std::min(counts_[i], 16) + 1];
    }
    for (size_t k = 1; k < begin.size(); ++k) begin[k] += begin[k - 1];
    for (int64_t i = 0; i < n; ++i) {
      rows_[begin[std::min(counts_[i], 16)]++] = {static_cast<int32_t>(i * Words), counts_[i]};
    }
    lists_.clear();
    for (const Listed& row : rows_) {
      near_.each(piece.first + row.place / Words, [&](int64_t node) {
        lists_.push_back(static_cast<int32_t>((node - piece.first) * Words));
      });
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

  struct Listed {
    int32_t place, count;
  };

  const Neighbours& near_;
  const int64_t num_hops_;
  std::vector<Listed> rows_;
  std::vector<int32_t> counts_, lists_;
  std::vector<uint64_t> seen_, levels_;
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

}  // namespace gnnlib::GNNLIB_ISA
