// What the lanes of a warp tell each other.
#pragma once

namespace gnnlib::GNNLIB_ISA {

constexpr unsigned kAllLanes = 0xffffffffu;

// The value of the lane `distance` further on.
template <typename T>
GNNLIB_INLINE T from_next(T value, int distance) {
  if constexpr (sizeof(T) < 4) {
    return static_cast<T>(__shfl_down_sync(kAllLanes, static_cast<int>(value), distance));
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return __shfl_down_sync(kAllLanes, static_cast<long long>(value), distance);
  } else {
    return __shfl_down_sync(kAllLanes, value, distance);
  }
}

// Column k of a U.
template <typename U>
GNNLIB_INLINE auto& column(U& value, int k) {
  if constexpr (is_pack<std::remove_const_t<U> >) {
    return value.v[k];
  } else {
    return value;
  }
}

// Takes the fold of the lanes `distance` further on into that of this one, column by column.
template <typename Op, typename U>
GNNLIB_INLINE void combine_next(const Op& op, U (&acc)[Op::kParts], int distance) {
  using T = typename Op::acc_t;
#pragma unroll
  for (int k = 0; k < lanes<U, T>; ++k) {
    T own[Op::kParts], next[Op::kParts];
#pragma unroll
    for (int p = 0; p < Op::kParts; ++p) {
      own[p] = column(acc[p], k);
      next[p] = from_next(own[p], distance);
    }
    op.combine(own, next);
#pragma unroll
    for (int p = 0; p < Op::kParts; ++p) column(acc[p], k) = own[p];
  }
}

// The sum of a U's columns and of the same in `width` lanes side by side, a power of two: in the
// first of them.
template <typename T, typename U>
GNNLIB_INLINE T sum_of_lanes(const U& value, int width) {
  T sum = column(value, 0);
#pragma unroll
  for (int k = 1; k < lanes<U, T>; ++k) sum += column(value, k);
  for (int distance = width / 2; distance > 0; distance /= 2) sum += from_next(sum, distance);
  return sum;
}

}  // namespace gnnlib::GNNLIB_ISA
