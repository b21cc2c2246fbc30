// First-order spectral rewiring (FoSR; Karhadkar, Banerjee and Montufar, 2023): edge after edge
// between the two nodes that the second eigenvector of D^-1/2 A D^-1/2 sets furthest apart. The
// vector is kept up to date by one power step an edge; the two nodes are found among sorted ones.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "schedule.h"
#include "simple_graph.h"

namespace gnnlib {
namespace {

// Graphs with more nodes and neighbours than this get all threads, smaller ones one each.
constexpr int64_t kLarge = int64_t{1} << 16;
// Positions are compared as whole numbers, of which the largest is this: products are exact.
constexpr double kGrid = 0x1p30;

using Pair = std::pair<int64_t, int64_t>;

// Nodes [first, last) of a graph and the edges that were added to it. Nodes count from `first`.
class Growing {
 public:
  Growing(const SimpleGraph& graph, int64_t first, int64_t last)
      : graph_(graph), first_(first), size_(last - first) {}

  int64_t size() const { return size_; }
  int64_t num_neighbours() const { return graph_.rowptr[first_ + size_] - graph_.rowptr[first_]; }
  int64_t degree(int64_t u) const { return graph_.degree(first_ + u); }  // without added edges
  const std::vector<Pair>& added() const { return added_; }

  void add(const Pair& edge) {
    added_.push_back(edge);
    known_.insert(key(edge));
  }

  bool joins(int64_t u, int64_t v) const {
    if (degree(u) > degree(v)) std::swap(u, v);
    return graph_.joins(first_ + u, first_ + v) || known_.contains(key(std::minmax(u, v)));
  }

  // Over the neighbours that a node had from the start.
  double sum(int64_t u, const double* x) const {
    double total = 0;
    for (const int64_t* v = graph_.begin(first_ + u); v < graph_.end(first_ + u); ++v) {
      total += x[*v - first_];
    }
    return total;
  }

 private:
  uint64_t key(const Pair& edge) const {
    return static_cast<uint64_t>(edge.first) * size_ + edge.second;
  }

  const SimpleGraph& graph_;
  int64_t first_, size_;
  std::vector<Pair> added_;
  std::unordered_set<uint64_t> known_;
};

// The second eigenvector, as good as power steps have made it.
class Eigenvector {
 public:
  Eigenvector(const Growing& graph, const double* start)
      : graph_(graph),
        x_(start, start + graph.size()),
        scaled_(graph.size()),
        degree_(graph.size()),
        root_(graph.size()),
        total_degree_(static_cast<double>(graph.num_neighbours())) {
    for (int64_t u = 0; u < graph.size(); ++u) set_degree(u, static_cast<double>(graph.degree(u)));
  }

  // The graph has got an edge more.
  void note(const Pair& edge) {
    for (const int64_t u : {edge.first, edge.second}) set_degree(u, degree_[u] + 1);
    total_degree_ += 2;
  }

  // x <- x - <x, sqrt(d)> sqrt(d) / 2m, then x <- x + D^-1/2 A D^-1/2 x, normalised. At an isolated
  // node the matrix has 1. Every row is summed by one thread, so that the bits do not depend on how
  // many there are.
  void step() {
    const size_t n = x_.size();
    const double share = dot(x_, root_) / std::max(total_degree_, 1.0);
    for (size_t u = 0; u < n; ++u) {
      x_[u] -= share * root_[u];
      scaled_[u] = degree_[u] == 0 ? 0 : x_[u] / root_[u];
    }
    const int64_t width = 1 + graph_.num_neighbours() / std::max<int64_t>(graph_.size(), 1);
    parallel_ranges(graph_.size(), width, [&](int64_t begin, int64_t end) {
      for (int64_t u = begin; u < end; ++u) {
        x_[u] += degree_[u] == 0 ? x_[u] : graph_.sum(u, scaled_.data()) / root_[u];
      }
    });
    for (const auto& [u, v] : graph_.added()) {
      x_[u] += scaled_[v] / root_[u];
      x_[v] += scaled_[u] / root_[v];
    }
    const double norm = std::max(std::sqrt(dot(x_, x_)), DBL_MIN);
    for (double& value : x_) value /= norm;
  }

  // x / sqrt(d + 1) of every node, on the grid; with the node, so that they sort by both.
  void positions(std::vector<uint64_t>& to) {
    double largest = DBL_MIN;
    for (size_t u = 0; u < x_.size(); ++u) {
      scaled_[u] = x_[u] / std::sqrt(degree_[u] + 1);
      largest = std::max(largest, std::abs(scaled_[u]));
    }
    for (size_t u = 0; u < x_.size(); ++u) {
      const double place = std::nearbyint(scaled_[u] / largest * kGrid);
      to[u] = static_cast<uint64_t>(place + kGrid) << 32 | u;
    }
  }

 private:
  void set_degree(int64_t u, double degree) {
    degree_[u] = degree;
    root_[u] = std::sqrt(degree);
  }

  static double dot(const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  }

