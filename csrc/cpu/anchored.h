// Pairs of nodes, grouped by one of the two: what is learnt of that one, its anchor, serves all of
// its group. Threads take equal numbers of pairs, so that a hub's group is shared out as well.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "../checks.h"
#include "schedule.h"
#include "simple_graph.h"

namespace gnnlib {

inline std::span<const int64_t> neighbours(const SimpleGraph& graph, int64_t node) {
  return {graph.begin(node), graph.end(node)};
}

// The caller's pairs.
struct Pairs {
  const int64_t* source;
  const int64_t* target;
  int64_t count;

  Pairs(const SimpleGraph& graph, const Tensor& source, const Tensor& target)
      : source(index_data(source, "source")),
        target(index_data(target, "target")),
        count(source.numel()) {
    require(target.numel() == count, "`source` and `target` must have one node per pair, got ",
            count, " and ", target.numel());
    require_in_range(this->source, count, graph.num_nodes);
    require_in_range(this->target, count, graph.num_nodes);
  }
};

// The `at`-th of them, seen from one of its ends.
struct Anchored {
  int64_t anchor, far, at;

  bool operator<(const Anchored& other) const {
    return anchor != other.anchor ? anchor < other.anchor : at < other.at;
  }
};

// Calls work(begin, end) for the pairs of one anchor, or a part of them, on all threads, each of
// which makes a Work of its own.
template <typename Work, typename Make>
void each_anchor(std::vector<Anchored> pairs, const Make& make) {
  constexpr int64_t kChunk = 256;
  std::sort(pairs.begin(), pairs.end());
  const int64_t size = static_cast<int64_t>(pairs.size());
  const int64_t chunks = (size + kChunk - 1) / kChunk;
  std::atomic<int64_t> next{0};
  const auto run = [&] {
    Work work = make();
    for (int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      const Anchored* const last = pairs.data() + std::min(size, (k + 1) * kChunk);
      for (const Anchored *begin = pairs.data() + k * kChunk, *end; begin < last; begin = end) {
        end =
            std::find_if(begin, last, [&](const Anchored& p) { return p.anchor != begin->anchor; });
        work(begin, end);
      }
    }
  };
  chunks > 1 ? on_all_threads(chunks, run) : run();
}

// One value per node, all 0 at first. The system hands out its memory as it is first touched.
template <typename T>
class PerNode {
 public:
  explicit PerNode(int64_t num_nodes)
      : data_(static_cast<T*>(std::calloc(std::max<int64_t>(num_nodes, 1), sizeof(T)))) {
    if (!data_) throw std::bad_alloc();
  }
  T& operator[](int64_t node) { return data_.get()[node]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

// A set of nodes that is emptied at once.
class NodeSet {
 public:
  explicit NodeSet(int64_t num_nodes) : stamp_(num_nodes) {}
  void clear() { ++now_; }
  void add(int64_t node) { stamp_[node] = now_; }
  bool has(int64_t node) { return stamp_[node] == now_; }

 private:
  PerNode<uint32_t> stamp_;
  uint32_t now_ = 0;
};

}  // namespace gnnlib
