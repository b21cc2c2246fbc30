// Every schema, one line each. A CSR graph is (rowptr, col, perm); its transpose (t_rowptr, t_col,
// t_perm) comes along where the backward pass will want it.
#include <Python.h>
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(gnnlib, m) {
  m.def("is_sorted(Tensor index) -> bool");
  m.def(
      "coo_to_csr(Tensor edge_index, SymInt num_src, SymInt num_dst) -> (Tensor, Tensor, Tensor)");
  m.def(
      "csr_transpose(Tensor rowptr, Tensor col, Tensor? perm, SymInt num_src) -> (Tensor, Tensor, "
      "Tensor)");
  m.def("group_index(Tensor index, SymInt size) -> (Tensor, Tensor)");
  m.def("index_to_ptr(Tensor index, SymInt size) -> Tensor");
  m.def("fold_index(Tensor index, SymInt size) -> Tensor");
  m.def("fold_ptr(Tensor ptr, SymInt size) -> Tensor");
  m.def("check_csr(Tensor rowptr, Tensor col, Tensor? perm, SymInt num_src) -> ()");
  m.def(
      "gather_reduce(Tensor x, Tensor rowptr, Tensor col, Tensor? perm, Tensor? t_rowptr, Tensor? "
      "t_col, Tensor? t_perm, Tensor? weight, Tensor? gate, SymInt reduce) -> Tensor");
  m.def(
      "gather_complex(Tensor x, Tensor rowptr, Tensor col, Tensor? perm, Tensor? t_rowptr, Tensor? "
      "t_col, Tensor? t_perm, Tensor weight, bool conjugate) -> Tensor");
  m.def(
      "gather_statistics(Tensor x, Tensor rowptr, Tensor col, Tensor? perm, Tensor? t_rowptr, "
      "Tensor? t_col, Tensor? t_perm, Tensor? weight, Tensor? gate, SymInt which) -> (Tensor, "
      "Tensor, Tensor, Tensor)");
  m.def(
      "edge_dot(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, Tensor? perm, Tensor? "
      "t_rowptr, Tensor? t_col, Tensor? t_perm, SymInt heads) -> Tensor");
  m.def(
      "edge_add(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, Tensor? perm, Tensor? "
      "t_rowptr, Tensor? t_col, Tensor? t_perm) -> Tensor");
  m.def(
      "gather_attend(Tensor value, Tensor scores, Tensor rowptr, Tensor col, Tensor? perm, Tensor? "
      "t_rowptr, Tensor? t_col, Tensor? t_perm, Tensor? gate) -> Tensor");
  m.def("segment_softmax(Tensor x, Tensor ptr, Tensor? perm) -> Tensor");
  m.def("segment_softmax_grad(Tensor out, Tensor grad, Tensor ptr, Tensor? perm) -> Tensor");
  m.def("segment_logsumexp(Tensor x, Tensor ptr, Tensor? perm) -> Tensor");
  m.def(
      "segment_logsumexp_grad(Tensor grad, Tensor x, Tensor out, Tensor ptr, Tensor? perm) -> "
      "Tensor");
  m.def("segment_reduce(Tensor x, Tensor ptr, Tensor? perm, SymInt reduce) -> Tensor");
  m.def("segment_arg(Tensor x, Tensor ptr, Tensor? perm, SymInt reduce) -> (Tensor, Tensor)");
  m.def("segment_expand(Tensor a, Tensor ptr, Tensor? perm, SymInt size) -> Tensor");
  m.def("scatter_reduce(Tensor x, Tensor index, SymInt size, SymInt reduce) -> Tensor");
  m.def("scatter_arg(Tensor x, Tensor index, SymInt size, SymInt reduce) -> (Tensor, Tensor)");
  m.def(
      "message_share(Tensor grad, Tensor out, Tensor x, Tensor rowptr, Tensor? col, Tensor? perm, "
      "Tensor? weight, Tensor? gate, SymInt reduce) -> Tensor");
  m.def(
      "message_grad(Tensor share, Tensor out, Tensor x, Tensor t_rowptr, Tensor t_col, Tensor? "
      "t_perm, Tensor? weight, Tensor? gate, SymInt reduce) -> Tensor");
  m.def(
      "message_dot(Tensor share, Tensor out, Tensor x, Tensor rowptr, Tensor col, Tensor? perm, "
      "Tensor weight, Tensor? gate, SymInt reduce) -> Tensor");
  m.def("segment_grad(Tensor share, Tensor out, Tensor x, Tensor index, SymInt reduce) -> Tensor");
  m.def(
      "gather_edge_relu(Tensor x, Tensor edge, Tensor rowptr, Tensor col, Tensor? perm, Tensor? "
      "t_rowptr, Tensor? t_col, Tensor? t_perm, Tensor? gate) -> Tensor");
  m.def(
      "edge_relu_grad(Tensor grad, Tensor x, Tensor edge, Tensor t_rowptr, Tensor t_col, Tensor? "
      "t_perm, Tensor? gate, bool need_edge, bool need_gate) -> (Tensor, Tensor, Tensor)");
  m.def(
      "gather_softmax(Tensor x, Tensor rowptr, Tensor col, Tensor? perm, Tensor? t_rowptr, Tensor? "
      "t_col, Tensor? t_perm, Tensor? weight, Tensor? gate, Tensor t, bool semi_grad) -> (Tensor, "
      "Tensor, Tensor)");
  m.def(
      "softmax_grad(Tensor grad, Tensor out, Tensor top, Tensor total, Tensor x, Tensor t_rowptr, "
      "Tensor t_col, Tensor? t_perm, Tensor? weight, Tensor? gate, Tensor t, bool semi_grad, bool "
      "need_t) -> (Tensor, Tensor)");
  m.def(
      "softmax_dot(Tensor grad, Tensor out, Tensor top, Tensor total, Tensor x, Tensor rowptr, "
      "Tensor col, Tensor? perm, Tensor weight, Tensor? gate, Tensor t, bool semi_grad) -> Tensor");
  m.def("tree_plan(Tensor ptr, SymInt size) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "stack_hops(Tensor hop_ptr, Tensor col, SymInt num_hops, SymInt first, Tensor slot) -> "
      "(Tensor, Tensor)");
  m.def(
      "join_hops(Tensor hop_ptr, Tensor col, SymInt num_hops, SymInt first, Tensor slot, SymInt "
      "norm, bool loops) -> (Tensor, Tensor, Tensor)");
  m.def(
      "k_hop(Tensor rowptr, Tensor col, Tensor? t_rowptr, Tensor? t_col, SymInt num_hops, SymInt "
      "max_pairs, SymInt num_samples, Tensor? seed) -> (Tensor, Tensor)");
  m.def(
      "k_hop_count(Tensor rowptr, Tensor col, Tensor? t_rowptr, Tensor? t_col, Tensor roots, "
      "SymInt num_hops, SymInt num_samples) -> Tensor");
  m.def("cycle_counts(Tensor rowptr, Tensor col, Tensor source, Tensor target) -> Tensor");
  m.def("triangle_counts(Tensor rowptr, Tensor col, Tensor source, Tensor target) -> Tensor");
  m.def(
      "fosr(Tensor rowptr, Tensor col, Tensor ptr, Tensor start, SymInt num_edges, SymInt "
      "power_iters) -> Tensor");
  m.def(
      "laser(Tensor rowptr, Tensor col, Tensor ptr, SymInt num_snapshots, float additions_factor, "
      "SymInt minimum_additions, SymInt seed) -> (Tensor, Tensor)");
  m.def(
      "sdrf(Tensor rowptr, Tensor col, Tensor ptr, SymInt first_step, SymInt last_step, float tau, "
      "float removal_bound, bool remove_edges, SymInt seed) -> Tensor");
  m.def(
      "ollivier_ricci(Tensor rowptr, Tensor col, Tensor? mass, Tensor source, Tensor target, float "
      "alpha) -> Tensor");
  m.def(
      "transport_plans(Tensor rowptr, Tensor col, Tensor? mass, Tensor source, Tensor target, "
      "float alpha) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("gru_cell(Tensor input, Tensor state, Tensor h) -> Tensor");
  m.def(
      "gru_cell_grad(Tensor grad, Tensor input, Tensor state, Tensor h) -> (Tensor, Tensor, "
      "Tensor)");
  m.def("gru_pair(Tensor gates, Tensor bias, Tensor h) -> Tensor");
  m.def("gru_pair_grad(Tensor grad, Tensor gates, Tensor bias, Tensor h) -> (Tensor, Tensor)");
  m.def(
      "additive_score(Tensor x_src, Tensor x_dst, Tensor att, Tensor rowptr, Tensor col, Tensor? "
      "perm, Tensor? t_rowptr, Tensor? t_col, Tensor? t_perm, float negative_slope) -> Tensor");
  m.def(
      "additive_grad(Tensor grad, Tensor x, Tensor other, Tensor rowptr, Tensor col, Tensor? perm, "
      "float negative_slope) -> Tensor");
  m.def(
      "gather_activate(Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, Tensor? perm, "
      "Tensor? t_rowptr, Tensor? t_col, Tensor? t_perm, Tensor? weight, Tensor? gate, SymInt act, "
      "float alpha) -> Tensor");
  m.def(
      "activate_grad(Tensor grad, Tensor x, Tensor other, Tensor rowptr, Tensor col, Tensor? perm, "
      "Tensor? weight, Tensor? gate, bool own, SymInt act, float alpha) -> Tensor");
  m.def(
      "activate_dot(Tensor grad, Tensor x_src, Tensor x_dst, Tensor rowptr, Tensor col, Tensor? "
      "perm, SymInt act, float alpha) -> Tensor");
}

// Importing the module runs the static registrations above; there is nothing else in it.
PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
