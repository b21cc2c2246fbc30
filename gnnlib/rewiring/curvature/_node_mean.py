"""From curvatures of edges to those of nodes."""

from torch import Tensor

from gnnlib._check import check_tensor
from gnnlib.rewiring._simple_graph import SimpleGraph


def node_mean(curvature: Tensor, edge_index: Tensor, num_nodes: int | None = None) -> Tensor:
    r"""Mean curvature of the edges at every node.

    .. math::
        \kappa(u) = \frac{1}{d_u} \sum_{v \in N(u)} \kappa(u, v)

    Args:
        curvature: ``[E]``, of every edge, as the curvatures here return it.
        edge_index: ``[2, E]``. An edge counts once, whether it goes one way or both or is repeated,
            with the mean of its values if they differ. Self loops count for nothing.
        num_nodes: by default one more than the largest node id.

    Returns:
        ``[N]`` float64; 0 for nodes without edges. A batch gives what its graphs give.

    Raises:
        TypeError: an argument is no tensor.
        ValueError: there is not one curvature for every edge.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> node_mean(torch.tensor([1.0, 1.0, -1.0, -1.0]), path, 4).tolist()
        [1.0, 0.0, -1.0, 0.0]
    """
    graph = SimpleGraph.of_edges(edge_index, num_nodes, undirected=True, asker="node_mean")
    check_tensor("[E]", curvature=curvature)
    given = curvature.detach().cpu().double()
    if given.shape != graph.of.shape:
        raise ValueError(
            f"`curvature` must be [{graph.of.numel()}], one for each edge, got "
            f"{list(curvature.shape)} (compute it of all edges)"
        )
    real = graph.of >= 0
    of, given = graph.of[real], given[real]
    value = given.new_zeros(graph.num_edges).index_add_(0, of, given) / of.bincount()
    total = given.new_zeros(graph.num_nodes).index_add_(0, graph.ends.flatten(), value.repeat(2))
    return (total / graph.degree.clamp(min=1)).to(edge_index.device)
