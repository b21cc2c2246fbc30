// Several hops of every target in one row, read from a table that holds several states of every
// node one below the other, and what each pair weighs in its hop: a pair at hop k reads
// slot[k - first] * N + its source.
#include <cmath>
#include <tuple>

#include "../checks.h"
#include "schedule.h"

namespace gnnlib {
namespace {

// What a sum over a hop is divided by, in the order of gnnlib/ops/_join_hops.py.
enum class Norm { None, Mean, Sym };

std::tuple<Tensor, Tensor, Tensor> join_hops(Tensor hop_ptr, Tensor col, int64_t num_hops,
                                             int64_t first, Tensor slot, int64_t norm, bool loops) {
  require_index(slot, "slot");
  const int64_t kept = slot.numel();
  require(1 <= first && 1 <= kept && first + kept - 1 <= num_hops, "the hops must lie in [1, ",
          num_hops, "], got ", kept, " from ", first, " on");
  require(0 <= norm && norm <= 2, "`norm` must be 0, 1 or 2, got ", norm);
  const Csr pairs = view(hop_ptr, col, std::nullopt);
  require(pairs.num_rows % num_hops == 0, "`hop_ptr` must have ", num_hops, " rows a node");
  require_segments(pairs);
  const int64_t num_nodes = pairs.num_rows / num_hops;
  slot = torch::stable::contiguous(slot);
  const int64_t* state = slot.const_data_ptr<int64_t>();
  const auto begin_of = [&](int64_t i) { return pairs.rowptr + i * num_hops + first - 1; };
  const int64_t own = loops ? 1 : 0;

  Tensor rowptr =
      torch::stable::empty({num_nodes + 1}, ScalarType::Long, std::nullopt, hop_ptr.device());
  int64_t* const to = rowptr.mutable_data_ptr<int64_t>();
  to[0] = 0;
  for (int64_t i = 0; i < num_nodes; ++i) {
    to[i + 1] = to[i] + begin_of(i)[kept] - begin_of(i)[0] + own * kept;
  }
  // Of every node and hop, what its pairs are multiplied by: once at a mean, at both ends else.
  std::vector<double> scale(norm == 0 ? 0 : num_nodes * kept);
  parallel_ranges(scale.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t* from = begin_of(r / kept) + r % kept;
      const double count = static_cast<double>(from[1] - from[0] + own);
      const double inverse = count > 0 ? 1 / count : 0;
      scale[r] = static_cast<Norm>(norm) == Norm::Sym ? std::sqrt(inverse) : inverse;
    }
  });

  const auto made = [&](ScalarType type, int64_t size) {
    return torch::stable::empty({size}, type, std::nullopt, hop_ptr.device());
  };
  Tensor joined = made(ScalarType::Long, to[num_nodes]);
  Tensor weight = made(ScalarType::Double, norm == 0 ? 0 : to[num_nodes]);
  int64_t* const source = joined.mutable_data_ptr<int64_t>();
  double* const weighs = weight.mutable_data_ptr<double>();
  parallel_ranges(num_nodes, 32, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t at = to[i];
      for (int64_t k = 0; k < kept; ++k) {
        const auto put = [&](int64_t j) {
          source[at] = state[k] * num_nodes + j;
          if (norm != 0) {
            const double other = static_cast<Norm>(norm) == Norm::Sym ? scale[j * kept + k] : 1;
            weighs[at] = scale[i * kept + k] * other;
          }
          ++at;
        };
        if (loops) put(i);
        const int64_t* from = begin_of(i) + k;
        for (int64_t p = from[0]; p < from[1]; ++p) put(pairs.col[p]);
      }
    }
  });
  return {rowptr, joined, weight};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, CPU, m) { m.impl("join_hops", TORCH_BOX(&join_hops)); }

}  // namespace gnnlib
