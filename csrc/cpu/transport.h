// How much it takes to move the mass of a walk's next step from the neighbours of one end of an
// edge to those of the other. All distances there are 0 to 3, so a unit that moves costs 3, less 2
// if it goes to a neighbour and less 1 if it goes two edges far: what is saved is a matching of
// largest weight, and the primal-dual method for weights up to 2 is two maximal flows. The first
// goes along edges. In the second those that it left free, and those they can take from, go over
// any common neighbour to what they could not reach. What is then free goes three edges far.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "simple_graph.h"

namespace gnnlib {

// Numbers given to some of a graph's nodes, forgotten all at once.
class Places {
 public:
  explicit Places(int64_t num_nodes) : marks_(num_nodes) {}

  void clear() {
    if (++now_ == 0) {
      std::fill(marks_.begin(), marks_.end(), Mark{});
      now_ = 1;
    }
  }
  void put(int64_t node, int32_t place) { marks_[node] = {now_, place}; }
  int32_t find(int64_t node) const {
    const Mark mark = marks_[node];
    return mark.when == now_ ? mark.place : -1;
  }

 private:
  struct Mark {
    uint32_t when = 0;
    int32_t place = 0;
  };
  std::vector<Mark> marks_;
  uint32_t now_ = 1;
};

// Maximal flows by Dinic's algorithm (1970), from every vertex that has to every one that wants.
// A flow is kept when arcs are added.
class Flow {
 public:
  void clear() {
    arcs_.clear();
    first_.clear();
    left_.clear();
  }

  // `left` is what it has if positive, what it wants if negative.
  int32_t add_vertex(double left) {
    first_.push_back(-1);
    left_.push_back(left);
    return static_cast<int32_t>(left_.size() - 1);
  }

  int32_t add_arc(int32_t from, int32_t to) {
    const int32_t arc = static_cast<int32_t>(arcs_.size());
    arcs_.push_back({to, first_[from], std::numeric_limits<double>::infinity()});
    arcs_.push_back({from, first_[to], 0});
    first_[from] = arc;
    first_[to] = arc + 1;
    return arc;
  }

  // Sends what can be sent, and returns how much. Less than `least` is nothing.
  double run(double least) {
    least_ = least;
    double total = 0;
    while (find_levels()) {
      cursor_ = first_;
      for (int32_t vertex : starts_) {
        for (double sent = 1; sent > 0 && left_[vertex] > least_; total += sent) {
          sent = send(vertex);
        }
      }
    }
    return total;
  }

  // Whether more could be sent from a vertex that has, or by way of it, if somebody took it.
  bool reached(int32_t vertex) const { return level_[vertex] >= 0; }
  double left(int32_t vertex) const { return left_[vertex]; }
  double on(int32_t arc) const { return arcs_[arc + 1].room; }
  void close(int32_t arc) { arcs_[arc].room = 0; }
  int32_t num_vertices() const { return static_cast<int32_t>(left_.size()); }

 private:
  struct Arc {
    int32_t to;
    int32_t next;  // of the arcs that leave the same vertex
    double room;
  };

  bool open(const Arc& arc) const { return arc.room > least_; }

  // How far every vertex is from one that has, up to the nearest that wants; whether there is one.
  bool find_levels() {
    level_.assign(left_.size(), -1);
    starts_.clear();
    queue_.clear();
    for (int32_t vertex = 0; vertex < num_vertices(); ++vertex) {
      if (left_[vertex] > least_) {
        level_[vertex] = 0;
        starts_.push_back(vertex);
      }
    }
    queue_ = starts_;
    int32_t nearest = std::numeric_limits<int32_t>::max();
    for (size_t k = 0; k < queue_.size(); ++k) {
      const int32_t vertex = queue_[k], next = level_[vertex] + 1;
      if (next > nearest) break;
      for (int32_t a = first_[vertex]; a >= 0; a = arcs_[a].next) {
        const int32_t to = arcs_[a].to;
        if (!open(arcs_[a]) || level_[to] >= 0) continue;
        level_[to] = next;
        queue_.push_back(to);
        if (left_[to] < -least_) nearest = next;
      }
    }
    return nearest < std::numeric_limits<int32_t>::max();
  }

  // Sends along one path down the levels; returns how much.
  double send(int32_t from) {
    path_.clear();
    int32_t vertex = from;
    while (!(left_[vertex] < -least_)) {
      int32_t& a = cursor_[vertex];
      while (a >= 0 && !(open(arcs_[a]) && level_[arcs_[a].to] == level_[vertex] + 1)) {
        a = arcs_[a].next;
      }
      if (a >= 0) {
        path_.push_back(a);
        vertex = arcs_[a].to;
        continue;
      }
      if (path_.empty()) return 0;
      vertex = arcs_[path_.back() ^ 1].to;
      cursor_[vertex] = arcs_[path_.back()].next;
      path_.pop_back();
    }
    double amount = std::min(left_[from], -left_[vertex]);
    for (const int32_t a : path_) amount = std::min(amount, arcs_[a].room);
    for (const int32_t a : path_) {
      arcs_[a].room -= amount;
      arcs_[a ^ 1].room += amount;
    }
    left_[from] -= amount;
    left_[vertex] += amount;
    return amount;
  }

