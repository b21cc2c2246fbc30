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
    r"""Ollivier-Ricci curvature of edges, exactly.

    .. math::
        \kappa_\alpha(u, v) = 1 - W_1(\mu_u, \mu_v), \qquad
        \mu_u(x) = \alpha\,[x = u] + (1 - \alpha)\, \frac{w_{ux}}{\sum_y w_{uy}}

    compares the next step of a lazy walk from one end of an edge with that from the other:
    :math:`W_1` is the least mass times distance that turns one into the other, and distance counts
    edges (Ollivier, 2009; with laziness, Lin, Lu and Yau, 2011; with weights, Bauer, Jost and Liu,
    2012). It lies in [-2, 1]: below 0 where only the edge itself joins the two neighbourhoods,
    above 0 where they overlap.

    Distances between the neighbours of two ends are 0 to 3, so :math:`W_1` comes from two maximal
    flows in the graph around the edge; no distance matrix, no linear program. Where weights are
    whole numbers (or there are none) and ``alpha`` is 0 or 1/2, nothing is rounded before the last
    division. Memory is O(N + E).

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        alpha: the share of mass that stays, in [0, 1]; 0 in BORF, 1/2 in PIORF and in
            GraphRicciCurvature. At 1 all is 0.
        edge_weight: ``[E]`` positive, by which a walk chooses its next edge, the same for both
            directions of an edge; ``None`` for a uniform choice. Distances still count edges.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only, as
            directed graphs have several definitions and unreachable neighbours. ``True`` takes
            every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown. Ctrl-C is heard with and without.

    Returns:
        ``[E]`` or ``[K]`` float64, in the order of ``edge_index``; NaN for self loops. A batch
        gives what its graphs give.

    Raises:
        ValueError: ``alpha`` is no share, a weight is not positive or not the same both ways, or an
            edge goes one way only and ``undirected`` is not given.

    Differs: GraphRicciCurvature takes weights for lengths. BORF's code takes a directed graph after
    its first edit; this one has none.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> ollivier_ricci(path).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        >>> triangle = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> ollivier_ricci(triangle, undirected=True).tolist()
        [0.5, 0.5, 0.5]
    """
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
    )


def ollivier_ricci_of(
    graph: SimpleGraph, edges: Tensor, alpha: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]`` of ``[M]``; see :func:`ollivier_ricci`.

    ``weight`` is ``[M]``.
    """
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
