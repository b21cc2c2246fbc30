"""Bounds of Ollivier-Ricci curvature that need only degrees and triangles."""

import torch
from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._cycles import cycle_counts_of
from gnnlib.rewiring.curvature._faces import per_edge


def jost_liu(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    lower, upper = per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="jost_liu",
        compute=lambda graph, part: jost_liu_of(graph, part),
    )
    return lower, upper


def jost_liu_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    """The lower and the upper bounds of some of a graph's edges, ``[2, K]``; see :func:`jost_liu`."""
    triangles = cycle_counts_of(graph, edges)[0].double()
    degree = graph.degree[graph.ends[:, edges]].double()
    shared = triangles / degree.sort(0, descending=True).values  # of the larger, of the smaller
    apart = (1 - (1 / degree).sum(0) - shared).clamp(min=0).sum(0)
    return torch.stack([shared[0] - apart, shared[0]])