  std::vector<Arc> arcs_;
  std::vector<double> left_;
  std::vector<int32_t> first_, cursor_, level_, queue_, starts_, path_;
  double least_ = 0;
};

struct Move {
  int64_t from, to;
  double amount;
  int64_t distance;
};

// What a thread needs to find transports, one edge after the other.
class Transport {
 public:
  // `mass`: what each entry of graph.col weighs, null where all weigh the same.
  Transport(const SimpleGraph& graph, const double* mass)
      : graph_(graph), mass_(mass), member_(graph.num_nodes), way_(graph.num_nodes) {}

  // The Wasserstein distance of the walks from u and from v, which an edge joins.
  double work(int64_t u, int64_t v, double alpha) {
    measure(u, v, alpha);
    join_neighbours();
    const double near = flow_.run(least_);
    double far = 0;
    if (total_ - near > least_) {
      join_ways();
      far = flow_.run(least_);
    }
    return (3 * total_ - 2 * near - far) / scale_;
  }

  // How the last one moves: by ascending (from, to), each pair once.
  void moves(std::vector<Move>& found) const {
    found.clear();
    for (const Link& link : links_) note(link.giver, link.taker, flow_.on(link.arc), 1, found);
    over_ways(found);
    rest(found);
    std::sort(found.begin(), found.end(), [](const Move& a, const Move& b) {
      return a.from != b.from ? a.from < b.from : a.to < b.to;
    });
    size_t kept = 0;
    for (size_t k = 0; k < found.size(); ++k) {
      if (kept > 0 && found[kept - 1].from == found[k].from && found[kept - 1].to == found[k].to) {
        found[kept - 1].amount += found[k].amount;
      } else {
        found[kept++] = found[k];
      }
    }
    found.resize(kept);
  }

 private:
  struct Link {
    int32_t giver, taker, arc;
  };
  struct Step {
    int32_t member, way, arc;
  };
  using Stock = std::vector<std::pair<int32_t, double>>;

  double weight(int64_t e) const { return mass_ ? mass_[e] : 1; }

  double total_weight(int64_t node) const {
    if (!mass_) return static_cast<double>(graph_.degree(node));
    double total = 0;
    for (int64_t e = graph_.rowptr[node]; e < graph_.rowptr[node + 1]; ++e) total += mass_[e];
    return total;
  }

  // Who has more of u's walk than of v's gives the difference, who has less takes it. Masses are in
  // units of 1 / (total weight of u * total weight of v): whole numbers where weights are and alpha
  // is 0, and then nothing is rounded.
  void measure(int64_t u, int64_t v, double alpha) {
    const double of_u = total_weight(u), of_v = total_weight(v);
    scale_ = of_u * of_v;
    least_ = 1e-14 * scale_;
    total_ = 0;
    nodes_.clear();
    takers_.clear();
    flow_.clear();
    const int64_t last_u = graph_.rowptr[u + 1], last_v = graph_.rowptr[v + 1];
    for (int64_t i = graph_.rowptr[u], j = graph_.rowptr[v]; i < last_u || j < last_v;) {
      const bool in_u = i < last_u && (j == last_v || graph_.col[i] <= graph_.col[j]);
      const bool in_v = j < last_v && (i == last_u || graph_.col[j] <= graph_.col[i]);
      const int64_t node = in_u ? graph_.col[i] : graph_.col[j];
      double excess = 0;
      if (in_u) excess += weight(i++) * of_v;
      if (in_v) excess -= weight(j++) * of_u;
      excess *= 1 - alpha;
      if (node == u) excess += alpha * scale_;
      if (node == v) excess -= alpha * scale_;
      if (excess > least_) {
        nodes_.push_back(node);
        flow_.add_vertex(excess);
        total_ += excess;
      } else if (excess < -least_) {
        takers_.push_back({node, excess});
      }
    }
    num_givers_ = static_cast<int32_t>(nodes_.size());
    for (const Taker& taker : takers_) {
      nodes_.push_back(taker.node);
      flow_.add_vertex(taker.excess);
    }
    num_members_ = static_cast<int32_t>(nodes_.size());
  }

  int64_t degrees(int32_t begin, int32_t end) const {
    int64_t total = 0;
    for (int32_t k = begin; k < end; ++k) total += graph_.degree(nodes_[k]);
    return total;
  }

  // Calls f(place) for the members from `begin` to `end` that are neighbours of a node: those of
  // its neighbours that have a place, or, if it has far more, those members that it joins.
  template <typename F>
  void each_near(int64_t node, int32_t begin, int32_t end, const F& f) const {
    if (graph_.degree(node) / 16 > end - begin) {
      for (int32_t k = begin; k < end; ++k) {
        if (graph_.joins(node, nodes_[k])) f(k);
      }
      return;
    }
    for (const int64_t* near = graph_.begin(node); near < graph_.end(node); ++near) {
      const int32_t place = member_.find(*near);
      if (place >= begin && place < end) f(place);
    }
  }

