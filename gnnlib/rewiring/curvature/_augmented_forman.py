"""Augmented Forman-Ricci curvature."""

from functools import partial

from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._cycles import cycle_counts_of
from gnnlib.rewiring.curvature._faces import per_edge


def augmented_forman(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    cycles: int = 3,
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
        asker="augmented_forman",
        compute=partial(augmented_forman_of, cycles=cycles),
    )


def augmented_forman_of(graph: SimpleGraph, edges: Tensor, cycles: int = 3) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]`` of ``[M]``; see :func:`augmented_forman`."""
    triangles, _, _, _, squares = cycle_counts_of(graph, edges)
    value = 4 - graph.degree[graph.ends[:, edges]].sum(0) + 3 * triangles
    return (value + 2 * squares if cycles == 4 else value).double()
