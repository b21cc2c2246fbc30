// How much it takes to move the mass of a walk's next step from the neighbours of one end of an
// edge to those of the other. All distances there are 0 to 3, so a unit that moves costs 3, less 2
// if it goes to a neighbour and less 1 if it goes two edges far: what is saved is a matching of
// largest weight, and the primal-dual method for weights up to 2 is two maximal flows. The first
// goes along edges. In the second those that it left free, and those they can take from, go over
// any common neighbour to what they could not reach. What is then free goes three edges far.
#pragma once

#include <array>
#include <utility>

#include "flow.h"
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
      : graph_(graph), mass_(mass), giver_(graph.num_nodes), way_(graph.num_nodes) {}

  // The Wasserstein distance of the walks from u and from v, which an edge joins.
  double work(int64_t u, int64_t v, double alpha) {
    measure(u, v, alpha);
    double near = send_to_neighbours();
    near += flow_.run([](int32_t) {});
    double far = 0;
    if (total_ - near > least_) {
      find_ways();
      for (int32_t k = 0; k < num_givers(); ++k) far += send_over_ways(k);
      far += flow_.run([&](int32_t vertex) {
        if (vertex < num_givers()) join_ways(vertex);
      });
    }
    return (3 * total_ - 2 * near - far) / scale_;
  }

  // How the last one moves: by ascending (from, to), each pair once.
  void moves(std::vector<Move>& found) const {
    found.clear();
    std::vector<Step> steps;
    for (int32_t arc = 0; arc < flow_.num_arcs(); arc += 2) {
      const int32_t from = flow_.tail(arc), to = flow_.head(arc);
      if (from < num_members() && to < num_members()) {
        note(from, to, flow_.on(arc), 1, found);
      } else {
        steps.push_back({std::max(from, to), std::min(from, to), flow_.on(arc)});
      }
    }
    // What came to a way goes on from there, and what never moved goes far: first come, first gone.
    std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
      return a.way != b.way ? a.way < b.way : a.member < b.member;
    });
    for (size_t begin = 0, end = 0; begin < steps.size(); begin = end) {
      while (end < steps.size() && steps[end].way == steps[begin].way) ++end;
      pair_up({steps.begin() + begin, steps.begin() + end}, 2, found);
    }
    steps.clear();
    for (int32_t k = 0; k < num_members(); ++k) steps.push_back({0, k, std::abs(flow_.left(k))});
    pair_up(std::move(steps), 3, found);
    merge(found);
  }

 private:
  struct Member {
    int64_t node;
    double mass;
  };
  // A node over which to go: its vertex, -1 as long as no giver has met it, and the first of the
  // takers beside it (in beside_, later its first arc to one that may still want).
  struct Way {
    int32_t vertex, first;
  };
  struct Beside {
    int32_t taker, next;
  };
  struct Step {
    int32_t way, member;
    double amount;
  };

  int32_t num_givers() const { return static_cast<int32_t>(givers_.size()); }
  int32_t num_members() const { return static_cast<int32_t>(givers_.size() + takers_.size()); }
  int64_t taker(int32_t vertex) const { return takers_[vertex - num_givers()].node; }

  double weight(int64_t e) const { return mass_ ? mass_[e] : 1; }

  double total_weight(int64_t node) const {
    if (!mass_) return static_cast<double>(graph_.degree(node));
    double total = 0;
    for (int64_t e = graph_.rowptr[node]; e < graph_.rowptr[node + 1]; ++e) total += mass_[e];
    return total;
  }

  int64_t degrees(const std::vector<Member>& members) const {
    int64_t total = 0;
    for (const Member& member : members) total += graph_.degree(member.node);
    return total;
  }

  // Who has more of u's walk than of v's gives the difference, who has less takes it; or the other
  // way round, which is as much work, so that takers have fewer edges. Masses are in units of 1 /
  // (total weight of u * total weight of v): whole numbers where weights are and alpha is 0, and
  // then nothing is rounded.
  void measure(int64_t u, int64_t v, double alpha) {
    const double of_u = total_weight(u), of_v = total_weight(v);
    scale_ = of_u * of_v;
    least_ = 1e-14 * scale_;
    givers_.clear();
    takers_.clear();
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
      if (excess > least_) givers_.push_back({node, excess});
      if (excess < -least_) takers_.push_back({node, -excess});
    }
    swapped_ = degrees(takers_) > degrees(givers_);
    if (swapped_) std::swap(givers_, takers_);
    // Who has fewer edges goes first, as it has fewer ways to turn to.
    std::sort(givers_.begin(), givers_.end(), [&](const Member& a, const Member& b) {
      const int64_t x = graph_.degree(a.node), y = graph_.degree(b.node);
      return x != y ? x < y : a.node < b.node;
    });
    total_ = 0;
    flow_.clear(least_);
    for (const Member& giver : givers_) {
      flow_.add_vertex(giver.mass);
      total_ += giver.mass;
    }
    for (const Member& taker : takers_) flow_.add_vertex(-taker.mass);
  }

  // Arcs from givers to takers beside them; what can be sent at once is sent.
  double send_to_neighbours() {
    double sent = 0;
    giver_.clear();
    for (int32_t k = 0; k < num_givers(); ++k) giver_.put(givers_[k].node, k);
    for (int32_t k = num_givers(); k < num_members(); ++k) {
      near_.clear();
      each_giver_near(taker(k), [&](int32_t giver) { near_.push_back(giver); });
      std::sort(near_.begin(), near_.end());
      for (const int32_t giver : near_)
        sent += flow_.send_over(std::array{flow_.add_arc(giver, k)});
    }
    return sent;
  }

  // Calls f(giver) for those among a node's neighbours, or, where these are far more, for those
  // among all that the node joins.
  template <typename F>
  void each_giver_near(int64_t node, const F& f) const {
    if (graph_.degree(node) / 16 > num_givers()) {
      for (int32_t k = 0; k < num_givers(); ++k) {
        if (graph_.joins(node, givers_[k].node)) f(k);
      }
      return;
    }
    for (const int64_t* near = graph_.begin(node); near < graph_.end(node); ++near) {
      const int32_t giver = giver_.find(*near);
      if (giver >= 0) f(giver);
    }
  }

  // Notes every node beside takers that were not reached. Those that were are closed to givers that
  // were not: there they save nothing any more.
  void find_ways() {
    for (int32_t arc = 0; arc < flow_.num_arcs(); arc += 2) {
      if (!flow_.reached(flow_.tail(arc)) && flow_.reached(flow_.head(arc))) flow_.close(arc);
    }
    to_join_.clear();
    for (int32_t k = 0; k < num_givers(); ++k) {
      const int64_t node = givers_[k].node;
      to_join_.push_back(flow_.reached(k) ? graph_.begin(node) : graph_.end(node));
    }
    way_.clear();
    ways_.clear();
    beside_.clear();
    for (int32_t k = num_givers(); k < num_members(); ++k) {
      if (flow_.reached(k)) continue;
      const int64_t node = taker(k);
      for (const int64_t* near = graph_.begin(node); near < graph_.end(node); ++near) {
        int32_t way = way_.find(*near);
        if (way < 0) {
          way_.put(*near, way = static_cast<int32_t>(ways_.size()));
          ways_.push_back({-1, -1});
        }
        beside_.push_back(
            {k, std::exchange(ways_[way].first, static_cast<int32_t>(beside_.size()))});
      }
    }
  }

  // The next way of a giver that was not joined yet, joined; null if there is none. A way that a
  // giver meets for the first time becomes a vertex, with arcs to the takers beside it.
  Way* join_way(int32_t giver, int32_t& arc) {
    const int64_t* const end = graph_.end(givers_[giver].node);
    for (const int64_t*& near = to_join_[giver]; near < end;) {
      const int32_t place = way_.find(*near++);
      if (place < 0) continue;
      Way& way = ways_[place];
      if (way.vertex < 0) {
        way.vertex = flow_.add_vertex(0);
        for (int32_t k = way.first; k >= 0; k = beside_[k].next) {
          flow_.add_arc(way.vertex, beside_[k].taker);
        }
        way.first = flow_.first(way.vertex);
      }
      arc = flow_.add_arc(giver, way.vertex);
      return &way;
    }
    return nullptr;
  }

  void join_ways(int32_t giver) {
    for (int32_t arc; join_way(giver, arc);) {
    }
  }

  // Joins ways of a giver until it has nothing left, and sends what can be sent at once.
  double send_over_ways(int32_t giver) {
    double sent = 0;
    int32_t arc;
    for (Way* way; flow_.has(giver) && (way = join_way(giver, arc));) {
      for (; way->first >= 0 && flow_.has(giver); way->first = flow_.next(way->first)) {
        sent += flow_.send_over(std::array{arc, way->first});
        if (flow_.wants(flow_.head(way->first))) break;
      }
    }
    return sent;
  }

  // A swap of givers and takers is undone here.
  void note(int32_t giver, int32_t taker, double amount, int64_t distance,
            std::vector<Move>& found) const {
    if (!(amount > least_)) return;
    const int64_t from = givers_[giver].node, to = this->taker(taker);
    found.push_back({swapped_ ? to : from, swapped_ ? from : to, amount / scale_, distance});
  }

  // Steps by member: those of givers, then those of takers.
  void pair_up(std::vector<Step> steps, int64_t distance, std::vector<Move>& found) const {
    size_t j = 0;
    while (j < steps.size() && steps[j].member < num_givers()) ++j;
    const size_t takers = j;
    for (size_t i = 0; i < takers && j < steps.size();) {
      const double amount = std::min(steps[i].amount, steps[j].amount);
      note(steps[i].member, steps[j].member, amount, distance, found);
      steps[i].amount -= amount;
      steps[j].amount -= amount;
      ++(steps[i].amount > steps[j].amount ? j : i);
    }
  }

  static void merge(std::vector<Move>& found) {
    const auto ends = [](const Move& move) { return std::pair{move.from, move.to}; };
    std::sort(found.begin(), found.end(),
              [&](const Move& a, const Move& b) { return ends(a) < ends(b); });
    size_t kept = 0;
    for (size_t k = 0; k < found.size(); ++k) {
      if (kept > 0 && ends(found[kept - 1]) == ends(found[k])) {
        found[kept - 1].amount += found[k].amount;
      } else {
        found[kept++] = found[k];
      }
    }
    found.resize(kept);
  }

  const SimpleGraph& graph_;
  const double* mass_;
  Places giver_, way_;
  Flow flow_;  // its vertices: givers, takers, ways
  std::vector<Member> givers_, takers_;
  std::vector<const int64_t*> to_join_;  // of every giver, its first neighbour not yet looked at
  std::vector<int32_t> near_;            // givers beside a taker
  std::vector<Way> ways_;
  std::vector<Beside> beside_;
  bool swapped_ = false;
  double scale_ = 1, least_ = 0, total_ = 0;
};

}  // namespace gnnlib
