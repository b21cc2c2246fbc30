// Balanced Forman curvature of an edge of a graph that changes. Around an edge (u, v) lie the
// common neighbours of its ends and, between a neighbour of u alone and one of v alone, the edges
// opposite to it: those of 4-cycles without a diagonal at it. As (u, v) is opposite to these as
// well, they are all the edges, but for those at u and v, whose curvature changes when (u, v) comes
// or goes.
#pragma once

#include <cmath>

#include "dynamic_graph.h"

namespace gnnlib {

// Curvatures are whole billionths, so that those which only rounding tells apart are equal.
constexpr double kPerUnit = 1e9;

// What the curvature of an edge is made of; see gnnlib/rewiring/curvature/_cycles.py.
struct Faces {
  int64_t degree_u, degree_v, triangles, boxes, busiest;

  int64_t curvature() const {
    const auto low = static_cast<double>(std::min(degree_u, degree_v));
    const auto high = static_cast<double>(std::max(degree_u, degree_v));
    if (low == 1) return 0;
    const auto shared = static_cast<double>(triangles);
    const auto most = static_cast<double>(std::max<int64_t>(busiest, 1));
    const double squares = static_cast<double>(boxes) / (most * high);
    const double value = 2 / low + 2 / high - 2 + 2 * shared / high + shared / low + squares;
    return std::llrint(value * kPerUnit);
  }
};

// Whose neighbour a node is.
enum class Side : uint8_t { None = 0, U = 1, V = 2, Both = 3 };

class Surroundings {
 public:
  explicit Surroundings(const DynamicGraph& graph)
      : graph_(graph), side_(graph.num_nodes()), boxes_(graph.num_nodes()) {}

  // Looks at the pair (u, v), be it an edge or not, as the graph is now. The neighbours of u are
  // not marked again while u and the graph stay the same: all edges of a hub cost no more than
  // theirs.
  void look_at(int64_t u, int64_t v) {
    forget_boxes();
    if (u != u_ || seen_ != graph_.num_changes()) mark(near_u_, Side::U, u);
    mark(near_v_, Side::V, v);
    u_ = u;
    v_ = v;
    seen_ = graph_.num_changes();
  }

  Side side(int64_t node) const {
    return node == u_ || node == v_ ? Side::None : static_cast<Side>(side_[node]);
  }

  // Calls f(x, y, edge) for every edge opposite to (u, v), x and y on different sides.
  template <typename F>
  void each_opposite(const F& f) const {
    const Side near = from_u() ? Side::U : Side::V, far = from_u() ? Side::V : Side::U;
    for (const Neighbour& x : graph_.near(from_u() ? u_ : v_)) {
      if (side(x.node) != near) continue;
      for (const Neighbour& y : graph_.near(x.node)) {
        if (side(y.node) == far) f(x.node, y.node, y.edge);
      }
    }
  }

  // What lies around the edge (u, v).
  Faces count() {
    Faces faces{graph_.degree(u_), graph_.degree(v_), 0, 0, 0};
    for (const Neighbour& x : graph_.near(from_u() ? u_ : v_))
      faces.triangles += side(x.node) == Side::Both;
    forget_boxes();
    each_opposite([&](int32_t x, int32_t y, int32_t) {
      for (const int32_t node : {x, y}) {
        if (boxes_[node]++ == 0) on_boxes_.push_back(node);
        faces.busiest = std::max<int64_t>(faces.busiest, boxes_[node]);
      }
    });
    faces.boxes = static_cast<int64_t>(on_boxes_.size());
    return faces;
  }

  // How many opposite edges end at a node, as count() has found.
  int64_t boxes(int64_t node) const { return boxes_[node]; }

 private:
  // From which end to search. What is around u was just read, for another edge of u.
  bool from_u() const { return graph_.degree(u_) <= 2 * graph_.degree(v_); }

  void mark(std::vector<int32_t>& marked, Side side, int64_t end) {
    const auto bit = static_cast<uint8_t>(side);
    for (const int32_t node : marked) side_[node] &= ~bit;
    marked.clear();
    for (const Neighbour& near : graph_.near(end)) {
      side_[near.node] |= bit;
      marked.push_back(near.node);
    }
  }

  void forget_boxes() {
    for (const int32_t node : on_boxes_) boxes_[node] = 0;
    on_boxes_.clear();
  }

  const DynamicGraph& graph_;
  int64_t u_ = -1, v_ = -1, seen_ = 0;
  std::vector<uint8_t> side_;
  std::vector<int32_t> boxes_;
  std::vector<int32_t> near_u_, near_v_, on_boxes_;  // nodes whose marks are set
};

}  // namespace gnnlib
