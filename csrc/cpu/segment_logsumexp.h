// The logsumexp of segments and its gradient. Included inside foreach_isa.h, so
// without a guard.
#include "columns.h"
#include "exp.h"
#include "exponentials.h"
#include "measure.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct LogSumExp : Exponentials<scalar_t> {
  using typename Exponentials<scalar_t>::acc_t;

  void measure(const Block<acc_t>& b, Statistics<acc_t>& to) const {
    exponentials(b.columns, this->read(b, nullptr), b.end - b.begin, to.first, to.second);
  }

  void write(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    constexpr acc_t infinity = std::numeric_limits<acc_t>::infinity();
    for (int64_t k = 0; k < b.columns.count; ++k) {
      const acc_t top = known.first[k];
      // Of an infinite top the sum says nothing.
      const acc_t total =
          top == infinity || top == -infinity ? top : top + std::log(known.second[k]);
      this->out[b.row * this->width + b.f + k] = static_cast<scalar_t>(total);
    }
  }

  void again(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    if (b.begin == this->graph.rowptr[b.row]) write(b, known);
  }
};

template <typename scalar_t>
struct LogSumExpGrad {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* grad;
  const scalar_t* x;
  const scalar_t* total;
  scalar_t* out;

  void write(const Block<acc_t>& b) const {
    constexpr acc_t infinity = std::numeric_limits<acc_t>::infinity();
    Statistics<acc_t> of;
    const int64_t at = b.row * width + b.f;
    for (int64_t k = 0; k < b.columns.count; ++k) {
      const acc_t value = static_cast<acc_t>(total[at + k]);
      of.first[k] = value == -infinity ? infinity : value;  // a segment that is not there
      of.second[k] = static_cast<acc_t>(grad[at + k]);
    }
    b.columns.spread(of.first);
    b.columns.spread(of.second);
    acc_t* const run = scratch<acc_t>(b.lanes());
    read_rows(graph, x, width, b.f, b.columns, b.begin, b.end, run, out);
    b.columns.each(b.lanes(), [&](int64_t i, int64_t k) {
      const native<acc_t> share =
          exp_of_register<acc_t>(load_register(run + i) - load_register(of.first + k));
      store_register(run + i, share * load_register(of.second + k));
    });
    write_rows(graph, run, width, b.f, b.columns, b.begin, b.end, out);
  }
};

template <typename scalar_t>
void segment_logsumexp(const Csr& graph, const Tensor& x, Tensor& out) {
  measure_and_write(LogSumExp<scalar_t>{
      {graph, x.size(1), x.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>()}});
}

template <typename scalar_t>
void segment_logsumexp_grad(const Csr& graph, const Tensor& grad, const Tensor& x,
                            const Tensor& total, Tensor& out) {
  const LogSumExpGrad<scalar_t> op{graph,
                                   x.size(1),
                                   grad.const_data_ptr<scalar_t>(),
                                   x.const_data_ptr<scalar_t>(),
                                   total.const_data_ptr<scalar_t>(),
                                   out.mutable_data_ptr<scalar_t>()};
  using T = typename LogSumExpGrad<scalar_t>::acc_t;
  const auto range = [&](int64_t row, int64_t begin, int64_t end) {
    for (int64_t f = 0; f < op.width; f += kColumns) {
      op.write(Block<T>{Columns<T>(std::min(kColumns, op.width - f)), row, begin, end, f});
    }
  };
  const Schedule schedule(graph, op.width);
  schedule.run(range,
               [&](int64_t row, int64_t begin, int64_t end, int64_t) { range(row, begin, end); });
}

}  // namespace gnnlib::GNNLIB_ISA
