"""Dir-GNN's synthetic directed graphs: one whose labels compare both directions, one that grows."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)

from gnnlib._check import check_whole


class DirectedNeighborMean(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    r"""One random directed graph whose nodes ask: do those before me have more than those after?

    .. math::
        y_i = \mathbb{1}\Big[\operatorname*{mean}_{j \to i} x_j >
        \operatorname*{mean}_{i \to j} x_j\Big]

    The synthetic task of Rossi et al., 2023, "Edge Directionality Improves Learning on Heterophilic
    Graphs". Every ordered pair of two nodes is an edge with probability ``p``, features are uniform
    in [-1, 1], and the mean over nobody is 0. Who hears one direction alone, or both mixed, cannot
    tell.

    Differs: the authors' code calls those that a node's edges point to its in-neighbours, which
    turns all edges around; it also cannot run as it was released.

    Args:
        num_nodes: How many nodes (at least 1; default 5000).
        p: Probability of an edge (in [0, 1]; default 0.001).
        seed: Any integer; the same seed gives the same graph and the same split (default 0). The
            global random state is neither read nor changed.
        transform: Applied to the graph when it is taken out of the data set.

    The only item is a `Data` with ``x [N, 1]``, float32; ``edge_index [2, E]``; ``y [N]``, the
    integers 0 and 1; and ``train_mask``, ``val_mask`` and ``test_mask``, a half and two quarters
    of the nodes.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> data = DirectedNeighborMean(num_nodes=100, p=0.05)[0]
        >>> data.num_features, sorted(data.y.unique().tolist()), int(data.train_mask.sum())
        (1, [0, 1], 50)
    """

    def __init__(
        self,
        num_nodes: int = 5000,
        p: float = 0.001,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        check_whole(num_nodes=num_nodes)
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        super().__init__(transform=transform)
        generator = torch.Generator().manual_seed(seed % 2**63)
        edge_index = _random_pairs(num_nodes, p, generator)
        x = 2 * torch.rand(num_nodes, generator=generator) - 1
        before, after = (_mean(x, way) for way in (edge_index, edge_index.flip(0)))
        data = Data(x=x.unsqueeze(1), edge_index=edge_index, y=(before > after).long())
        self._data, self.slices = _split(data, generator), None


class DirectedPreferentialAttachment(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    r"""One directed graph that grows: a new node points to nodes that are popular and compatible.

    .. math::
        P(u \to v) \propto (d^-_v + 0.01) \, H_{y_u y_v}

    The graphs of Rossi et al., 2023, "Edge Directionality Improves Learning on Heterophilic
    Graphs", as their code makes them. Nodes come one by one, each of a class drawn uniformly, and
    point to ``m`` different nodes among those that are there, where :math:`d^-_v` is how many point
    to :math:`v` so far. The compatibility :math:`H` has the homophily ``h`` on its diagonal; the
    rest of each row is drawn uniformly and sums to ``1 - h``.

    Differs: a new node is not among those it may point to, so that there are no self loops.

    Args:
        num_nodes: How many nodes (at least 1; default 1000).
        num_classes: How many classes (at least 2; default 5).
        m: How many edges a new node has, or as many as there are compatible nodes (at least 1;
            default 2).
        h: Homophily (in [0, 1]; default 0.1).
        seed: Any integer; the same seed gives the same graph and the same split (default 0). The
            global random state is neither read nor changed.
        transform: Applied to the graph when it is taken out of the data set.

    The only item is a `Data` without features, with ``edge_index [2, E]``; ``y [N]``, the classes;
    ``compatibility``, :math:`H`; and ``train_mask``, ``val_mask`` and ``test_mask``, a half and two
    quarters of the nodes.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> data = DirectedPreferentialAttachment(num_nodes=100)[0]
        >>> data.num_nodes, data.num_edges, data.has_self_loops()
        (100, 197, False)
    """

    def __init__(
        self,
        num_nodes: int = 1000,
        num_classes: int = 5,
        m: int = 2,
        h: float = 0.1,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        check_whole(num_nodes=num_nodes, m=m)
        check_whole(2, num_classes=num_classes)
        if not 0 <= h <= 1:
            raise ValueError(f"h must be in [0, 1], got {h}")
        super().__init__(transform=transform)
        generator = torch.Generator().manual_seed(seed % 2**63)
        other = torch.rand(num_classes, num_classes, generator=generator).fill_diagonal_(0)
        matrix = (1 - h) * other / other.sum(1, keepdim=True)
        matrix.fill_diagonal_(h)
        y = torch.randint(num_classes, (num_nodes,), generator=generator)
        edge_index = _grown(y, matrix, m, generator)
        data = Data(edge_index=edge_index, y=y, compatibility=matrix, num_nodes=num_nodes)
        self._data, self.slices = _split(data, generator), None


def _random_pairs(num_nodes: int, p: float, generator: torch.Generator) -> Tensor:
    """Each ordered pair of two nodes with probability ``p``, row by row to need little memory."""
    rows = []
    for source in range(num_nodes):
        target = (torch.rand(num_nodes - 1, generator=generator) < p).nonzero().flatten()
        # Nobody is a neighbour of its own: the numbers skip it.
        target += target >= source
        rows.append(torch.stack([torch.full_like(target, source), target]))
    return torch.cat(rows, dim=1)


def _mean(x: Tensor, edge_index: Tensor) -> Tensor:
    """The mean over the sources of the edges that point to each node, 0 over none."""
    src, dst = edge_index
    total = torch.zeros_like(x, dtype=torch.double).index_add(0, dst, x[src].double())
    mean: Tensor = total / dst.bincount(minlength=len(x)).clamp(min=1)
    return mean


def _grown(y: Tensor, matrix: Tensor, m: int, generator: torch.Generator) -> Tensor:
    popular = torch.full((len(y),), 0.01)
    edges = [torch.empty(2, 0, dtype=torch.long)]
    for u in range(1, len(y)):
        score = popular[:u] * matrix[y[u], y[:u]]
        count = min(m, int(score.count_nonzero()))
        if count:
            chosen = torch.multinomial(score, count, generator=generator)
            popular[chosen] += 1
            edges.append(torch.stack([torch.full_like(chosen, u), chosen]))
    return torch.cat(edges, dim=1)


def _split(data: Data, generator: torch.Generator) -> Data:
    """Half of the nodes to train, a quarter each to validate and to test."""
    n = data.num_nodes
    parts = torch.randperm(n, generator=generator).tensor_split([n // 2, n // 2 + n // 4])
    for name, part in zip(("train", "val", "test"), parts, strict=True):
        mask = torch.zeros(n, dtype=torch.bool)
        mask[part] = True
        data[f"{name}_mask"] = mask
    return data
