// The edges of a target's row, read as messages from its sources: what kernels on the forward graph
// have in common. Included inside foreach_isa.h, so without a guard.

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct SourceRows {
  using value_t = scalar_t;
  using acc_t = typename AccumulateIn<scalar_t>::type;
  struct Edge {
    const scalar_t* row;
    acc_t factor;
  };

  Csr graph;
  int64_t width;
  const scalar_t* x;
  Factors<scalar_t> factors;

  explicit SourceRows(const Message& m)
      : graph(m.graph),
        width(m.width()),
        x(m.x.const_data_ptr<scalar_t>()),
        factors(gnnlib::factors<scalar_t>(m.weight, m.gate)) {}

  GNNLIB_INLINE bool edge(int64_t, int64_t e, Edge& edge) const {
    const int64_t source = graph.source(e);
    if (!factors.open(source)) return false;
    edge = {x + source * width, factors.of(source, graph.position(e))};
    return true;
  }

  GNNLIB_INLINE void prefetch(int64_t e, int64_t f, int64_t columns) const {
    const int64_t source = graph.source(e);
    if (!factors.open(source)) return;
    factors.prefetch(graph.position(e));
    prefetch_row(x + source * width + f, columns * sizeof(scalar_t));
  }

  template <typename U>
  GNNLIB_INLINE U message(const Edge& edge, int64_t f) const {
    return static_cast<U>(load_as<U>(edge.row + f) * edge.factor);
  }
};

}  // namespace gnnlib::GNNLIB_ISA
