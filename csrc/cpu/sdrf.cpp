// Stochastic discrete Ricci flow (Topping et al., 2022, algorithm 1) on graphs side by side. The
// curvature of all edges is found once; a step then looks again at those edges only whose curvature
// it changes, and finds the least and the most curved in two tournaments.
#include <array>
#include <optional>
#include <tuple>

#include "balanced_forman.h"
#include "hash.h"
#include "schedule.h"
#include "tournament.h"

namespace gnnlib {
namespace {

// Edges whose curvatures are found before a thread takes the next.
constexpr int64_t kAtOnce = 1024;

struct Flow {
  int64_t first_step, last_step;
  double tau, removal_bound;
  bool remove_edges;
  int64_t seed;
};

struct Edge {
  int64_t u, v, curvature;
};

using Pair = std::pair<int64_t, int64_t>;

// Of several that are equal, the first in lexicographic order comes first, be they low or high.
struct Lowest {
  const std::vector<Edge>* edges;
  bool operator()(int64_t a, int64_t b) const {
    const Edge &x = (*edges)[a], &y = (*edges)[b];
    return std::tie(x.curvature, x.u, x.v) < std::tie(y.curvature, y.u, y.v);
  }
};

struct Highest {
  const std::vector<Edge>* edges;
  bool operator()(int64_t a, int64_t b) const {
    const Edge &x = (*edges)[a], &y = (*edges)[b];
    return std::tie(y.curvature, x.u, x.v) < std::tie(x.curvature, y.u, y.v);
  }
};

// Draws one of the pairs on offer in proportion to exp(tau * gain): the one with the largest
// tau * gain + Gumbel noise. The noise is the pair's own, so that the order of offers is any.
class Draw {
 public:
  struct Offer {
    int64_t u, v, gain;
    double luck;
  };

  Draw(const Flow& flow, int64_t step)
      : tau_(flow.tau),
        key_(mixed(mixed(static_cast<uint64_t>(flow.seed)) + static_cast<uint64_t>(step))) {}

  void offer(int64_t a, int64_t b, int64_t gain) {
    const int64_t u = std::min(a, b), v = std::max(a, b);
    const uint64_t bits = greedy() ? 0 : mixed(mixed(key_ + u) + v);
    const Offer offer{u, v, gain, unit(bits)};
    if (!best_ || better(offer, *best_)) best_ = offer;
  }

  const std::optional<Offer>& best() const { return best_; }

 private:
  bool greedy() const { return std::isinf(tau_); }

  bool better(const Offer& a, const Offer& b) const {
    if (a.gain == b.gain) {
      return a.luck != b.luck ? a.luck > b.luck : std::tie(a.u, a.v) < std::tie(b.u, b.v);
    }
    if (greedy()) return a.gain > b.gain;
    return tau_ * (static_cast<double>(a.gain - b.gain) / kPerUnit) > noise(b) - noise(a);
  }

  static double noise(const Offer& offer) { return -std::log(-std::log(offer.luck)); }

  double tau_;
  uint64_t key_;
  std::optional<Offer> best_;
};

// The pairs that the neighbours of an edge (u, v) leave unjoined, and how much more curvature the
// edge would have with each of them joined. A neighbour of both ends is nobody's opposite, and
// changes nothing.
class Candidates {
 public:
  Candidates(const DynamicGraph& graph, Surroundings& around, int64_t u, int64_t v)
      : graph_(graph), around_(around), u_(u), v_(v) {
    around.look_at(u, v);
    now_ = around.count();
    with_boxes_.resize(now_.busiest + 1);
    for (const int64_t end : {u, v}) {
      for (const Neighbour& near : graph.near(end)) with_boxes_[around.boxes(near.node)] += 1;
    }
    for (int64_t first = 0; first < 3; ++first) {
      for (int64_t busier = 0; busier < 2; ++busier) {
        Faces then = now_;
        then.boxes += first;
        then.busiest += busier;
        square_gain_[first][busier] = then.curvature() - now_.curvature();
      }
    }
  }

  // Calls f(x, y, gain), for each pair once.
  template <typename F>
  void each(const F& f) {
    for (const auto& [end, other] : {std::pair(u_, v_), std::pair(v_, u_)}) {
      for (const Neighbour& x : graph_.near(other)) {
        const Side side = around_.side(x.node);
        if (x.node != end && side != Side::Both) f(end, x.node, triangle_gain(x.node));
      }
    }
    for (const Neighbour& x : graph_.near(u_)) {
      if (x.node != v_) each_beyond(x.node, f);
    }
  }

