// A balanced binary tree over every group: in each round neighbours (2j, 2j + 1) of a group are a
// pair, and one left over is carried to the next round, as its last. All places are those in a
// round's list of elements: first what the pairs of the round before became, then what it carried.
#include <numeric>
#include <tuple>

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

using Plan = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensor copied(const std::vector<int64_t>& values, const Tensor& like) {
  const int64_t size = static_cast<int64_t>(values.size());
  Tensor out = torch::stable::empty({size}, ScalarType::Long, std::nullopt, like.device());
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

// pairs [2P], carried [C], finished [R] (the only element left of a group), group [R] (which), and
// for every round where its part of the three begins, [L + 1, 3] in one list.
Plan tree_plan(Tensor ptr, int64_t size) {
  const Csr graph = view(ptr, std::nullopt, std::nullopt, size);
  require_segments(graph);
  std::vector<int64_t> element(graph.num_edges);  // a group's places, from where the group begins
  std::iota(element.begin(), element.end(), 0);
  std::vector<int64_t> pairs, carried, finished, group, rounds, groups, left;
  pairs.reserve(2 * graph.num_edges);
  for (int64_t i = 0; i < graph.num_rows; ++i) {
    if (graph.rowptr[i] < graph.rowptr[i + 1]) groups.push_back(i);
  }
  for (const int64_t i : groups) left.push_back(graph.rowptr[i + 1] - graph.rowptr[i]);
  while (!groups.empty()) {
    for (const auto* list : {&pairs, &carried, &finished}) {
      rounds.push_back(static_cast<int64_t>(list->size()));
    }
    int64_t num_pairs = 0, num_carried = 0, kept = 0;
    for (const int64_t count : left) num_pairs += count / 2;
    for (size_t g = 0; g < groups.size(); ++g) {
      int64_t* const own = element.data() + graph.rowptr[groups[g]];
      const int64_t count = left[g];
      if (count == 1) {
        finished.push_back(own[0]);
        group.push_back(groups[g]);
        continue;
      }
      pairs.insert(pairs.end(), own, own + count / 2 * 2);
      const int64_t before = static_cast<int64_t>(pairs.size() - rounds[rounds.size() - 3]) / 2;
      for (int64_t j = 0; j < count / 2; ++j) own[j] = before - count / 2 + j;
      if (count % 2 == 1) {
        carried.push_back(own[count - 1]);
        own[count / 2] = num_pairs + num_carried++;
      }
      groups[kept] = groups[g];
      left[kept++] = (count + 1) / 2;
    }
    groups.resize(kept);
    left.resize(kept);
  }
  for (const auto* list : {&pairs, &carried, &finished}) {
    rounds.push_back(static_cast<int64_t>(list->size()));
  }
  return {copied(pairs, ptr), copied(carried, ptr), copied(finished, ptr), copied(group, ptr),
          copied(rounds, ptr)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("tree_plan", TORCH_BOX(&tree_plan)); }

}  // namespace gnnlib
