// Several hops of every target, a row each, read from a table that holds several states of every
// node one below the other: a pair at hop k reads slot[k - first] * N + its source.
#include <tuple>

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

std::tuple<Tensor, Tensor> stack_hops(Tensor hop_ptr, Tensor col, int64_t num_hops, int64_t first,
                                      Tensor slot) {
  require_index(slot, "slot");
  const int64_t kept = slot.numel();
  require(1 <= first && 1 <= kept && first + kept - 1 <= num_hops, "the hops must lie in [1, ",
          num_hops, "], got ", kept, " from ", first, " on");
  const Csr pairs = view(hop_ptr, col, std::nullopt);
  require(pairs.num_rows % num_hops == 0, "`hop_ptr` must have ", num_hops, " rows a node");
  require_segments(pairs);
  const int64_t num_nodes = pairs.num_rows / num_hops;
  slot = torch::stable::contiguous(slot);
  const int64_t* state = slot.const_data_ptr<int64_t>();

  Tensor rowptr = torch::stable::empty({num_nodes * kept + 1}, ScalarType::Long, std::nullopt,
                                       hop_ptr.device());
  int64_t* const to = rowptr.mutable_data_ptr<int64_t>();
  to[0] = 0;
  for (int64_t i = 0; i < num_nodes; ++i) {
    const int64_t* from = pairs.rowptr + i * num_hops + first - 1;
    for (int64_t k = 0; k < kept; ++k) {
      to[i * kept + k + 1] = to[i * kept + k] + from[k + 1] - from[k];
    }
  }
  Tensor stacked = torch::stable::empty({to[num_nodes * kept]}, ScalarType::Long, std::nullopt,
                                        hop_ptr.device());
  int64_t* const source = stacked.mutable_data_ptr<int64_t>();
  parallel_ranges(num_nodes, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t k = 0; k < kept; ++k) {
        const int64_t* from = pairs.rowptr + i * num_hops + first - 1 + k;
        int64_t* at = source + to[i * kept + k];
        for (int64_t p = from[0]; p < from[1]; ++p) *at++ = state[k] * num_nodes + pairs.col[p];
      }
    }
  });
  return {rowptr, stacked};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("stack_hops", TORCH_BOX(&stack_hops)); }

}  // namespace gnnlib
