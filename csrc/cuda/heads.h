// Rows that consist of heads: each head's columns are multiplied by a factor of their own.
#pragma once

namespace gnnlib::GNNLIB_ISA {

template <typename acc_t>
struct Heads {
  int64_t columns;  // of one head
  int64_t count;

  Heads(int64_t width, int64_t heads)
      : columns(heads > 0 && width > 0 ? width / heads : 1), count(heads) {}

  // The factors of columns [f, ...) out of those of all heads. The divisions do not depend on the
  // edge, so they stay out of its loop.
  template <typename U, typename T>
  GNNLIB_INLINE U spread(const T* factor, int64_t f) const {
    if constexpr (is_pack<U>) {
      U out;
#pragma unroll
      for (int k = 0; k < U::size; ++k) {
        out.v[k] = static_cast<typename U::type>(factor[head_of(f + k)]);
      }
      return out;
    } else {
      return static_cast<U>(factor[head_of(f)]);
    }
  }

 private:
  GNNLIB_INLINE int64_t head_of(int64_t f) const {
    return static_cast<uint32_t>(f) / static_cast<uint32_t>(columns);
  }
};

}  // namespace gnnlib::GNNLIB_ISA
