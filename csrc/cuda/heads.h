// Rows that consist of heads: each head's columns are multiplied by a factor of their own.
//
#pragma once

namespace gnnlib::GNNLIB_ISA {

template <typename acc_t>
struct Heads {
  int64_t columns;  // of one head
  int64_t count;

  Heads(int64_t width, int64_t heads)
      : columns(heads > 0 && width > 0 ? width / heads : 1), count(heads) {}

  // f of the heads of columns [begin, ...), once where they are all of one. What of this does not
  // depend on the edge stays out of its loop.
  template <typename U, typename F>
  GNNLIB_INLINE U each(const F& of_head, int64_t f) const {
    if constexpr (is_pack<U>) {
      const int64_t head = head_of(f);
      if (head == head_of(f + U::size - 1)) return U{} + of_head(head);
      U out;
#pragma unroll
      for (int k = 0; k < U::size; ++k) out.v[k] = of_head(head_of(f + k));
      return out;
    } else {
      return of_head(head_of(f));
    }
  }

  // The factors of columns [f, ...) out of those of all heads.
  template <typename U, typename T>
  GNNLIB_INLINE U spread(const T* factor, int64_t f) const {
    return each<U>([factor](int64_t h) { return static_cast<acc_t>(factor[h]); }, f);
  }

 private:
  GNNLIB_INLINE int64_t head_of(int64_t f) const {
    return static_cast<uint32_t>(f) / static_cast<uint32_t>(columns);
  }
};

}  // namespace gnnlib::GNNLIB_ISA
