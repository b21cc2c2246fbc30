// A node, its neighbours, and who is beside them.
#pragma once

#include <tuple>
#include <vector>

#include "simple_graph.h"

namespace gnnlib {

// The nodes up to two edges from a centre have places: first those up to one edge from it, which
// are called inner, by ascending degree, then the others. Of every place it is known which inner
// nodes are beside it.
class Ball {
 public:
  struct Inner {
    int64_t degree, node;
    int64_t entry;  // of the centre's row, -1 for the centre itself
  };

  explicit Ball(const SimpleGraph& graph) : graph_(graph), place_(graph.num_nodes, -1) {}

  void move_to(int64_t centre) {
    if (centre == centre_) return;
    centre_ = centre;
    inner_.clear();
    inner_.push_back({graph_.degree(centre), centre, -1});
    for (int64_t e = graph_.rowptr[centre]; e < graph_.rowptr[centre + 1]; ++e) {
      inner_.push_back({graph_.degree(graph_.col[e]), graph_.col[e], e});
    }
    std::sort(inner_.begin(), inner_.end(), [](const Inner& a, const Inner& b) {
      return std::tie(a.degree, a.node) < std::tie(b.degree, b.node);
    });
    for (const int64_t node : nodes_) place_[node] = -1;
    nodes_.clear();
    begin_.assign(1, 0);
    for (const Inner& inner : inner_) give_place(inner.node);
    find_beside();
  }

  int32_t num_places() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t num_inner() const { return static_cast<int32_t>(inner_.size()); }
  const Inner& inner(int32_t place) const { return inner_[place]; }

  // -1 if it is farther.
  int32_t place(int64_t node) const { return place_[node]; }

  // The inner nodes beside a place, [begin, end) for beside().
  int32_t begin(int32_t place) const { return begin_[place]; }
  int32_t end(int32_t place) const { return begin_[place + 1]; }
  int32_t beside(int32_t k) const { return beside_[k]; }

 private:
  int32_t give_place(int64_t node) {
    nodes_.push_back(node);
    begin_.push_back(0);
    return place_[node] = static_cast<int32_t>(nodes_.size()) - 1;
  }

  void find_beside() {
    met_.clear();
    for (const Inner& inner : inner_) {
      for (const int64_t* near = graph_.begin(inner.node); near < graph_.end(inner.node); ++near) {
        int32_t number = place(*near);
        if (number < 0) number = give_place(*near);
        met_.push_back(number);
        ++begin_[number];
      }
    }
    // From how many to where they end; filling from the back leaves where they begin.
    int32_t total = 0;
    for (int32_t& begin : begin_) begin = total += begin;
    beside_.resize(met_.size());
    size_t k = met_.size();
    for (int32_t i = num_inner() - 1; i >= 0; --i) {
      for (int64_t left = inner_[i].degree; left > 0; --left) beside_[--begin_[met_[--k]]] = i;
    }
  }

  const SimpleGraph& graph_;
  int64_t centre_ = -1;
  std::vector<Inner> inner_;
  std::vector<int32_t> place_;  // of every node
  std::vector<int64_t> nodes_;  // at every place
  std::vector<int32_t> begin_, beside_, met_;
};

}  // namespace gnnlib
