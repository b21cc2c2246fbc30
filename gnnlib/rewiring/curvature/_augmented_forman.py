"""Augmented Forman-Ricci curvature."""

from functools import partial

from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._cycles import cycle_counts_of
from gnnlib.rewiring.curvature._faces import per_edge
from gnnlib.rewiring.curvature._triangles import triangle_counts_of


def augmented_forman(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    cycles: int = 3,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Augmented Forman-Ricci curvature of edges.

    Of an edge on :math:`t` triangles and :math:`q` cycles of length four,

    .. math::
        \mathrm{AF}_3(u, v) = 4 - d_u - d_v + 3 t, \qquad
        \mathrm{AF}_4(u, v) = 4 - d_u - d_v + 3 t + 2 q

    (Fesser and Weber, 2023, "Mitigating Over-Smoothing and Over-Squashing using Augmentations of
    Forman-Ricci Curvature", section 2; triangles from Samal et al., 2018). A cycle of length four
    counts with and without diagonals. Triangles alone take O(M a), with a the arboricity, cycles
    of length four about the sum of squared degrees.

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        cycles: the longest cycles that count, 3 or 4.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown.

    Returns:
        ``[E]`` or ``[K]`` float64, in the order of ``edge_index``; NaN for self loops. A batch
        gives what its graphs give.

    Raises:
        ValueError: ``cycles`` is neither 3 nor 4, or an edge goes one way only and ``undirected``
            is not given.

    Example:
        >>> import torch
        >>> bowtie = torch.tensor([[0, 0, 1, 2, 2, 3], [1, 2, 2, 3, 4, 4]])
        >>> augmented_forman(bowtie, undirected=True).tolist()
        [3.0, 1.0, 1.0, 1.0, 1.0, 3.0]
        >>> square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> augmented_forman(square, cycles=4, undirected=True).tolist()
        [2.0, 2.0, 2.0, 2.0]
    """
    if cycles not in (3, 4):
        raise ValueError(f"`cycles` must be 3 (triangles) or 4 (and squares), got {cycles!r}")
    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="augmented_forman",
        compute=partial(augmented_forman_of, cycles=cycles),
        at_once=2**20,
    )


def augmented_forman_of(graph: SimpleGraph, edges: Tensor, cycles: int = 3) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]``; see :func:`augmented_forman`."""
    value: Tensor = 4 - graph.degree[graph.ends[:, edges]].sum(0).double()
    if cycles == 3:
        return value + 3 * triangle_counts_of(graph, edges)
    triangles, _, _, _, squares = cycle_counts_of(graph, edges)
    value += 3 * triangles + 2 * squares
    return value