  // Arcs from givers to takers beside them, found from the side with fewer edges.
  void join_neighbours() {
    links_.clear();
    ways_.clear();
    member_.clear();
    for (int32_t k = 0; k < num_members_; ++k) member_.put(nodes_[k], k);
    if (degrees(0, num_givers_) < degrees(num_givers_, num_members_)) {
      for (int32_t k = 0; k < num_givers_; ++k) {
        each_near(nodes_[k], num_givers_, num_members_,
                  [&](int32_t taker) { links_.push_back({k, taker, flow_.add_arc(k, taker)}); });
      }
    } else {
      for (int32_t k = num_givers_; k < num_members_; ++k) {
        each_near(nodes_[k], 0, num_givers_,
                  [&](int32_t giver) { links_.push_back({giver, k, flow_.add_arc(giver, k)}); });
      }
    }
  }

  // Arcs from givers that want to send on, over any node beside them, to takers out of their reach.
  // What others could send to takers that are reached is closed: there it saves nothing any more.
  void join_ways() {
    for (const Link& link : links_) {
      if (!flow_.reached(link.giver) && flow_.reached(link.taker)) flow_.close(link.arc);
    }
    here_.clear();
    there_.clear();
    int64_t edges_here = 0, edges_there = 0;
    for (int32_t k = 0; k < num_members_; ++k) {
      const bool gives = k < num_givers_;
      if (gives != flow_.reached(k)) continue;
      (gives ? here_ : there_).push_back(k);
      (gives ? edges_here : edges_there) += graph_.degree(nodes_[k]);
    }
    if (edges_here > edges_there) std::swap(here_, there_);
    way_.clear();
    for (const int32_t k : here_) {
      for (const int64_t* near = graph_.begin(nodes_[k]); near < graph_.end(nodes_[k]); ++near) {
        if (way_.find(*near) < 0) way_.put(*near, kSeen);
      }
    }
    for (const int32_t k : there_) {
      for (const int64_t* near = graph_.begin(nodes_[k]); near < graph_.end(nodes_[k]); ++near) {
        int32_t way = way_.find(*near);
        if (way < 0) continue;
        if (way == kSeen) {
          way = flow_.add_vertex(0);
          way_.put(*near, way);
        }
        join_way(k, way);
      }
    }
    for (const int32_t k : here_) {
      for (const int64_t* near = graph_.begin(nodes_[k]); near < graph_.end(nodes_[k]); ++near) {
        const int32_t way = way_.find(*near);
        if (way != kSeen) join_way(k, way);
      }
    }
  }

  void join_way(int32_t member, int32_t way) {
    const bool gives = member < num_givers_;
    ways_.push_back({member, way, gives ? flow_.add_arc(member, way) : flow_.add_arc(way, member)});
  }

  static constexpr int32_t kSeen = std::numeric_limits<int32_t>::max();

  void note(int32_t giver, int32_t taker, double amount, int64_t distance,
            std::vector<Move>& found) const {
    if (amount > least_) {
      found.push_back({nodes_[giver], nodes_[taker], amount / scale_, distance});
    }
  }

  // What came to a way goes on from there, first come, first gone.
  void over_ways(std::vector<Move>& found) const {
    std::vector<Step> steps = ways_;
    std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
      return a.way != b.way ? a.way < b.way : a.member < b.member;
    });
    for (size_t begin = 0, end; begin < steps.size(); begin = end) {
      Stock in, out;
      for (end = begin; end < steps.size() && steps[end].way == steps[begin].way; ++end) {
        const int32_t member = steps[end].member;
        (member < num_givers_ ? in : out).push_back({member, flow_.on(steps[end].arc)});
      }
      pair_up(in, out, 2, found);
    }
  }

  // What is left goes the longest way.
  void rest(std::vector<Move>& found) const {
    Stock in, out;
    for (int32_t k = 0; k < num_givers_; ++k) in.push_back({k, flow_.left(k)});
    for (int32_t k = num_givers_; k < num_members_; ++k) out.push_back({k, -flow_.left(k)});
    pair_up(in, out, 3, found);
  }

  void pair_up(Stock& in, Stock& out, int64_t distance, std::vector<Move>& found) const {
    for (size_t i = 0, j = 0; i < in.size() && j < out.size();) {
      const double amount = std::min(in[i].second, out[j].second);
      note(in[i].first, out[j].first, amount, distance, found);
      in[i].second -= amount;
      out[j].second -= amount;
      (in[i].second <= out[j].second ? i : j) += 1;
    }
  }

  struct Taker {
    int64_t node;
    double excess;
  };

  const SimpleGraph& graph_;
  const double* mass_;
  Places member_, way_;
  Flow flow_;
  std::vector<int64_t> nodes_;  // givers, then takers, each by ascending id
  std::vector<Taker> takers_;
  std::vector<Link> links_;
  std::vector<Step> ways_;
  std::vector<int32_t> here_, there_;
  int32_t num_givers_ = 0, num_members_ = 0;
  double scale_ = 1, least_ = 0, total_ = 0;
};

}  // namespace gnnlib
