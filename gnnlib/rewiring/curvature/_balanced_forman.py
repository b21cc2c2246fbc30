"""Balanced Forman curvature."""

from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._cycles import cycle_counts_of
from gnnlib.rewiring.curvature._faces import per_edge


def balanced_forman(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="balanced_forman",
        compute=balanced_forman_of,
    )


def balanced_forman_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]`` of ``[M]``; see :func:`balanced_forman`."""
    triangles, boxes_i, boxes_j, busiest, _ = cycle_counts_of(graph, edges).double()
    degree = graph.degree[graph.ends[:, edges]].double()
    low, high = degree.min(0).values, degree.max(0).values
    boxes = (boxes_i + boxes_j) / (busiest * high)
    value = 2 / low + 2 / high - 2 + 2 * triangles / high + triangles / low + boxes
    return value.masked_fill(low == 1, 0)
