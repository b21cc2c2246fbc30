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
    r"""Balanced Forman curvature of edges.

    Of an edge with ends of degrees :math:`d_i, d_j` on :math:`t` triangles,

    .. math::
        \mathrm{Ric}(i, j) = \frac{2}{d_i} + \frac{2}{d_j} - 2
        + \frac{2 t}{d_i \vee d_j} + \frac{t}{d_i \wedge d_j}
        + \frac{|\square_i| + |\square_j|}{\gamma_{\max}\, (d_i \vee d_j)},

    and 0 where :math:`d_i \wedge d_j = 1` (Topping et al., 2022, "Understanding over-squashing and
    bottlenecks on graphs via curvature", definition 1). :math:`\square_i` are the neighbours of
    :math:`i` alone that lie on a 4-cycle through the edge without a diagonal,
    :math:`\gamma_{\max}` is the most such cycles through one of :math:`\square_i \cup \square_j`,
    and where there are none the last term is 0. It is always above -2. All edges together take
    about the sum of squared degrees.

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown.

    Returns:
        ``[E]`` or ``[K]`` float64, in the order of ``edge_index``; NaN for self loops. A batch
        gives what its graphs give.

    Raises:
        ValueError: an edge goes one way only and ``undirected`` is not given.

    Differs: SDRF's code takes a directed graph unless told otherwise.

    Example:
        >>> import torch
        >>> square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> balanced_forman(square, undirected=True).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> balanced_forman(path).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=progress,
        asker="balanced_forman",
        compute=balanced_forman_of,
        at_once=2**20,
    )


def balanced_forman_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    """The curvature of some of a graph's edges, ``[K]``; see :func:`balanced_forman`."""
    triangles, boxes_i, boxes_j, busiest, _ = cycle_counts_of(graph, edges).double()
    low, high = graph.degree[graph.ends[:, edges]].double().sort(0).values
    boxes = (boxes_i + boxes_j) / (busiest * high)
    value: Tensor = 2 / low + 2 / high - 2 + 2 * triangles / high + triangles / low + boxes
    return value.masked_fill(low == 1, 0)