 private:
  // Those of a neighbour of u and all neighbours of v.
  template <typename F>
  void each_beyond(int64_t x, const F& f) const {
    auto joined = graph_.near(x).begin();
    const auto end = graph_.near(x).end();
    for (const Neighbour& y : graph_.near(v_)) {
      while (joined != end && joined->node < y.node) ++joined;
      if (y.node == u_ || (joined != end && joined->node == y.node)) continue;
      const bool x_both = around_.side(x) == Side::Both;
      const bool y_both = around_.side(y.node) == Side::Both;
      if (x_both && y_both && y.node <= x) continue;  // itself, or a pair that comes twice
      f(x, y.node, x_both || y_both ? 0 : square_gain(x, y.node));
    }
  }

  // With another 4-cycle.
  int64_t square_gain(int64_t x, int64_t y) const {
    const int64_t a = around_.boxes(x), b = around_.boxes(y);
    return square_gain_[(a == 0) + (b == 0)][std::max(a, b) + 1 > now_.busiest];
  }

  // With another triangle: x becomes a neighbour of both ends, and its 4-cycles get a diagonal.
  int64_t triangle_gain(int64_t x) {
    const Side own = around_.side(x), far = own == Side::U ? Side::V : Side::U;
    Faces then = now_;
    ++(own == Side::U ? then.degree_v : then.degree_u);
    ++then.triangles;
    then.boxes -= around_.boxes(x) > 0;
    with_boxes_[around_.boxes(x)] -= 1;
    const auto each_opposite = [&](const auto& f) {
      for (const Neighbour& y : graph_.near(x)) {
        if (around_.side(y.node) == far) f(around_.boxes(y.node));
      }
    };
    each_opposite([&](int64_t boxes) {
      then.boxes -= boxes == 1;
      with_boxes_[boxes] -= 1;
      with_boxes_[boxes - 1] += 1;
    });
    while (then.busiest > 0 && with_boxes_[then.busiest] == 0) --then.busiest;
    each_opposite([&](int64_t boxes) {
      with_boxes_[boxes] += 1;
      with_boxes_[boxes - 1] -= 1;
    });
    with_boxes_[around_.boxes(x)] += 1;
    return then.curvature() - now_.curvature();
  }

  const DynamicGraph& graph_;
  const Surroundings& around_;
  int64_t u_, v_;
  Faces now_;
  std::vector<int64_t> with_boxes_;                    // how many neighbours have so many 4-cycles
  std::array<std::array<int64_t, 2>, 3> square_gain_;  // by new boxes, and whether one is busier
};

// One graph.
class Rewired {
 public:
  Rewired(const SimpleGraph& graph, int64_t first, int64_t last)
      : graph_(graph, first, last), around_(graph_), lowest_({&edges_}), highest_({&edges_}) {
    edges_.reserve(graph_.num_edges());
    graph_.each_edge([&](int64_t u, int64_t v, int64_t) { edges_.push_back({u, v, 0}); });
    curve_all();
    lowest_.enter_all(graph_.num_edges());
    highest_.enter_all(graph_.num_edges());
  }
  Rewired(const Rewired&) = delete;

  void run(const Flow& flow) {
    for (int64_t step = flow.first_step; step < flow.last_step; ++step) {
      const std::optional<Pair> added = add(Draw(flow, step));
      const std::optional<Pair> removed =
          flow.remove_edges ? remove(flow.removal_bound) : std::nullopt;
      // Without a draw every later step would be as one that changed nothing.
      if (added == removed && (!added || std::isinf(flow.tau))) return;
    }
  }

  const DynamicGraph& graph() const { return graph_; }

 private:
  void curve_all() {
    const int64_t n = (graph_.num_edges() + kAtOnce - 1) / kAtOnce;
    std::atomic<int64_t> next{0};
    on_all_threads(n, [&] {
      Surroundings around(graph_);
      for (int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
        const int64_t end = std::min((k + 1) * kAtOnce, graph_.num_edges());
        for (int64_t e = k * kAtOnce; e < end; ++e) {
          around.look_at(edges_[e].u, edges_[e].v);
          edges_[e].curvature = around.count().curvature();
        }
      }
    });
  }