  const Growing& graph_;
  std::vector<double> x_, scaled_, degree_, root_;
  double total_degree_;
};

// Nodes in one place, in ascending order.
using Group = std::span<const uint64_t>;

int64_t node(uint64_t entry) { return static_cast<int64_t>(entry & 0xffffffff); }
int64_t place(uint64_t entry) { return static_cast<int64_t>(entry >> 32) - int64_t{1 << 30}; }

// The smallest pair, of a node of each group, that no edge joins.
std::optional<Pair> first_apart(const Growing& graph, Group a, Group b) {
  const bool same = a.data() == b.data();
  while (!a.empty() && !b.empty()) {
    if (node(b.front()) < node(a.front())) std::swap(a, b);
    const int64_t u = node(a.front());
    if (same) b = b.subspan(1);
    for (const uint64_t entry : b) {
      if (!graph.joins(u, node(entry))) return Pair{u, node(entry)};
    }
    a = a.subspan(1);
  }
  return std::nullopt;
}

// Finds the pair without an edge whose places have the smallest product, and of several the
// smallest. Nodes are grouped by place; the groups that each may go with, itself and those after
// it, are taken from the end that gives the smallest products, best first over all groups.
class Search {
 public:
  explicit Search(const Growing& graph) : graph_(graph), nodes_(graph.size()) {}

  std::optional<Pair> furthest(Eigenvector& vector) {
    vector.positions(nodes_);
    std::sort(nodes_.begin(), nodes_.end());
    group();
    std::optional<Pair> best;
    int64_t least = 0;
    while (!candidates_.empty() && !(best && candidates_.front().product > least)) {
      const Candidate next = pop();
      const auto found = first_apart(graph_, groups_[next.a], groups_[next.b]);
      if (found && !(best && *best < *found)) {
        best = found;
        least = next.product;
      }
    }
    return best;
  }

 private:
  struct Candidate {
    int64_t product, a, b;
    bool operator<(const Candidate& other) const { return product > other.product; }  // heap's top
  };

  void group() {
    groups_.clear();
    for (size_t begin = 0, end; begin < nodes_.size(); begin = end) {
      for (end = begin; end < nodes_.size() && nodes_[end] >> 32 == nodes_[begin] >> 32;) ++end;
      groups_.emplace_back(nodes_.data() + begin, end - begin);
    }
    const int64_t last = static_cast<int64_t>(groups_.size()) - 1;
    candidates_.clear();
    for (int64_t a = 0; a <= last; ++a) candidates_.push_back(of(a, at(a) < 0 ? last : a));
    std::make_heap(candidates_.begin(), candidates_.end());
  }

  int64_t at(int64_t group) const { return place(groups_[group].front()); }
  Candidate of(int64_t a, int64_t b) const { return {at(a) * at(b), a, b}; }

  // Takes the best, and puts the same group with its next in its stead.
  Candidate pop() {
    std::pop_heap(candidates_.begin(), candidates_.end());
    const Candidate top = candidates_.back();
    candidates_.pop_back();
    const int64_t next = at(top.a) < 0 ? top.b - 1 : top.b + 1;
    if (next >= top.a && next < static_cast<int64_t>(groups_.size())) {
      candidates_.push_back(of(top.a, next));
      std::push_heap(candidates_.begin(), candidates_.end());
    }
    return top;
  }

  const Growing& graph_;
  std::vector<uint64_t> nodes_;
  std::vector<Group> groups_;
  std::vector<Candidate> candidates_;
};

std::vector<Pair> rewired(const SimpleGraph& whole, int64_t first, int64_t last,
                          const double* start, int64_t num_edges, int64_t power_iters) {
  Growing graph(whole, first, last);
  if (graph.num_neighbours() == 0) return {};  // all that the vector has is what was drawn
  Eigenvector vector(graph, start + first);
  Search search(graph);
  for (int64_t k = 0; k < power_iters; ++k) vector.step();
  for (int64_t k = 0; k < num_edges; ++k) {
    const std::optional<Pair> edge = search.furthest(vector);
    if (!edge) break;
    graph.add(*edge);
    vector.note(*edge);
    vector.step();
  }
  return graph.added();
}

// added [2, K]: at most num_edges of every graph, the smaller end first, in the order they came.
// ptr [G + 1]: where each graph's nodes begin; start [N]: where the power steps begin.
Tensor fosr(Tensor rowptr, Tensor col, Tensor ptr, Tensor start, int64_t num_edges,
            int64_t power_iters) {
  const SimpleGraph graph(rowptr, col);
  const int64_t* const begin = index_data(ptr, "ptr");
  require(start.scalar_type() == ScalarType::Double && start.is_contiguous() &&
              start.numel() == graph.num_nodes,
          "`start` must hold a contiguous double for every node");
  require(graph.num_nodes < int64_t{1} << 32, "a graph must have fewer than 2^32 nodes");
  const int64_t num_graphs = ptr.numel() - 1;
  std::vector<std::vector<Pair>> found(num_graphs);
  const auto is_large = [&](int64_t g) {
    const int64_t first = begin[g], last = begin[g + 1];
    return last - first + graph.rowptr[last] - graph.rowptr[first] > kLarge;
  };
  const auto rewire = [&](int64_t g) {
    found[g] = rewired(graph, begin[g], begin[g + 1], start.const_data_ptr<double>(), num_edges,
                       power_iters);
  };
  parallel_chunks(num_graphs, true, [&](int64_t g) {
    if (!is_large(g)) rewire(g);
  });
  for (int64_t g = 0; g < num_graphs; ++g) {
    if (is_large(g)) rewire(g);
  }
  int64_t total = 0;
  for (const auto& edges : found) total += static_cast<int64_t>(edges.size());
  Tensor added = torch::stable::empty({2, total}, ScalarType::Long, std::nullopt, rowptr.device());
  int64_t* to = added.mutable_data_ptr<int64_t>();
  for (int64_t g = 0; g < num_graphs; ++g) {
    for (const auto& [u, v] : found[g]) {
      to[0] = begin[g] + u;
      to[total] = begin[g] + v;
      ++to;
    }
  }
  return added;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("fosr", TORCH_BOX(&fosr)); }

}  // namespace gnnlib
