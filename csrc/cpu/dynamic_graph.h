// An undirected graph whose edges come and go: of every node, its neighbours in ascending order,
// and the number of the edge to each.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "simple_graph.h"

namespace gnnlib {

// As small as can be: what takes time is to read these from memory.
struct Neighbour {
  int32_t node, edge;

  Neighbour(int64_t node, int64_t edge)
      : node(static_cast<int32_t>(node)), edge(static_cast<int32_t>(edge)) {}
};

class DynamicGraph {
 public:
  static void require_fits(int64_t num_nodes, int64_t num_edges) {
    const int64_t most = std::numeric_limits<int32_t>::max() / 2;
    require(std::max(num_nodes, num_edges) <= most, "a graph must have at most ", most,
            " nodes and as many edges to be rewired edge by edge, got ", num_nodes, " nodes and ",
            num_edges, " edges");
  }

  // Nodes [first, last) of several graphs side by side, counted from 0, as no edge leaves them.
  // Edges are numbered in lexicographic order.
  DynamicGraph(const SimpleGraph& graph, int64_t first, int64_t last) : near_(last - first) {
    for (int64_t u = 0; u < num_nodes(); ++u) near_[u].reserve(graph.degree(first + u));
    for (int64_t u = 0; u < num_nodes(); ++u) {
      for (const int64_t* v = graph.begin(first + u); v < graph.end(first + u); ++v) {
        if (*v - first > u) append(u, *v - first, num_edges_++);
      }
    }
  }

  int64_t num_nodes() const { return static_cast<int64_t>(near_.size()); }
  int64_t num_edges() const { return num_edges_; }
  int64_t num_changes() const { return num_changes_; }
  const std::vector<Neighbour>& near(int64_t node) const { return near_[node]; }
  int64_t degree(int64_t node) const { return static_cast<int64_t>(near_[node].size()); }

  // The number is the caller's, one that no edge has.
  void insert(int64_t u, int64_t v, int64_t edge) {
    near_[u].insert(place(u, v), {v, edge});
    near_[v].insert(place(v, u), {u, edge});
    ++num_edges_;
    ++num_changes_;
  }

  void erase(int64_t u, int64_t v) {
    near_[u].erase(place(u, v));
    near_[v].erase(place(v, u));
    --num_edges_;
    ++num_changes_;
  }

  // Calls f(u, v, edge) for every edge, u < v, in lexicographic order.
  template <typename F>
  void each_edge(const F& f) const {
    for (int64_t u = 0; u < num_nodes(); ++u) {
      for (const auto& [v, edge] : near_[u]) {
        if (u < v) f(u, v, edge);
      }
    }
  }

 private:
  void append(int64_t u, int64_t v, int64_t edge) {
    near_[u].push_back({v, edge});
    near_[v].push_back({u, edge});
  }

  // Where v is, or would be, among the neighbours of u.
  std::vector<Neighbour>::iterator place(int64_t u, int64_t v) {
    return std::lower_bound(near_[u].begin(), near_[u].end(), v,
                            [](const Neighbour& a, int64_t node) { return a.node < node; });
  }

  std::vector<std::vector<Neighbour>> near_;
  int64_t num_edges_ = 0, num_changes_ = 0;
};

}  // namespace gnnlib
