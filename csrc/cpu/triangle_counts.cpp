// How many triangles each of some pairs of nodes closes: its common neighbours. Those of the end
// with more neighbours are marked once for all of its pairs, and those of the other end looked up,
// so that all edges together take O(M a), with a the arboricity (Chiba and Nishizeki, 1985).
#include "anchored.h"

namespace gnnlib {
namespace {

class Triangles {
 public:
  Triangles(const SimpleGraph& graph, int64_t* counts)
      : graph_(graph), counts_(counts), near_(graph.num_nodes) {}

  void operator()(const Anchored* begin, const Anchored* end) {
    near_.clear();
    for (const int64_t node : neighbours(graph_, begin->anchor)) near_.add(node);
    for (const Anchored* pair = begin; pair < end; ++pair) {
      int64_t count = 0;
      for (const int64_t node : neighbours(graph_, pair->far)) count += near_.has(node);
      counts_[pair->at] = count;
    }
  }

 private:
  const SimpleGraph& graph_;
  int64_t* counts_;
  NodeSet near_;
};

Tensor triangle_counts(Tensor rowptr, Tensor col, Tensor source, Tensor target) {
  const SimpleGraph graph(rowptr, col);
  const Pairs pairs(graph, source, target);
  std::vector<Anchored> anchored(pairs.count);
  for (int64_t k = 0; k < pairs.count; ++k) {
    int64_t anchor = pairs.source[k], far = pairs.target[k];
    if (graph.degree(anchor) < graph.degree(far)) std::swap(anchor, far);
    anchored[k] = {anchor, far, k};
  }
  Tensor out = torch::stable::empty({pairs.count}, ScalarType::Long, std::nullopt, rowptr.device());
  int64_t* const counts = out.mutable_data_ptr<int64_t>();
  each_anchor<Triangles>(std::move(anchored), [&] { return Triangles(graph, counts); });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) {
  m.impl("triangle_counts", TORCH_BOX(&triangle_counts));
}

}  // namespace gnnlib
