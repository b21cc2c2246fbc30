"""DirectedSBM, graphs whose clusters show in the direction of the edges alone."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)

MetaGraph = Literal["path", "cycle", "complete", "star", "multipartite"]
# Below, directions between clusters would contradict each other, or there would be none.
_LEAST = {"path": 2, "cycle": 3, "complete": 2, "star": 2, "multipartite": 3}


class DirectedSBM(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    r"""Directed stochastic block models: as many edges everywhere, but clusters have a direction.

    .. math::
        \Pr[u \to v] = p \, F_{kl} \quad \text{for } u \in C_k, v \in C_l, u \neq v, \qquad
        F_{kl} = \begin{cases}
            1 - \eta & k \to l \text{ in the meta-graph} \\
            \eta & l \to k \text{ in the meta-graph} \\
            1/2 & \text{otherwise}
        \end{cases}

    each independently of the others; the families of He et al., 2022, "DIGRAC: Digraph Clustering
    Based on Flow Imbalance". As :math:`F_{kl} + F_{lk} = 1`, edges are equally likely between all
    pairs of nodes: who made them undirected would find no clusters. With :math:`\eta = 1/2` there
    are none.

    The meta-graphs, on clusters 0 to ``K - 1``: *path*, each points to the next; *cycle*, and the
    last to the first; *complete*, every pair, in a direction that is drawn; *star*, cluster
    :math:`\lfloor (K - 1) / 2 \rfloor` points to those of odd number, and those of even number
    point to it; *multipartite*, three parts of :math:`\lceil K / 9 \rceil`, :math:`\lceil K / 3
    \rceil` and the other clusters, all of one part pointing to all of the next. Clusters of one
    part, or on one side of a star, point to the same ones and cannot be told apart.

    Args:
        meta_graph: ``"path"``, ``"cycle"``, ``"complete"``, ``"star"`` or ``"multipartite"``.
        num_clusters: :math:`K`, at least 2, for cycle and multipartite 3 (default 3).
        num_nodes: Nodes of a graph, at least ``num_clusters`` (default 1000).
        p: How many edges there are between two nodes on average, both ways together (in [0, 1];
            default 0.02).
        rho: Size of the last cluster over that of the first (at least 1; default 1.5); those
            between grow by the same factor from one to the next.
        eta: Probability that an edge of the meta-graph is turned (in [0, 0.5]; default 0.1).
        num_graphs: How many graphs (at least 1; default 1), of the same meta-graph.
        seed: Any integer; the same seed gives the same graphs (default 0). The global random state
            is neither read nor changed.
        transform: Applied to each graph when it is taken out of the data set.

    Each item is a `Data` with ``edge_index [2, E]``, ``y [num_nodes]``, the cluster of each node,
    in random order, and ``num_nodes``; there are no features. ``flow [K, K]`` of the data set is
    :math:`F`.

    Raises:
        ValueError: The meta-graph is unknown, or a number is out of its range.

    Example:
        >>> graphs = DirectedSBM("cycle", num_clusters=3, num_nodes=100, p=0.1)
        >>> graphs[0].y.bincount().tolist(), graphs.flow[0].tolist()
        ([27, 33, 40], [0.5, 0.9, 0.1])
    """

    def __init__(
        self,
        meta_graph: MetaGraph = "cycle",
        num_clusters: int = 3,
        num_nodes: int = 1000,
        p: float = 0.02,
        rho: float = 1.5,
        eta: float = 0.1,
        num_graphs: int = 1,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        if meta_graph not in get_args(MetaGraph):
            known = ", ".join(get_args(MetaGraph))
            raise ValueError(f"meta_graph must be one of {known}, got {meta_graph!r}")
        if num_clusters < _LEAST[meta_graph]:
            raise ValueError(
                f"num_clusters must be at least {_LEAST[meta_graph]} for {meta_graph!r}, got "
                f"{num_clusters}"
            )
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        if not 0 <= eta <= 0.5:
            raise ValueError(f"eta must be in [0, 0.5], got {eta}")
        if not 1 <= rho < math.inf:
            raise ValueError(f"rho must be at least 1, got {rho}")
        if num_graphs < 1:
            raise ValueError(f"num_graphs must be at least 1, got {num_graphs}")
        sizes = _sizes(num_nodes, num_clusters, rho)
        if min(sizes) < 1:
            raise ValueError(
                f"num_nodes must give every cluster a node, got sizes {sizes} of {num_nodes} nodes"
            )
        super().__init__(transform=transform)
        generator = torch.Generator().manual_seed(seed % 2**63)
        self.flow = _flow(meta_graph, num_clusters, eta, generator)
        graphs = [_graph(sizes, p * self.flow, generator) for _ in range(num_graphs)]
        self._data, self.slices = self.collate(graphs)


def _sizes(num_nodes: int, num_clusters: int, rho: float) -> list[int]:
    """Sizes that grow by one factor, the ends of clusters rounded."""
    shares = [rho ** (k / (num_clusters - 1)) for k in range(num_clusters)]
    ends = [round(num_nodes * sum(shares[:k]) / sum(shares)) for k in range(num_clusters + 1)]
    return [end - start for start, end in pairwise(ends)]


def _flow(meta_graph: MetaGraph, num: int, eta: float, generator: torch.Generator) -> Tensor:
    flow = torch.full((num, num), 0.5, dtype=torch.float64)
    for a, b in _meta_edges(meta_graph, num, generator):
        flow[a, b], flow[b, a] = 1 - eta, eta
    return flow


def _meta_edges(
    meta_graph: MetaGraph, num: int, generator: torch.Generator
) -> list[tuple[int, int]]:
    if meta_graph in ("path", "cycle"):
        last = num if meta_graph == "cycle" else num - 1
        return [(k, (k + 1) % num) for k in range(last)]
    if meta_graph == "star":
        centre = (num - 1) // 2
        others = [k for k in range(num) if k != centre]
        return [(centre, k) if k % 2 else (k, centre) for k in others]
    if meta_graph == "multipartite":
        first = math.ceil(num / 9)
        second = first + math.ceil(num / 3)
        parts = range(first), range(first, second), range(second, num)
        return [(a, b) for i in (0, 1) for a in parts[i] for b in parts[i + 1]]
    pairs = torch.triu_indices(num, num, 1).T
    turned = torch.rand(len(pairs), generator=generator) < 0.5
    ends = torch.where(turned.unsqueeze(1), pairs.flip(1), pairs)
    return [(a, b) for a, b in ends.tolist()]


def _graph(sizes: list[int], prob: Tensor, generator: torch.Generator) -> Data:
    num_nodes, starts = sum(sizes), [sum(sizes[:k]) for k in range(len(sizes))]
    blocks = []
    for a, num_src in enumerate(sizes):
        for b, num_dst in enumerate(sizes):
            # Inside a cluster, of all pairs but those of a node with itself.
            width = num_dst - (a == b)
            place = _kept(num_src * width, float(prob[a, b]), generator)
            src = place // max(width, 1)
            dst = place - src * width
            if a == b:
                dst = dst + (dst >= src)
            blocks.append(torch.stack([src + starts[a], dst + starts[b]]))
    names = torch.randperm(num_nodes, generator=generator)
    edge_index = names[torch.cat(blocks, dim=1)]
    edge_index = edge_index[:, (edge_index[0] * num_nodes + edge_index[1]).argsort()]
    y = torch.empty(num_nodes, dtype=torch.long)
    y[names] = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Data(edge_index=edge_index, y=y, num_nodes=num_nodes)


def _kept(size: int, p: float, generator: torch.Generator) -> Tensor:
    """Which of ``size`` things are kept if each is with probability ``p``: the gaps are drawn."""
    if p <= 0 or size == 0:
        return torch.empty(0, dtype=torch.long)
    if p >= 1:
        return torch.arange(size)
    batch = int(size * p + 4 * math.sqrt(size * p)) + 16
    last, found = -1, []
    while last < size:
        drawn = torch.rand(batch, generator=generator, dtype=torch.float64)
        gap = (torch.log1p(-drawn) / math.log1p(-p)).floor().clamp(max=size).long() + 1
        place = last + gap.cumsum(0)
        found.append(place[place < size])
        last = int(place[-1])
    return torch.cat(found)
