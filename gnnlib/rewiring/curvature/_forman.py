"""Forman-Ricci curvature."""

import torch
from torch import Tensor

from gnnlib._check import check_tensor
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._faces import per_edge
from gnnlib.rewiring.curvature._transport import weight_of


def forman(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    edge_weight: Tensor | None = None,
    node_weight: Tensor | None = None,
    undirected: bool | None = None,
    edges: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Forman-Ricci curvature of edges.

    .. math::
        F(u, v) = w_e \Bigl( \frac{w_u}{w_e} + \frac{w_v}{w_e}
        - \sum_{e_u \sim e} \frac{w_u}{\sqrt{w_e w_{e_u}}}
        - \sum_{e_v \sim e} \frac{w_v}{\sqrt{w_e w_{e_v}}} \Bigr)
        \qquad \text{without weights:} \quad 4 - d_u - d_v

    for an edge :math:`e = \{u, v\}` and the other edges :math:`e_u, e_v` at its two ends (Forman,
    2003, for graphs; Sreejith et al., 2016, "Forman curvature for complex networks", section 2).

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        edge_weight: ``[E]`` positive, the same for both directions of an edge; 1 by default.
        node_weight: ``[N]`` positive; 1 by default.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown.

    Returns:
        ``[E]`` or ``[K]`` float64, in the order of ``edge_index``; NaN for self loops. A batch
        gives what its graphs give.

    Raises:
        ValueError: a weight is not positive and finite, there are too few or too many, those of an
            edge differ, or an edge goes one way only and ``undirected`` is not given.

    Example:
        >>> import torch
        >>> star = torch.tensor([[0, 0, 0], [1, 2, 3]])
        >>> forman(star, undirected=True).tolist()
        [0.0, 0.0, 0.0]
        >>> forman(star, undirected=True, edge_weight=torch.tensor([1.0, 4.0, 4.0])).tolist()
        [1.0, -1.0, -1.0]
    """

    def compute(graph: SimpleGraph, part: Tensor) -> Tensor:
        mass = _node_weight(graph, node_weight)
        return forman_of(graph, part, weight_of(graph, edge_weight), mass)

    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="forman",
        compute=compute,
        at_once=2**20,
    )


def forman_of(
    graph: SimpleGraph, edges: Tensor, weight: Tensor | None = None, mass: Tensor | None = None
) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]``; see :func:`forman`.

    ``weight`` is ``[M]``, ``mass`` ``[N]``.
    """
    ends = graph.ends[:, edges]
    mass = torch.ones(graph.num_nodes, dtype=torch.float64) if mass is None else mass
    if weight is None:
        return (mass * (2 - graph.degree))[ends].sum(0)
    root = weight.sqrt()
    # Over all edges at a node: the edge itself as well, hence the 2.
    around = torch.zeros(graph.num_nodes, dtype=torch.float64)
    around.index_add_(0, graph.ends.flatten(), (1 / root).repeat(2))
    value: Tensor = (mass * 2)[ends].sum(0) - root[edges] * (mass * around)[ends].sum(0)
    return value


def _node_weight(graph: SimpleGraph, node_weight: Tensor | None) -> Tensor | None:
    """As float64 ``[N]`` on the CPU.

    Raises:
        TypeError: it is no tensor.
        ValueError: there is not one for each node, or one is not positive and finite.
    """
    if node_weight is None:
        return None
    check_tensor("[N]", node_weight=node_weight)
    mass = node_weight.detach().cpu().double()
    if mass.shape != (graph.num_nodes,):
        raise ValueError(
            f"`node_weight` must be [{graph.num_nodes}], one for each node, got "
            f"{list(node_weight.shape)}"
        )
    if not bool((mass > 0).all() and mass.isfinite().all()):
        raise ValueError("`node_weight` must be positive and finite")
    return mass
