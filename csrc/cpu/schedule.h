// How CSR rows are shared out: by edges, into pieces that the graph fixes and not the threads, so
// that a hub holds nobody up and the bits never depend on the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "../checks.h"
#include "backend.h"

namespace gnnlib {

// Calls work() on several threads at once.
template <typename F>
void on_all_threads(int64_t n, const F& work) {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer does not see the barriers of torch's own threads, which it was not built into.
  std::vector<std::thread> threads;
  for (int64_t k = 0; k < std::min<int64_t>(n, 4); ++k) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
#else
  torch::stable::parallel_for(0, n, 1, [&](int64_t, int64_t) { work(); });
#endif
}

// Calls f(k) for k in [0, n); idle threads take the next k, as cores are rarely equally free.
template <typename F>
void parallel_chunks(int64_t n, bool parallel, const F& f) {
  if (n <= 1 || !parallel) {
    for (int64_t k = 0; k < n; ++k) f(k);
    return;
  }
  std::atomic<int64_t> next{0};
  on_all_threads(n, [&] {
    for (int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < n;) f(k);
  });
}

// Calls f(begin, end) for ranges of rows [0, n), each `width` values wide.
template <typename F>
void parallel_ranges(int64_t n, int64_t width, const F& f) {
  const int64_t size = std::max<int64_t>((int64_t{1} << 15) / std::max<int64_t>(width, 1), 1);
  parallel_chunks((n + size - 1) / size, n > size,
                  [&](int64_t k) { f(k * size, std::min(n, (k + 1) * size)); });
}

// Of several threads that meet something bad, the first in order is reported.
class FirstBad {
 public:
  void see(int64_t e) {
    int64_t first = at_.load();
    while (e < first && !at_.compare_exchange_weak(first, e)) {
    }
  }
  bool seen() const { return at_.load() != kNone; }
  int64_t at() const { return at_.load(); }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> at_{kNone};
};

inline bool in_range(int64_t id, int64_t size) {
  return static_cast<uint64_t>(id) < static_cast<uint64_t>(size);
}

inline void require_in_range(const int64_t* index, int64_t n, int64_t size) {
  FirstBad bad;
  parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      if (!in_range(index[e], size)) return bad.see(e);
    }
  });
  if (bad.seen()) bad_index(index[bad.at()], size);
}

// Whether every element is in some segment.
inline bool covers(const Csr& graph, int64_t size) {
  return graph.rowptr[graph.num_rows] - graph.rowptr[0] >= size;
}

// Indices in the host's memory are looked at whenever they come.
inline void check_segments(const Csr& graph, const Tensor&) { require_segments(graph); }
inline void check_groups(const Tensor& index, int64_t size) {
  require_groups(index.const_data_ptr<int64_t>(), index.numel(), size);
}

struct Hub {
  int64_t row;
  int64_t first_piece;
  int64_t num_pieces;
};

class Schedule {
 public:
  // `width`: values moved per edge, which sets how many edges make a worthwhile chunk.
  Schedule(const Csr& graph, int64_t width) : graph_(graph) {
    const int64_t values = int64_t{1} << 17;
    chunk_ = std::clamp<int64_t>(values / std::max<int64_t>(width, 1), 256, 1 << 14);
    num_chunks_ = (graph.num_rows + graph.num_edges + chunk_ - 1) / chunk_;
    parallel_ = (graph.num_rows + graph.num_edges) * std::max<int64_t>(width, 1) > (1 << 16);
    if (graph.num_edges > kPiece) find_hubs();
  }

  const std::vector<Hub>& hubs() const { return hubs_; }
  int64_t num_pieces() const { return static_cast<int64_t>(piece_row_.size()); }

  // row(r, begin, end): all edges of a row; piece(r, begin, end, k): those of the k-th piece of a
  // hub.
  template <typename Row, typename Piece>
  void run(const Row& row, const Piece& piece) const {
    const int64_t pieces = num_pieces();
    const int64_t* rowptr = graph_.rowptr;
    parallel_chunks(pieces + num_chunks_, parallel_, [&](int64_t k) {
      if (k < pieces) {
        const int64_t r = piece_row_[k], begin = piece_begin_[k];
        piece(r, begin, std::min(begin + kPiece, rowptr[r + 1]), k);
        return;
      }
      const int64_t last = chunk_start(k - pieces + 1);
      for (int64_t r = chunk_start(k - pieces); r < last; ++r) {
        if (rowptr[r + 1] - rowptr[r] <= kPiece) row(r, rowptr[r], rowptr[r + 1]);
      }
    });
  }

 private:
  // First row r with rowptr[r] + r >= k * chunk: chunks of equal rows + edges, cut between rows.
  int64_t chunk_start(int64_t k) const {
    const int64_t diagonal = k * chunk_;
    int64_t low = 0, high = graph_.num_rows;
    while (low < high) {
      const int64_t mid = (low + high) / 2;
      if (graph_.rowptr[mid] + mid < diagonal) {
        low = mid + 1;
      } else {
        high = mid;
      }
    }
    return low;
  }

  void find_hubs() {
    for (int64_t row = 0; row < graph_.num_rows; ++row) {
      const int64_t begin = graph_.rowptr[row], end = graph_.rowptr[row + 1];
      if (end - begin <= kPiece) continue;
      const int64_t first = num_pieces();
      for (int64_t e = begin; e < end; e += kPiece) {
        piece_row_.push_back(row);
        piece_begin_.push_back(e);
      }
      hubs_.push_back({row, first, num_pieces() - first});
    }
  }

  Csr graph_;
  int64_t chunk_;
  int64_t num_chunks_;
  bool parallel_;
  std::vector<Hub> hubs_;
  std::vector<int64_t> piece_row_, piece_begin_;
};

}  // namespace gnnlib
