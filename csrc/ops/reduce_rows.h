// A Reducer over rows of messages, whichever they are: `Rows` reads them (fold.h) and says what
// they hold in the columns [f, ...). Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t, typename Rows, Reduce R>
struct ReduceRows : Rows {
  using typename Rows::acc_t;
  using typename Rows::Edge;
  using Fold = Reducer<acc_t, R>;

  bool mean;
  scalar_t* out;

  static constexpr int kParts = 1;

  template <typename U>
  GNNLIB_INLINE void init(U (&acc)[1], int64_t, int64_t) const {
    acc[0] = U{} + Fold::init;
  }

  template <typename U>
  GNNLIB_INLINE void step(U (&acc)[1], int64_t, const Edge& edge, int64_t f) const {
    acc[0] = take<Fold>(acc[0], this->template message<U>(edge, f));
  }

  GNNLIB_INLINE void combine(acc_t (&a)[1], const acc_t (&b)[1]) const {
    a[0] = Fold::update(a[0], b[0]);
  }

  template <typename U>
  GNNLIB_INLINE void finish(int64_t row, int64_t f, const U (&acc)[1], int64_t present) const {
    U value = present == 0 ? U{} + Fold::empty : acc[0];
    if (mean && present > 0) value = value / static_cast<acc_t>(present);
    store_as(out + row * this->width + f, value);
  }
};

}  // namespace gnnlib::GNNLIB_ISA
