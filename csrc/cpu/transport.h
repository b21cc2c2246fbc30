// How much it takes to move the mass of a walk's next step from the neighbours of one end of an
// edge to those of the other. All distances there are 0 to 3, so a unit that moves costs 3, less 2
// if it goes to a neighbour and less 1 if it goes two edges far: what is saved is a matching of
// largest weight, and the primal-dual method for weights up to 2 is two maximal flows. In the first
// who wants takes from neighbours. In the second those that still want, and those they could take
// from, take over any common neighbour from givers they could not reach. What is then left goes
// three edges far. The end with more edges is beside all that could give to it, and others leave at
// least what it wants, so it takes last and is no part of the flows.
#pragma once

#include <algorithm>
#include <utility>

#include "ball.h"

namespace gnnlib {

struct Move {
  int64_t from, to;
  double amount;
  int64_t distance;
};

// What a thread needs to find transports, one edge after the other: fastest for edges that have
// their centre in common.
class Transport {
 public:
  // `mass`: what each entry of graph.col weighs, null where all weigh the same.
  Transport(const SimpleGraph& graph, const double* mass)
      : graph_(graph), mass_(mass), ball_(graph) {}

  // The end with more edges, whose surroundings are looked up from those of the other.
  static int64_t centre(const SimpleGraph& graph, int64_t u, int64_t v) {
    return std::pair(graph.degree(u), u) > std::pair(graph.degree(v), v) ? u : v;
  }

  // The Wasserstein distance of the walks from u and from v, which an edge joins.
  double work(int64_t u, int64_t v, double alpha) {
    centre_ = centre(graph_, u, v);
    swapped_ = centre_ == v;
    ball_.move_to(centre_);
    measure(swapped_ ? u : v, alpha);
    const double near = centre_wants_ + take();
    double far = 0;
    if (total_ - near > least_) {
      split();
      far = take();
    }
    return (3 * total_ - 2 * near - far) / scale_;
  }

  // How the last one moves: by ascending (from, to), each pair once.
  void moves(std::vector<Move>& found) const {
    found.clear();
    for (const Gift& gift : gifts_) {
      const bool beside = givers_[gift.giver].scarce == takers_[gift.taker].scarce;
      note(gift.giver, gift.taker, gift.amount, beside ? 1 : 2, found);
    }
    // First come, first gone.
    int32_t t = -1;
    double wants = centre_wants_;
    for (int32_t g = 0; g < ball_.num_inner(); ++g) {
      for (double has = givers_[g].has; has > least_ && t < num_takers();) {
        const double amount = std::min(has, wants);
        note(g, t, amount, t < 0 ? 1 : 3, found);
        has -= amount;
        wants -= amount;
        if (!(wants > least_) && ++t < num_takers()) wants = takers_[t].wants;
      }
    }
    std::sort(found.begin(), found.end(), [](const Move& a, const Move& b) {
      return std::tie(a.from, a.to) < std::tie(b.from, b.to);
    });
  }

 private:
  // An inner node of the ball, at its place.
  struct Giver {
    double has;
    int32_t first_gift;
    int32_t asked_by;   // the taker that the search came from
    bool seen, scarce;  // scarce: among those that were seen when the first flow was found
  };
  struct Taker {
    int64_t degree, node;
    double wants;
    int32_t near_begin, near_end;  // the givers beside it, in the ball
    int32_t ways_begin, ways_end;  // in ways_
    int32_t near, way;             // the first of these that may lead to something
    int32_t taken;                 // the gift over which the search came
    bool seen, scarce;
  };
  struct Gift {
    int32_t giver, taker;
    int32_t next;  // of the giver
    double amount;
  };
  // A node over which to take: the next giver beside it that may have something.
  struct Way {
    int32_t next;
    bool seen;
  };

  double weight(int64_t e) const { return mass_ ? mass_[e] : 1; }

  double total_weight(int64_t node) const {
    if (!mass_) return static_cast<double>(graph_.degree(node));
    double total = 0;
    for (int64_t e = graph_.rowptr[node]; e < graph_.rowptr[node + 1]; ++e) total += mass_[e];
    return total;
  }

  bool has(int32_t giver) const { return givers_[giver].has > least_; }
  bool wants(int32_t taker) const { return takers_[taker].wants > least_; }

