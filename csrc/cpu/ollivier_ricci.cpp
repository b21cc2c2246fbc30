// Ollivier-Ricci curvature of edges: 1 less what it takes to move the walk of one end to the
// other's.
#include <numeric>
#include <tuple>

#include "schedule.h"
#include "transport.h"

namespace gnnlib {
namespace {

// Edges that a thread takes at once.
constexpr int64_t kEdges = 16;

// Edges by centre, so that what is around it is looked up once for all of them.
std::vector<int64_t> by_centre(const SimpleGraph& graph, const int64_t* u, const int64_t* v,
                               int64_t n) {
  std::vector<int64_t> centre(n), order(n);
  for (int64_t k = 0; k < n; ++k) centre[k] = Transport::centre(graph, u[k], v[k]);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return std::tie(centre[a], a) < std::tie(centre[b], b); });
  return order;
}

// Calls f(transport, u, v, k) for every edge, on all threads.
template <typename F>
void each_edge(const Tensor& rowptr, const Tensor& col, const OptionalTensor& mass,
               const Tensor& source, const Tensor& target, const F& f) {
  const SimpleGraph graph(rowptr, col);
  require(!mass || mass->scalar_type() == ScalarType::Double, "`mass` must be float64");
  require(!mass || (mass->numel() == col.numel() && mass->is_contiguous()),
          "`mass` must be contiguous, with one value per entry of `col`");
  const double* const weight = mass ? mass->const_data_ptr<double>() : nullptr;
  const int64_t* const u = index_data(source, "source");
  const int64_t* const v = index_data(target, "target");
  const int64_t n = source.numel();
  require(target.numel() == n, "`source` and `target` must be of one length");
  require_in_range(u, n, graph.num_nodes);
  require_in_range(v, n, graph.num_nodes);
  const std::vector<int64_t> order = by_centre(graph, u, v, n);
  FirstBad apart;
  std::atomic<int64_t> next{0};
  on_all_threads((n + kEdges - 1) / kEdges, [&] {
    Transport transport(graph, weight);
    for (int64_t begin; (begin = next.fetch_add(kEdges, std::memory_order_relaxed)) < n;) {
      for (int64_t i = begin; i < std::min(begin + kEdges, n); ++i) {
        const int64_t k = order[i];
        if (!graph.joins(u[k], v[k])) {
          apart.see(k);
        } else {
          f(transport, u[k], v[k], k);
        }
      }
    }
  });
  require(!apart.seen(), "`source` and `target` must be joined by an edge, but ",
          apart.seen() ? u[apart.at()] : 0, " and ", apart.seen() ? v[apart.at()] : 0, " are not");
}

Tensor ollivier_ricci(Tensor rowptr, Tensor col, OptionalTensor mass, Tensor source, Tensor target,
                      double alpha) {
  Tensor out =
      torch::stable::empty({source.numel()}, ScalarType::Double, std::nullopt, source.device());
  double* const value = out.mutable_data_ptr<double>();
  each_edge(rowptr, col, mass, source, target,
            [&](Transport& transport, int64_t u, int64_t v, int64_t k) {
              value[k] = 1 - transport.work(u, v, alpha);
            });
  return out;
}

// ptr [K + 1], pairs [2, P], amount [P], distance [P]: the moves of edge k begin at ptr[k].
std::tuple<Tensor, Tensor, Tensor, Tensor> transport_plans(Tensor rowptr, Tensor col,
                                                           OptionalTensor mass, Tensor source,
                                                           Tensor target, double alpha) {
  const int64_t n = source.numel();
  std::vector<std::vector<Move>> plans(n);
  each_edge(rowptr, col, mass, source, target,
            [&](Transport& transport, int64_t u, int64_t v, int64_t k) {
              transport.work(u, v, alpha);
              transport.moves(plans[k]);
            });
  const auto empty = [&](std::initializer_list<int64_t> shape, ScalarType type) {
    return torch::stable::empty(shape, type, std::nullopt, source.device());
  };
  Tensor ptr = empty({n + 1}, ScalarType::Long);
  int64_t* const begin = ptr.mutable_data_ptr<int64_t>();
  begin[0] = 0;
  for (int64_t k = 0; k < n; ++k) begin[k + 1] = begin[k] + static_cast<int64_t>(plans[k].size());
  const int64_t total = begin[n];
  Tensor pairs = empty({2, total}, ScalarType::Long);
  Tensor amount = empty({total}, ScalarType::Double);
  Tensor distance = empty({total}, ScalarType::Long);
  int64_t* const from = pairs.mutable_data_ptr<int64_t>();
  int64_t* const far = distance.mutable_data_ptr<int64_t>();
  double* const much = amount.mutable_data_ptr<double>();
  int64_t p = 0;
  for (const std::vector<Move>& plan : plans) {
    for (const Move& move : plan) {
      from[p] = move.from;
      from[total + p] = move.to;
      much[p] = move.amount;
      far[p++] = move.distance;
    }
  }
  return {ptr, pairs, amount, distance};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("ollivier_ricci", TORCH_BOX(&ollivier_ricci));
  m.impl("transport_plans", TORCH_BOX(&transport_plans));
}

}  // namespace gnnlib
