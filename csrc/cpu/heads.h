// Rows that consist of heads: each head's columns are multiplied by a factor of their own.
// Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

// The head of each of `width` columns.
template <typename acc_t>
class Heads {
 public:
  Heads(int64_t width, int64_t heads) : count(heads), of_column_(width) {
    for (int64_t f = 0; f < width; ++f) of_column_[f] = static_cast<Index>(f * heads / width);
  }

  int64_t count;

  // The factors of columns [f, ...) out of those of all heads. A register that a few heads share
  // takes each one's factor from its first column on.
  template <typename U, typename T>
  GNNLIB_INLINE U spread(const T* factor, int64_t f) const {
    const Index* head = of_column_.data() + f;
    if constexpr (std::is_arithmetic_v<U>) {
      return static_cast<U>(factor[*head]);
    } else {
      constexpr int step = GNNLIB_REGISTER / sizeof(acc_t);
      native<acc_t> part[sizeof(U) / GNNLIB_REGISTER];
#pragma GCC unroll 4
      for (auto& p : part) {
        p = spread_register(factor, head);
        head += step;
      }
      U out;
      std::memcpy(&out, part, sizeof(out));
      return out;
    }
  }

 private:
  using Index = std::conditional_t<sizeof(acc_t) == 8, int64_t, int32_t>;

  template <typename T>
  GNNLIB_INLINE native<acc_t> spread_register(const T* factor, const Index* head) const {
    constexpr int step = GNNLIB_REGISTER / sizeof(acc_t);
    const Index last = head[step - 1];
    native<acc_t> out = native<acc_t>{} + static_cast<acc_t>(factor[*head]);
    if (*head == last) return out;
    native<Index> heads;
    std::memcpy(&heads, head, sizeof(heads));
    if constexpr (std::is_same_v<T, acc_t>) {
      if (last - *head > 1 && count >= step) {  // many: out of a register of factors
        const int64_t base = std::min<int64_t>(*head, count - step);
        std::memcpy(&out, factor + base, sizeof(out));
        return __builtin_shuffle(out, heads - static_cast<Index>(base));
      }
    }
    for (Index h = *head + 1; h <= last; ++h) {
      out = heads >= h ? native<acc_t>{} + static_cast<acc_t>(factor[h]) : out;
    }
    return out;
  }

  std::vector<Index> of_column_;
};

}  // namespace gnnlib::GNNLIB_ISA