  // Who has more of the centre's walk than of the other's gives the difference, who has less takes
  // it. Masses are in units of 1 / (total weight of one end * that of the other): whole numbers
  // where weights are and alpha is 0, and then nothing is rounded.
  void measure(int64_t other, double alpha) {
    const double of_centre = total_weight(centre_), of_other = total_weight(other);
    scale_ = of_centre * of_other;
    least_ = 1e-14 * scale_;
    givers_.resize(ball_.num_inner());
    for (int32_t g = 0; g < ball_.num_inner(); ++g) {
      const int64_t e = ball_.inner(g).entry;
      givers_[g] = {e < 0 ? alpha * scale_ : (1 - alpha) * of_other * weight(e), -1, -1, false,
                    false};
    }
    takers_.clear();
    total_ = centre_wants_ = 0;
    for (int64_t e = graph_.rowptr[other]; e < graph_.rowptr[other + 1]; ++e) {
      add_taker(graph_.col[e], (1 - alpha) * of_centre * weight(e));
    }
    add_taker(other, alpha * scale_);
    // Who has fewer edges goes first, as it has fewer to turn to.
    std::sort(takers_.begin(), takers_.end(), [](const Taker& a, const Taker& b) {
      return std::tie(a.degree, a.node) < std::tie(b.degree, b.node);
    });
    gifts_.clear();
  }

  void add_taker(int64_t node, double mass) {
    const int32_t place = ball_.place(node);
    if (place < ball_.num_inner()) {
      double& has = givers_[place].has;
      const double kept = std::min(has, mass);
      has -= kept;
      mass -= kept;
    }
    if (!(mass > least_)) return;
    total_ += mass;
    if (node == centre_) {
      centre_wants_ = mass;
      return;
    }
    Taker taker{.degree = graph_.degree(node), .node = node, .wants = mass};
    taker.near = taker.near_begin = ball_.begin(place);
    taker.near_end = ball_.end(place);
    takers_.push_back(taker);
  }

  int32_t num_takers() const { return static_cast<int32_t>(takers_.size()); }

  // Everybody takes what can be had at once, then what others can do without; returns how much.
  double take() {
    double taken = 0;
    for (int32_t t = 0; t < num_takers(); ++t) {
      for (int32_t giver; wants(t) && (giver = spare(t)) >= 0;) taken += give(giver, t);
    }
    return taken + search();
  }

  // Those that were seen last could not get all they want: they may go over common neighbours now.
  void split() {
    for (Giver& giver : givers_) giver.scarce = std::exchange(giver.seen, false);
    ways_.clear();
    for (Taker& taker : takers_) {
      taker.scarce = std::exchange(taker.seen, false);
      if (taker.scarce) find_ways(taker);
    }
    way_.resize(ball_.num_places());
    for (const int32_t way : ways_) way_[way] = {ball_.begin(way), false};
  }

  void find_ways(Taker& taker) {
    size_t end = ways_.size();
    taker.way = taker.ways_begin = static_cast<int32_t>(end);
    ways_.resize(end + taker.degree);
    for (const int64_t* near = graph_.begin(taker.node); near < graph_.end(taker.node); ++near) {
      ways_[end] = ball_.place(*near);
      end += ways_[end] >= 0;
    }
    taker.ways_end = static_cast<int32_t>(end);
    ways_.resize(end);
  }

  // Who has something that a taker can have at once, -1 if nobody. Who has nothing never has again,
  // so nobody is looked at twice.
  int32_t spare(int32_t t) {
    Taker& taker = takers_[t];
    for (; taker.near < taker.near_end; ++taker.near) {
      if (has(ball_.beside(taker.near))) return ball_.beside(taker.near);
    }
    for (; taker.way < taker.ways_end; ++taker.way) {
      const int32_t way = ways_[taker.way];
      for (int32_t& k = way_[way].next; k < ball_.end(way); ++k) {
        if (has(ball_.beside(k))) return ball_.beside(k);
      }
    }
    return -1;
  }

  // Gives what can be given; returns how much.
  double give(int32_t giver, int32_t taker) {
    const double amount = std::min(givers_[giver].has, takers_[taker].wants);
    givers_[giver].has -= amount;
    takers_[taker].wants -= amount;
    gifts_.push_back({giver, taker,
                      std::exchange(givers_[giver].first_gift, static_cast<int32_t>(gifts_.size())),
                      amount});
    return amount;
  }

  // Finds for those who want what others can do without, until nobody finds any more; returns how
  // much. Then those are seen who would take more.
  double search() {
    double found = 0;
    for (int32_t t = 0; t < num_takers(); ++t) {
      while (wants(t) && !takers_[t].seen) {
        const int32_t giver = find_giver(t);
        if (giver < 0) break;
        found += hand_on(giver, t);
        forget();
      }
    }
    return found;
  }

