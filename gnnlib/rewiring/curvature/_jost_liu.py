"""Bounds of Ollivier-Ricci curvature that need only degrees and triangles."""

import torch
from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._faces import per_edge
from gnnlib.rewiring.curvature._triangles import triangle_counts_of


def jost_liu(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Bounds of Ollivier-Ricci curvature without laziness, from degrees and triangles.

    Of an edge with ends of degrees :math:`d_u, d_v` on :math:`t` triangles,

    .. math::
        -\Bigl(1 - \tfrac1{d_u} - \tfrac1{d_v} - \tfrac{t}{d_u \wedge d_v}\Bigr)_+
        - \Bigl(1 - \tfrac1{d_u} - \tfrac1{d_v} - \tfrac{t}{d_u \vee d_v}\Bigr)_+
        + \tfrac{t}{d_u \vee d_v} \;\le\; \kappa_0(u, v) \;\le\; \tfrac{t}{d_u \vee d_v}

    (Jost and Liu, 2014, "Ollivier's Ricci curvature, local clustering and curvature-dimension
    inequalities on graphs"). The lower one is attained on trees.

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown.

    Returns:
        The lower and the upper bounds, ``[E]`` or ``[K]`` float64 each; NaN for self loops.

    Raises:
        ValueError: an edge goes one way only and ``undirected`` is not given.

    Example:
        >>> import torch
        >>> square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> [bound.tolist() for bound in jost_liu(square, undirected=True)]
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    lower, upper = per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="jost_liu",
        compute=jost_liu_of,
        at_once=2**20,
    )
    return lower, upper


def jost_liu_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    """Lower and upper bounds of some of a graph's edges, ``[2, K]``; see :func:`jost_liu`."""
    triangles = triangle_counts_of(graph, edges).double()
    degree = graph.degree[graph.ends[:, edges]].double()
    shared = triangles / degree.sort(0, descending=True).values  # of the larger, of the smaller
    apart = (1 - (1 / degree).sum(0) - shared).clamp(min=0).sum(0)
    return torch.stack([shared[0] - apart, shared[0]])