  std::optional<Pair> add(Draw draw) {
    if (lowest_.winner() == kNobody) return std::nullopt;
    const Edge& edge = edges_[lowest_.winner()];
    Candidates(graph_, around_, edge.u, edge.v).each([&](int64_t x, int64_t y, int64_t gain) {
      draw.offer(x, y, gain);
    });
    if (!draw.best()) return std::nullopt;
    const auto [u, v, gain, luck] = *draw.best();
    const int64_t added = free_number();
    graph_.insert(u, v, added);
    edges_[added] = {u, v, 0};
    lowest_.enter(added);
    highest_.enter(added);
    curve_around(u, v);
    return Pair(u, v);
  }

  std::optional<Pair> remove(double bound) {
    const int64_t removed = highest_.winner();
    if (removed == kNobody) return std::nullopt;
    const auto [u, v, curvature] = edges_[removed];
    if (!(static_cast<double>(curvature) > bound * kPerUnit)) return std::nullopt;
    graph_.erase(u, v);
    lowest_.leave(removed);
    highest_.leave(removed);
    free_.push_back(removed);
    curve_around(u, v);
    return Pair(u, v);
  }

  int64_t free_number() {
    if (free_.empty()) {
      edges_.emplace_back();
      return static_cast<int64_t>(edges_.size()) - 1;
    }
    const int64_t number = free_.back();
    free_.pop_back();
    return number;
  }

  // The edge (u, v) came or went.
  void curve_around(int64_t u, int64_t v) {
    opposite_.clear();
    around_.look_at(u, v);
    around_.each_opposite([&](int64_t x, int64_t y, int64_t e) { opposite_.push_back({x, y, e}); });
    for (const auto& [x, y, edge] : opposite_) curve(x, y, edge);
    for (const int64_t end : {u, v}) {
      for (const Neighbour& near : graph_.near(end)) curve(end, near.node, near.edge);
    }
  }

  void curve(int64_t u, int64_t v, int64_t edge) {
    around_.look_at(u, v);
    const int64_t curvature = around_.count().curvature();
    if (curvature == edges_[edge].curvature) return;
    edges_[edge].curvature = curvature;
    lowest_.enter(edge);
    highest_.enter(edge);
  }

  DynamicGraph graph_;
  Surroundings around_;
  std::vector<Edge> edges_;    // by number
  std::vector<int64_t> free_;  // numbers that no edge has any more
  std::vector<std::array<int64_t, 3>> opposite_;
  Tournament<Lowest> lowest_;
  Tournament<Highest> highest_;
};

// ends [2, M] of the graphs as they are after some steps of the flow, in lexicographic order.
Tensor sdrf(Tensor rowptr, Tensor col, Tensor ptr, int64_t first_step, int64_t last_step,
            double tau, double removal_bound, bool remove_edges, int64_t seed) {
  const SimpleGraph graph(rowptr, col);
  DynamicGraph::require_fits(graph.num_nodes, col.numel() / 2);
  const int64_t* starts = index_data(ptr, "ptr");
  const int64_t num_graphs = ptr.numel() - 1;
  require(num_graphs >= 0 && starts[0] == 0 && starts[num_graphs] == graph.num_nodes,
          "`ptr` must go from 0 to the number of nodes, ", graph.num_nodes);
  const Flow flow{first_step, last_step, tau, removal_bound, remove_edges, seed};
  std::vector<std::vector<std::pair<int64_t, int64_t>>> found(num_graphs);
  parallel_chunks(num_graphs, true, [&](int64_t k) {
    Rewired rewired(graph, starts[k], starts[k + 1]);
    rewired.run(flow);
    found[k].reserve(rewired.graph().num_edges());
    rewired.graph().each_edge([&](int64_t u, int64_t v, int64_t) {
      found[k].emplace_back(starts[k] + u, starts[k] + v);
    });
  });
  int64_t total = 0;
  for (const auto& ends : found) total += static_cast<int64_t>(ends.size());
  Tensor out = torch::stable::empty({2, total}, ScalarType::Long, std::nullopt, rowptr.device());
  int64_t* to = out.mutable_data_ptr<int64_t>();
  for (const auto& ends : found) {
    for (const auto& [u, v] : ends) {
      to[total] = v;
      *to++ = u;
    }
  }
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("sdrf", TORCH_BOX(&sdrf)); }

}  // namespace gnnlib
