// The gated recurrent unit of rows of F columns, from gates [r z n] of the input i and the state h
// that are already projected, 3F each:
//   r = sigmoid(i_r + h_r),  z = sigmoid(i_z + h_z),  n = tanh(i_n + r h_n),  h' = n + z (h - n)
//   dz = g (h - n) z (1 - z),  dn = g (1 - z)(1 - n n),  dr = dn h_n r (1 - r),  dh = g z
// and the mean of a pair's two orders, out[p] = (cell(a, b) + cell(b, a)) / 2 for the rows a = 2p
// and b = 2p + 1, each of which is an input once and a state once: its gates are 6F, to which a
// bias is added here, where it costs no pass of its own.
#ifndef GNNLIB_ISA

#include <tuple>

#include "dispatch.h"
#include "message.h"

#define GNNLIB_KERNEL "gru.cpp"
#include "foreach_isa.h"

namespace gnnlib {
namespace {

using Pair = std::tuple<Tensor, Tensor>;
using Triple = std::tuple<Tensor, Tensor, Tensor>;

Tensor like(const Tensor& h, int64_t rows, int64_t times) {
  return empty_like(h, {rows, times * h.size(1)});
}

Tensor matching_rows(const Tensor& t, const char* name, const Tensor& h, int64_t times) {
  return matching(features(t, name), name, h, times * h.numel(), "row and gate");
}

Tensor pairs(const Tensor& h) {
  require(h.dim() == 2 && h.size(0) % 2 == 0, "`h` must hold pairs of rows, got ", h.size(0),
          " row(s)");
  return features(h, "h");
}

Tensor gru_cell(Tensor input, Tensor state, Tensor h) {
  h = features(h, "h");
  input = matching_rows(input, "input", h, 3);
  state = matching_rows(state, "state", h, 3);
  Tensor out = like(h, h.size(0), 1);
  dispatch_wide(h.scalar_type(),
                [&](auto tag) { GNNLIB_BEST(gru_cell<decltype(tag)>)(input, state, h, out); });
  return out;
}

Triple gru_cell_grad(Tensor grad, Tensor input, Tensor state, Tensor h) {
  h = features(h, "h");
  grad = matching_rows(grad, "grad", h, 1);
  input = matching_rows(input, "input", h, 3);
  state = matching_rows(state, "state", h, 3);
  Triple out = {like(h, h.size(0), 3), like(h, h.size(0), 3), like(h, h.size(0), 1)};
  dispatch_wide(h.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gru_cell_grad<decltype(tag)>)(grad, input, state, h, out);
  });
  return out;
}

Tensor gru_pair(Tensor gates, Tensor bias, Tensor h) {
  h = pairs(h);
  gates = matching_rows(gates, "gates", h, 6);
  bias = matching(bias, "bias", h, 6 * h.size(1), "gate");
  Tensor out = like(h, h.size(0) / 2, 1);
  dispatch_wide(h.scalar_type(),
                [&](auto tag) { GNNLIB_BEST(gru_pair<decltype(tag)>)(gates, bias, h, out); });
  return out;
}

