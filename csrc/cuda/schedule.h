// What the sources in ops/ ask of indices. The host cannot look at those on a GPU without waiting
// for it, so it does only where GNNLIB_CHECK=1 asks for that.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdlib>
#include <string_view>

#include "launch.h"

namespace gnnlib {

using torch::headeronly::DeviceType;

// Whether every element is known to be in some segment, without a look at what only the GPU can
// see.
inline bool covers(const Csr&, int64_t size) { return size == 0; }

inline bool checks_indices() {
  const char* wanted = std::getenv("GNNLIB_CHECK");
  return wanted && std::string_view(wanted) == "1";
}

inline Tensor on_host(const Tensor& t) {
  return torch::stable::to(t, torch::stable::Device(DeviceType::CPU));
}

inline void check_groups(const Tensor& index, int64_t size) {
  if (!checks_indices()) return;
  require_groups(on_host(index).const_data_ptr<int64_t>(), index.numel(), size);
}

inline void check_segments(Csr graph, const Tensor& ptr) {
  if (!checks_indices()) return;
  const Tensor copy = on_host(ptr);
  graph.rowptr = copy.const_data_ptr<int64_t>();
  require_segments(graph);
}

}  // namespace gnnlib
