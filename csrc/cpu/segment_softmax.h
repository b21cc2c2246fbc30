// The softmax of segments and its gradient. Included inside foreach_isa.h, so
// without a guard.
#include "columns.h"
#include "exp.h"
#include "exponentials.h"
#include "measure.h"

namespace gnnlib::GNNLIB_ISA {

template <typename scalar_t>
struct Softmax : Exponentials<scalar_t> {
  using typename Exponentials<scalar_t>::acc_t;

  void measure(const Block<acc_t>& b, Statistics<acc_t>& to) const {
    exponentials(b.columns, this->read(b, this->out), b.end - b.begin, to.first, to.second);
  }

  void write(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    acc_t* const run = scratch<acc_t>(b.lanes());
    b.columns.each(b.lanes(), [&](int64_t i, int64_t k) {
      store_register(run + i, load_register(run + i) / load_register(known.second + k));
    });
    write_rows(this->graph, run, this->width, b.f, b.columns, b.begin, b.end, this->out);
  }

  void again(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    exponentiate(b.columns, this->read(b, this->out), b.lanes(), known.first);
    write(b, known);
  }
};

template <typename scalar_t>
struct SoftmaxGrad {
  using acc_t = typename AccumulateIn<scalar_t>::type;

  Csr graph;
  int64_t width;
  const scalar_t* a;
  const scalar_t* grad;
  scalar_t* out;

  void read(const Block<acc_t>& b, acc_t*& share, acc_t*& heard) const {
    share = scratch<acc_t>(b.lanes(), 0);
    heard = scratch<acc_t>(b.lanes(), 1);
    const int64_t values = (b.end - b.begin) * b.columns.stride;
    read_rows(graph, a, width, b.f, b.columns, b.begin, b.end, share, out);
    read_rows(graph, grad, width, b.f, b.columns, b.begin, b.end, heard);
    std::fill(share + values, share + b.lanes(), acc_t(0));
    std::fill(heard + values, heard + b.lanes(), acc_t(0));
  }

  void measure(const Block<acc_t>& b, Statistics<acc_t>& to) const {
    acc_t *share, *heard;
    read(b, share, heard);
    b.columns.template fold<Reduce::Sum>(b.lanes(), to.first, [&](int64_t i) {
      return load_register(share + i) * load_register(heard + i);
    });
    std::fill_n(to.second, b.columns.count, acc_t(0));
  }

  void combine(acc_t& sum, acc_t&, acc_t piece, acc_t) const { sum += piece; }

  void write(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    acc_t* const share = scratch<acc_t>(b.lanes(), 0);
    const acc_t* const heard = scratch<acc_t>(b.lanes(), 1);
    b.columns.each(b.lanes(), [&](int64_t i, int64_t k) {
      const native<acc_t> mean = load_register(known.first + k);
      store_register(share + i, load_register(share + i) * (load_register(heard + i) - mean));
    });
    write_rows(graph, share, width, b.f, b.columns, b.begin, b.end, out);
  }

  void again(const Block<acc_t>& b, const Statistics<acc_t>& known) const {
    acc_t *share, *heard;
    read(b, share, heard);
    write(b, known);
  }
};

template <typename scalar_t>
void segment_softmax(const Csr& graph, const Tensor& x, Tensor& out) {
  measure_and_write(Softmax<scalar_t>{
      {graph, x.size(1), x.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>()}});
}

template <typename scalar_t>
void segment_softmax_grad(const Csr& graph, const Tensor& a, const Tensor& grad, Tensor& out) {
  measure_and_write(SoftmaxGrad<scalar_t>{graph, a.size(1), a.const_data_ptr<scalar_t>(),
                                          grad.const_data_ptr<scalar_t>(),
                                          out.mutable_data_ptr<scalar_t>()});
}

}  // namespace gnnlib::GNNLIB_ISA