  // Who could give to a taker as others hand on what they took from givers; -1 if nobody.
  int32_t find_giver(int32_t taker) {
    asking_.assign(1, taker);
    asked_.clear();
    passed_.clear();
    takers_[taker].seen = true;
    for (size_t k = 0; k < asking_.size(); ++k) {
      const int32_t giver = ask_all(asking_[k]);
      if (giver >= 0) return giver;
    }
    return -1;
  }

  int32_t ask_all(int32_t t) {
    const Taker& taker = takers_[t];
    int32_t giver = ask_range(taker.near_begin, taker.near_end, taker.scarce, t);
    for (int32_t k = taker.ways_begin; giver < 0 && k < taker.ways_end; ++k) {
      const int32_t way = ways_[k];
      if (std::exchange(way_[way].seen, true)) continue;
      passed_.push_back(way);
      giver = ask_range(ball_.begin(way), ball_.end(way), false, t);
    }
    return giver;
  }

  // Along edges who is scarce turns to its like, and who is not to its own: between the two an edge
  // saves no more than it costs others.
  int32_t ask_range(int32_t begin, int32_t end, bool scarce, int32_t t) {
    for (int32_t k = begin; k < end; ++k) {
      const int32_t beside = ball_.beside(k);
      if (givers_[beside].scarce != scarce) continue;
      const int32_t giver = ask(beside, t);
      if (giver >= 0) return giver;
    }
    return -1;
  }

  // Who could give to those that this giver gave to.
  int32_t ask(int32_t g, int32_t t) {
    Giver& giver = givers_[g];
    if (giver.seen) return -1;
    giver.seen = true;
    giver.asked_by = t;
    asked_.push_back(g);
    for (int32_t k = giver.first_gift; k >= 0; k = gifts_[k].next) {
      const int32_t other = gifts_[k].taker;
      if (takers_[other].seen || !(gifts_[k].amount > least_)) continue;
      takers_[other].seen = true;
      takers_[other].taken = k;
      asking_.push_back(other);
      const int32_t found = spare(other);
      if (found < 0) continue;
      givers_[found].asked_by = other;
      return found;
    }
    return -1;
  }

  // From the giver found to the taker that began the search; returns how much.
  double hand_on(int32_t giver, int32_t first) {
    double amount = std::min(givers_[giver].has, takers_[first].wants);
    for (int32_t t = givers_[giver].asked_by; t != first;) {
      const Gift& gift = gifts_[takers_[t].taken];
      amount = std::min(amount, gift.amount);
      t = givers_[gift.giver].asked_by;
    }
    givers_[giver].has -= amount;
    takers_[first].wants -= amount;
    for (int32_t g = giver, t;; g = gifts_[takers_[t].taken].giver) {
      t = givers_[g].asked_by;
      add_gift(g, t, amount);
      if (t == first) return amount;
      gifts_[takers_[t].taken].amount -= amount;
    }
  }

  void add_gift(int32_t g, int32_t taker, double amount) {
    int32_t* k = &givers_[g].first_gift;
    while (*k >= 0 && gifts_[*k].taker != taker) k = &gifts_[*k].next;
    if (*k >= 0) {
      gifts_[*k].amount += amount;
    } else {
      *k = static_cast<int32_t>(gifts_.size());
      gifts_.push_back({g, taker, -1, amount});
    }
  }

  void forget() {
    for (const int32_t t : asking_) takers_[t].seen = false;
    for (const int32_t g : asked_) givers_[g].seen = false;
    for (const int32_t way : passed_) way_[way].seen = false;
  }

  // Mass goes from u's neighbours to v's.
  void note(int32_t giver, int32_t taker, double amount, int64_t distance,
            std::vector<Move>& found) const {
    if (!(amount > least_)) return;
    const int64_t from = ball_.inner(giver).node, to = taker < 0 ? centre_ : takers_[taker].node;
    found.push_back({swapped_ ? to : from, swapped_ ? from : to, amount / scale_, distance});
  }

  const SimpleGraph& graph_;
  const double* mass_;
  Ball ball_;
  std::vector<Giver> givers_;
  std::vector<Taker> takers_;
  std::vector<Gift> gifts_;
  std::vector<int32_t> ways_;                     // places beside takers
  std::vector<Way> way_;                          // at every place
  std::vector<int32_t> asking_, asked_, passed_;  // seen in a search: takers, givers, ways
  int64_t centre_ = -1;
  bool swapped_ = false;
  double scale_ = 1, least_ = 0, total_ = 0, centre_wants_ = 0;
};

}  // namespace gnnlib