Pair gru_pair_grad(Tensor grad, Tensor gates, Tensor bias, Tensor h) {
  h = pairs(h);
  gates = matching_rows(gates, "gates", h, 6);
  bias = matching(bias, "bias", h, 6 * h.size(1), "gate");
  grad = matching(features(grad, "grad"), "grad", h, h.numel() / 2, "pair and column");
  require(grad.size(1) == h.size(1), "`grad` must have the columns of `h`, ", h.size(1), ", got ",
          grad.size(1));
  Pair out = {like(h, h.size(0), 6), like(h, h.size(0), 1)};
  dispatch_wide(h.scalar_type(), [&](auto tag) {
    GNNLIB_BEST(gru_pair_grad<decltype(tag)>)(grad, gates, bias, h, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gnnlib, GNNLIB_DISPATCH_KEY, m) {
  m.impl("gru_cell", TORCH_BOX(&gru_cell));
  m.impl("gru_cell_grad", TORCH_BOX(&gru_cell_grad));
  m.impl("gru_pair", TORCH_BOX(&gru_pair));
  m.impl("gru_pair_grad", TORCH_BOX(&gru_pair_grad));
}

}  // namespace gnnlib

#else  // once for every instruction set

#include "each_column.h"
#include "exp.h"

namespace gnnlib::GNNLIB_ISA {

template <typename U>
GNNLIB_INLINE U sigmoid(U x) {
  return 1 / (1 + exp_of(U(-x)));
}

// Where the gates of a unit's input and of its state are, and their biases, if any.
template <typename T>
struct Gates {
  const T* input;
  const T* state;
  const T* input_bias;
  const T* state_bias;
  int64_t width;

  template <typename U>
  GNNLIB_INLINE U of_input(int gate) const {
    const U value = load_as<U>(input + gate * width);
    return input_bias ? value + load_as<U>(input_bias + gate * width) : value;
  }
  template <typename U>
  GNNLIB_INLINE U of_state(int gate) const {
    const U value = load_as<U>(state + gate * width);
    return state_bias ? value + load_as<U>(state_bias + gate * width) : value;
  }
};

template <typename U>
struct Gru {
  U r, z, h_n, h, n;

  template <typename T>
  GNNLIB_INLINE Gru(const Gates<T>& gates, const T* row)
      : r(sigmoid<U>(gates.template of_input<U>(0) + gates.template of_state<U>(0))),
        z(sigmoid<U>(gates.template of_input<U>(1) + gates.template of_state<U>(1))),
        h_n(gates.template of_state<U>(2)),
        h(load_as<U>(row)) {
    const U x = gates.template of_input<U>(2) + r * h_n;
    n = 2 * sigmoid<U>(x + x) - 1;  // tanh
  }

  GNNLIB_INLINE U next() const { return n + z * (h - n); }

  // Writes the gradients of the gates, and returns that of h.
  template <typename T>
  GNNLIB_INLINE U grad(U g, T* input, T* state, int64_t width) const {
    const U dz = g * (h - n) * z * (1 - z), dn = g * (1 - z) * (1 - n * n);
    const U dr = dn * h_n * r * (1 - r);
    store_as(input, dr);
    store_as(input + width, dz);
    store_as(input + 2 * width, dn);
    store_as(state, dr);
    store_as(state + width, dz);
    store_as<U>(state + 2 * width, dn * r);
    return g * z;
  }
};

template <typename T>
struct GruCell {
  using value_t = T;
  using acc_t = T;

  int64_t width;
  const T* input;
  const T* state;
  const T* h;
  T* out;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t f) const {
    const int64_t gate = 3 * row * width + f, to = row * width + f;
    const Gru<U> unit(Gates<T>{input + gate, state + gate, nullptr, nullptr, width}, h + to);
    store_as(out + to, unit.next());
  }
};

template <typename T>
struct GruCellGrad {
  using value_t = T;
  using acc_t = T;

  int64_t width;
  const T* grad;
  const T* input;
  const T* state;
  const T* h;
  T* grad_input;
  T* grad_state;
  T* grad_h;

  template <typename U>
  GNNLIB_INLINE void at(int64_t row, int64_t f) const {
    const int64_t gate = 3 * row * width + f, to = row * width + f;
    const Gru<U> unit(Gates<T>{input + gate, state + gate, nullptr, nullptr, width}, h + to);
    store_as(grad_h + to,
             unit.grad(load_as<U>(grad + to), grad_input + gate, grad_state + gate, width));
  }
};

// The two units of a pair, from where its gates and its rows begin, at a column.
template <typename U, typename T>
struct Both {
  Gru<U> there, back;

  GNNLIB_INLINE Both(const T* a, const T* bias, const T* row, int64_t width)
      : there(Gates<T>{a, a + 9 * width, bias, bias + 3 * width, width}, row + width),
        back(Gates<T>{a + 6 * width, a + 3 * width, bias, bias + 3 * width, width}, row) {}
};

template <typename T>
struct GruPair {
  using value_t = T;
  using acc_t = T;

  int64_t width;
  const T* gates;
  const T* bias;
  const T* h;
  T* out;

  template <typename U>
  GNNLIB_INLINE void at(int64_t p, int64_t f) const {
    const Both<U, T> units(gates + 12 * p * width + f, bias + f, h + 2 * p * width + f, width);
    store_as(out + p * width + f,
             static_cast<U>((units.there.next() + units.back.next()) * T(0.5)));
  }
};

template <typename T>
struct GruPairGrad {
  using value_t = T;
  using acc_t = T;

  int64_t width;
  const T* grad;
  const T* gates;
  const T* bias;
  const T* h;
  T* grad_gates;
  T* grad_h;

  template <typename U>
  GNNLIB_INLINE void at(int64_t p, int64_t f) const {
    const int64_t at = 12 * p * width + f, row = 2 * p * width + f;
    const Both<U, T> units(gates + at, bias + f, h + row, width);
    const U half = load_as<U>(grad + p * width + f) * T(0.5);
    T* const a = grad_gates + at;
    store_as(grad_h + row + width, units.there.grad(half, a, a + 9 * width, width));
    store_as(grad_h + row, units.back.grad(half, a + 6 * width, a + 3 * width, width));
  }
};

template <typename T>
const T* read(const Tensor& t) {
  return t.const_data_ptr<T>();
}
template <typename T>
T* write(Tensor& t) {
  return t.mutable_data_ptr<T>();
}

template <typename T>
void gru_cell(const Tensor& input, const Tensor& state, const Tensor& h, Tensor& out) {
  each_column(GruCell<T>{h.size(1), read<T>(input), read<T>(state), read<T>(h), write<T>(out)},
              out);
}

template <typename T>
void gru_cell_grad(const Tensor& grad, const Tensor& input, const Tensor& state, const Tensor& h,
                   std::tuple<Tensor, Tensor, Tensor>& out) {
  auto& [grad_input, grad_state, grad_h] = out;
  each_column(GruCellGrad<T>{h.size(1), read<T>(grad), read<T>(input), read<T>(state), read<T>(h),
                             write<T>(grad_input), write<T>(grad_state), write<T>(grad_h)},
              grad_h);
}

template <typename T>
void gru_pair(const Tensor& gates, const Tensor& bias, const Tensor& h, Tensor& out) {
  each_column(GruPair<T>{h.size(1), read<T>(gates), read<T>(bias), read<T>(h), write<T>(out)}, out);
}

// `grad` has the shape that the work is counted by: a row per pair.
template <typename T>
void gru_pair_grad(const Tensor& grad, const Tensor& gates, const Tensor& bias, const Tensor& h,
                   std::tuple<Tensor, Tensor>& out) {
  auto& [grad_gates, grad_h] = out;
  each_column(GruPairGrad<T>{h.size(1), read<T>(grad), read<T>(gates), read<T>(bias), read<T>(h),
                             write<T>(grad_gates), write<T>(grad_h)},
              grad);
}

}  // namespace gnnlib::GNNLIB_ISA

#endif
