"""The sides that reduce the neighbours of every node to one row: ``forward(x, weight=None)``."""

from functools import cache, partial

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from benchmarks._graphs import Graph
from benchmarks._peers import csr, dgl_graph, find, sparse_tensor, torch_csr
from benchmarks._works import Forward, Prepare
from gnnlib.ops import gather_reduce


def _ours(reduce: str, graph: Graph) -> Forward:
    return lambda x, weight=None: gather_reduce(x, graph.adjacency(), weight, reduce=reduce)


def _messages(x: Tensor, src: Tensor, weight: Tensor | None) -> Tensor:
    messages = x.index_select(0, src)
    return messages if weight is None else messages * weight.unsqueeze(-1)


def _pyg(reduce: str, graph: Graph) -> Forward:
    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        src, dst = graph.edges()
        return scatter(_messages(x, src, weight), dst, 0, graph.num_dst, reduce)

    return forward


def _torch_scatter(reduce: str, graph: Graph) -> Forward:
    scatter_ = find("torch_scatter.scatter")

    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        src, dst = graph.edges()
        messages = _messages(x, src, weight)
        out: Tensor = scatter_(messages, dst, 0, dim_size=graph.num_dst, reduce=reduce)
        return out

    return forward


def _torch_scatter_segment(reduce: str, graph: Graph) -> Forward:
    segment_csr = find("torch_scatter.segment_csr")
    rowptr, col, perm = csr(graph)

    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        messages = _messages(x, col, None if weight is None else weight[perm])
        out: Tensor = segment_csr(messages, rowptr, reduce=reduce)
        return out

    return forward


def _torch_sparse_csr(reduce: str, graph: Graph) -> Forward:
    fixed, perm = cache(partial(torch_csr, graph, None)), csr(graph)[2]
    how = {"mean": "mean", "max": "amax"}.get(reduce)

    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        matrix = fixed(x.dtype) if weight is None else torch_csr(graph, weight[perm])
        return matrix @ x if how is None else torch.sparse.mm(matrix, x, how)

    return forward


def _torch_sparse(reduce: str, graph: Graph) -> Forward:
    fixed, perm = sparse_tensor(graph), csr(graph)[2]

    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        matrix = fixed if weight is None else fixed.set_value(weight[perm], layout="coo")
        out: Tensor = matrix.matmul(x, reduce=reduce)
        return out

    return forward


def _dgl(reduce: str, graph: Graph) -> Forward:
    gspmm, prepared = find("dgl.ops.gspmm"), dgl_graph(graph)

    def forward(x: Tensor, weight: Tensor | None = None) -> Tensor:
        operator = "copy_lhs" if weight is None else "mul"
        edge = None if weight is None else weight.unsqueeze(-1)
        out: Tensor = gspmm(prepared, operator, reduce, x, edge)
        # Infinite for nodes without neighbours; DGL's readouts replace that too.
        return out.masked_fill(out.isinf(), 0) if reduce == "max" else out

    return forward


# These need no preparation, so they serve a graph that is new every time.
_UNPREPARED = {
    "gnnlib": _ours,
    "PyG index_select + scatter": _pyg,
    "torch_scatter scatter": _torch_scatter,
}
# These have no product.
_PREPARED = {
    "torch_scatter segment_csr": _torch_scatter_segment,
    "torch.sparse CSR": _torch_sparse_csr,
    "torch_sparse matmul": _torch_sparse,
    "DGL gspmm": _dgl,
}


def reductions(reduce: str, *, prepared: bool = True) -> dict[str, Prepare]:
    """The sides of one reduction; only those without preparation, if not ``prepared``."""
    sides = _UNPREPARED | (_PREPARED if prepared and reduce != "mul" else {})
    return {name: partial(side, reduce) for name, side in sides.items()}
