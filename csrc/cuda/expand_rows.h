// A segment's row to each of its elements, as it is: any dtype.
#pragma once

#include "each_edge.h"

namespace gnnlib::GNNLIB_ISA {

template <typename bits_t>
struct ExpandRows {
  using value_t = bits_t;
  using acc_t = bits_t;

  Csr graph;
  int64_t width;
  const bits_t* from;
  bits_t* to;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t e, int64_t f) const {
    to[graph.source(e) * width + f] = from[row * width + f];
  }
};

inline void expand_rows(const Csr& graph, const Tensor& from, Tensor& to) {
  const auto run = [&](auto bits) {
    using bits_t = decltype(bits);
    each_edge(ExpandRows<bits_t>{graph, from.size(1),
                                 static_cast<const bits_t*>(from.const_data_ptr()),
                                 static_cast<bits_t*>(to.mutable_data_ptr())});
  };
  switch (from.element_size()) {
    case 1:
      return run(uint8_t{});
    case 2:
      return run(uint16_t{});
    case 4:
      return run(uint32_t{});
    case 8:
      return run(uint64_t{});
    default:
      require(false, "`src` must have elements of at most 8 bytes, got ", from.element_size());
  }
}

}  // namespace gnnlib::GNNLIB_ISA
