"""The sides whose messages are made of both ends or of edge features: scores, attention, GINE."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.functional import leaky_relu
from torch_geometric.utils import scatter, softmax

from benchmarks._graphs import Graph
from benchmarks._peers import dgl_graph, find
from benchmarks._works import Forward, Prepare
from gnnlib import ops


def _ours(function: Callable[..., Any]) -> Prepare:
    """Ours take the graph after the tensors."""
    return lambda graph: lambda *tensors: function(*tensors, graph.adjacency())


def _pyg(function: Callable[..., Any]) -> Prepare:
    """PyG's are told the two ends of every edge, and the number of targets."""
    return lambda graph: lambda *tensors: function(*tensors, *graph.edges(), graph.num_dst)


def _dgl(function: Callable[..., Any]) -> Prepare:
    """DGL's are told its ops and its graph."""

    def prepare(graph: Graph) -> Forward:
        prepared, ops_ = dgl_graph(graph), _DGL()
        return lambda *tensors: function(*tensors, ops_, prepared)

    return prepare


class _DGL:
    def __init__(self) -> None:
        self.gspmm, self.gsddmm = find("dgl.ops.gspmm"), find("dgl.ops.gsddmm")
        self.edge_softmax = find("dgl.ops.edge_softmax")


# -- attention ----------------------------------------------------------------------------------


def _pyg_attend(value: Tensor, scores: Tensor, src: Tensor, dst: Tensor, size: int) -> Tensor:
    share = softmax(scores, dst, num_nodes=size)
    return scatter(value.index_select(0, src) * share.unsqueeze(-1), dst, 0, size)


def _dgl_attend(value: Tensor, scores: Tensor, dgl: _DGL, graph: Any) -> Tensor:
    share = dgl.edge_softmax(graph, scores.unsqueeze(-1))
    out: Tensor = dgl.gspmm(graph, "mul", "sum", value, share)
    return out


ATTEND: dict[str, Prepare] = {
    "gnnlib": _ours(ops.gather_attend), "PyG": _pyg(_pyg_attend), "DGL": _dgl(_dgl_attend)
}  # fmt: skip

# -- scores -------------------------------------------------------------------------------------


def _pyg_dot(a: Tensor, b: Tensor, src: Tensor, dst: Tensor, _: int) -> Tensor:
    return (a.index_select(0, src) * b.index_select(0, dst)).sum(-1)


def _dgl_dot(a: Tensor, b: Tensor, dgl: _DGL, graph: Any) -> Tensor:
    out: Tensor = dgl.gsddmm(graph, "dot", a, b)
    return out.squeeze(-1)


def _pyg_add(a: Tensor, b: Tensor, src: Tensor, dst: Tensor, _: int) -> Tensor:
    return a.index_select(0, src) + b.index_select(0, dst)


def _dgl_add(a: Tensor, b: Tensor, dgl: _DGL, graph: Any) -> Tensor:
    out: Tensor = dgl.gsddmm(graph, "add", a, b)
    return out


def _pyg_additive(a: Tensor, b: Tensor, att: Tensor, src: Tensor, dst: Tensor, size: int) -> Tensor:
    return (leaky_relu(_pyg_add(a, b, src, dst, size), 0.2) * att).sum(-1)


def _dgl_additive(a: Tensor, b: Tensor, att: Tensor, dgl: _DGL, graph: Any) -> Tensor:
    return (leaky_relu(_dgl_add(a, b, dgl, graph), 0.2) * att).sum(-1)


DOT: dict[str, Prepare] = {
    "gnnlib": _ours(ops.edge_dot), "PyG": _pyg(_pyg_dot), "DGL": _dgl(_dgl_dot)
}  # fmt: skip
ADD: dict[str, Prepare] = {
    "gnnlib": _ours(ops.edge_add), "PyG": _pyg(_pyg_add), "DGL": _dgl(_dgl_add)
}  # fmt: skip
ADDITIVE: dict[str, Prepare] = {
    "gnnlib": _ours(ops.additive_score), "PyG": _pyg(_pyg_additive), "DGL": _dgl(_dgl_additive)
}  # fmt: skip

# -- edge features ------------------------------------------------------------------------------


def _pyg_edge_relu(x: Tensor, edge: Tensor, src: Tensor, dst: Tensor, size: int) -> Tensor:
    return scatter((x.index_select(0, src) + edge).relu(), dst, 0, size)


def _dgl_edge_relu(x: Tensor, edge: Tensor, dgl: _DGL, graph: Any) -> Tensor:
    messages = dgl.gsddmm(graph, "add", x, edge, "u", "e").relu()
    out: Tensor = dgl.gspmm(graph, "copy_rhs", "sum", None, messages)
    return out


EDGE_RELU: dict[str, Prepare] = {
    "gnnlib": _ours(ops.gather_edge_relu), "PyG": _pyg(_pyg_edge_relu), "DGL": _dgl(_dgl_edge_relu)
}  # fmt: skip
