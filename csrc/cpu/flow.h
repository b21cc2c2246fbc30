// Maximal flows by Dinic's algorithm (1970), from all vertices that have something to all that want
// it. A flow is kept when arcs are added.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace gnnlib {

class Flow {
 public:
  // Less than `least` is nothing.
  void clear(double least) {
    least_ = least;
    arcs_.clear();
    first_.clear();
    left_.clear();
  }

  // `left` is what it has if positive, what it wants if negative.
  int32_t add_vertex(double left) {
    first_.push_back(-1);
    left_.push_back(left);
    return num_vertices() - 1;
  }

  // Arcs come in pairs: `arc` as it was added, `arc ^ 1` back, with as much room as there is flow.
  int32_t add_arc(int32_t from, int32_t to) {
    const int32_t arc = num_arcs();
    arcs_.push_back({to, first_[from], std::numeric_limits<double>::infinity()});
    arcs_.push_back({from, first_[to], 0});
    first_[from] = arc;
    first_[to] = arc + 1;
    return arc;
  }
  void close(int32_t arc) { arcs_[arc].room = 0; }

  // Sends from the tail of the first of some arcs to the head of the last; returns how much.
  template <typename Path>
  double send_over(const Path& path) {
    double& has = left_[tail(*path.begin())];
    double& wants = left_[head(*(path.end() - 1))];
    double amount = std::min(has, -wants);
    if (!(amount > least_)) return 0;
    for (const int32_t arc : path) amount = std::min(amount, arcs_[arc].room);
    for (const int32_t arc : path) {
      arcs_[arc].room -= amount;
      arcs_[arc ^ 1].room += amount;
    }
    has -= amount;
    wants += amount;
    return amount;
  }

  // Sends all that can be sent, and returns how much. expand(vertex) is called before the arcs of a
  // vertex are followed, and may add some, and vertices that they lead to.
  template <typename F>
  double run(const F& expand) {
    double total = 0;
    while (find_levels(expand)) {
      cursor_ = first_;
      for (const int32_t vertex : starts_) {
        for (double sent = 1; sent > 0 && has(vertex); total += sent) sent = send(vertex);
      }
    }
    return total;
  }

  // Whether more could come from a vertex, if somebody wanted it; known after a run.
  bool reached(int32_t vertex) const { return level_[vertex] >= 0; }
  double left(int32_t vertex) const { return left_[vertex]; }
  bool has(int32_t vertex) const { return left_[vertex] > least_; }
  bool wants(int32_t vertex) const { return left_[vertex] < -least_; }
  double on(int32_t arc) const { return arcs_[arc ^ 1].room; }
  int32_t tail(int32_t arc) const { return arcs_[arc ^ 1].to; }
  int32_t head(int32_t arc) const { return arcs_[arc].to; }
  // The arcs that leave a vertex, the latest first, those back among them; -1 ends them.
  int32_t first(int32_t vertex) const { return first_[vertex]; }
  int32_t next(int32_t arc) const { return arcs_[arc].next; }
  int32_t num_vertices() const { return static_cast<int32_t>(left_.size()); }
  int32_t num_arcs() const { return static_cast<int32_t>(arcs_.size()); }

 private:
  struct Arc {
    int32_t to, next;
    double room;
  };

  // How far every vertex is from one that has, up to the nearest that wants; whether there is one.
  template <typename F>
  bool find_levels(const F& expand) {
    level_.assign(left_.size(), -1);
    starts_.clear();
    for (int32_t vertex = 0; vertex < num_vertices(); ++vertex) {
      if (!has(vertex)) continue;
      level_[vertex] = 0;
      starts_.push_back(vertex);
    }
    queue_ = starts_;
    int32_t nearest = std::numeric_limits<int32_t>::max();
    for (size_t k = 0; k < queue_.size(); ++k) {
      const int32_t vertex = queue_[k], level = level_[vertex] + 1;
      if (level > nearest) break;
      expand(vertex);
      level_.resize(left_.size(), -1);
      for (int32_t a = first_[vertex]; a >= 0; a = arcs_[a].next) {
        const int32_t to = arcs_[a].to;
        if (level_[to] >= 0 || !(arcs_[a].room > least_)) continue;
        level_[to] = level;
        queue_.push_back(to);
        if (wants(to)) nearest = level;
      }
    }
    return nearest < std::numeric_limits<int32_t>::max();
  }

  // Sends along one path down the levels; returns how much.
  double send(int32_t from) {
    path_.clear();
    int32_t vertex = from;
    while (!wants(vertex)) {
      int32_t& a = cursor_[vertex];
      while (a >= 0 && (level_[arcs_[a].to] != level_[vertex] + 1 || !(arcs_[a].room > least_))) {
        a = arcs_[a].next;
      }
      if (a >= 0) {
        path_.push_back(a);
        vertex = arcs_[a].to;
      } else if (path_.empty()) {
        return 0;
      } else {
        vertex = tail(path_.back());
        cursor_[vertex] = arcs_[path_.back()].next;
        path_.pop_back();
      }
    }
    return send_over(path_);
  }

  std::vector<Arc> arcs_;
  std::vector<double> left_;
  std::vector<int32_t> first_, cursor_, level_, queue_, starts_, path_;
  double least_ = 0;
};

}  // namespace gnnlib
