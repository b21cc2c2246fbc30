"""Ollivier-Ricci curvature."""

import torch
from torch import Tensor

from gnnlib._library import register
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._faces import per_edge
from gnnlib.rewiring.curvature._transport import (
    mass_of,
    optimal_plan,
    require_alpha,
    rows_of,
    weight_of,
)


def ollivier_ricci(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    alpha: float = 0.0,
    edge_weight: Tensor | None = None,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    require_alpha(alpha)

    def compute(graph: SimpleGraph, part: Tensor) -> Tensor:
        return ollivier_ricci_of(graph, part, alpha, weight_of(graph, edge_weight))

    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="ollivier_ricci",
        compute=compute,
        at_once=2**13,
    )


def ollivier_ricci_of(
    graph: SimpleGraph, edges: Tensor, alpha: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]`` of ``[M]``; see :func:`ollivier_ricci`."""
    source, target = graph.ends[:, edges]
    mass = mass_of(graph, weight)
    found: Tensor = _op(
        graph.rowptr, graph.col, mass, source.contiguous(), target.contiguous(), alpha
    )
    return found


def _reference(
    rowptr: Tensor, col: Tensor, mass: Tensor | None, source: Tensor, target: Tensor, alpha: float
) -> Tensor:
    rows = rows_of(rowptr, col, mass)
    ends = zip(source.tolist(), target.tolist(), strict=True)
    plans = [optimal_plan(rows, u, v, alpha) for u, v in ends]
    work = [sum(amount * distance for _, _, amount, distance in plan) for plan in plans]
    return 1 - torch.tensor(work, dtype=torch.float64)


_op = register(
    "ollivier_ricci",
    _reference,
    lambda rowptr, col, mass, source, target, alpha: source.new_empty(
        source.numel(), dtype=torch.float64
    ),
)
