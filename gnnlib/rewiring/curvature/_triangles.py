"""How many triangles each edge is part of."""

import torch
from torch import Tensor

from gnnlib._library import register
from gnnlib.rewiring._simple_graph import SimpleGraph


def triangle_counts_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    r"""Count the triangles through some edges of a graph, :math:`|N(i) \cap N(j)|`.

    Args:
        graph: one graph or several side by side.
        edges: ``[K]``, which of its edges.

    Returns:
        ``[K]`` int64.
    """
    ends = graph.ends[:, edges]
    found: Tensor = _op(graph.rowptr, graph.col, ends[0].contiguous(), ends[1].contiguous())
    return found


def _reference(rowptr: Tensor, col: Tensor, source: Tensor, target: Tensor) -> Tensor:
    near = [set(part.tolist()) for part in col.split(rowptr.diff().tolist())]  # type: ignore[no-untyped-call]
    ends = zip(source.tolist(), target.tolist(), strict=True)
    return source.new_tensor([len(near[i] & near[j]) for i, j in ends])


_op = register(
    "triangle_counts", _reference, lambda rowptr, col, source, target: torch.empty_like(source)
)
