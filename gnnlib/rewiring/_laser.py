"""Edges to nodes a few hops away that few walks lead to."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_number, check_whole
from gnnlib._hash import signed, uniform
from gnnlib._library import register
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph


@functional_transform("laser")
class LASER(Rewiring):
    r"""Join nodes to the worst connected ones at each distance (functional name: ``laser``).

    Every node :math:`i` chooses, for each distance :math:`r = 2, \dots, R`, from its orbit
    :math:`O_r(i) = \{j : d(i, j) = r\}` the nodes with the lowest connectivity

    .. math::
        \mu(i, j) = \left[(A + I)^8\right]_{ij}

    that is :math:`\lceil \rho\, |O_r(i)| \rceil` of them, at least ``minimum_additions`` (Barbero,
    Velingker, Saberi, Bronstein and Di Giovanni, 2024, "Locality-Aware Graph-Rewiring in GNNs").
    An edge is added where either end chose the other; its ``edge_type`` is :math:`r - 1` (counted
    from ``relation``), so that a relational layer, such as :class:`gnnlib.layers.DelayedConv`, can
    tell the snapshots apart: 0 for the graph's own edges, 1 for two hops, and so on.

    No edge goes. Each node looks at the nodes up to :math:`(R + 8) / 2` hops away, and no matrix of
    all pairs is made; the result grows with the orbits, which in a graph with a hub are large.

    Connectivities are compared to 30 bits; equal ones are taken in random order, which depends on
    ``seed`` and on both nodes' ids within their graph.

    Differs: the paper's code joins a node to those with smaller ids alone and one way, so that its
    result depends on the numbering; from three snapshots on it takes distances 3 and 4 for one;
    and it rounds :math:`\rho\, |O_r(i)|` to the nearest even where this rounds up.

    Args:
        num_snapshots: R, the largest distance of nodes that are joined, at least 1 (no new edges).
            The defaults are the paper's for peptides.
        additions_factor: :math:`\rho`, which share of an orbit is chosen, in [0, 1].
        minimum_additions: how many of an orbit are chosen at least, if it has them.
        shared: the arguments of :class:`Rewiring`; ``seed`` is that of the choice among nodes that
            are connected equally.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> from torch_geometric.data import Data
        >>> ends = torch.tensor([[0, 1, 2], [1, 2, 3]])  # a path
        >>> data = LASER(3)(Data(edge_index=torch.cat([ends, ends.flip(0)], 1), num_nodes=4))
        >>> data.edge_index[:, 6::2].tolist(), data.edge_type[6::2].tolist()
        ([[0, 0, 1], [2, 3, 3]], [1, 2, 1])
    """

    def __init__(
        self,
        num_snapshots: int = 3,
        additions_factor: float = 0.5,
        minimum_additions: int = 1,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_whole(num_snapshots=num_snapshots)
        check_whole(0, minimum_additions=minimum_additions)
        check_number(0, 1, additions_factor=additions_factor)  # a share of an orbit
        self.num_snapshots = int(num_snapshots)
        self.additions_factor = float(additions_factor)
        self.minimum_additions = int(minimum_additions)

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Edges come, none goes."""
        added, distance = _op(
            graph.rowptr,
            graph.col,
            graph.ptr,
            self.num_snapshots,
            self.additions_factor,
            self.minimum_additions,
            signed(self.seed),
        )
        return Edit.adding(graph, added, distance - 1)

    def options(self) -> dict[str, Any]:
        """The number of snapshots and what is taken of each."""
        return {
            "num_snapshots": self.num_snapshots,
            "additions_factor": self.additions_factor,
            "minimum_additions": self.minimum_additions,
        }


def _distances(adj: Tensor, most: int) -> Tensor:
    level = seen = torch.eye(len(adj), dtype=torch.bool)
    distance = torch.zeros_like(adj, dtype=torch.long)
    for hop in range(1, most + 1):
        level = (adj @ level.double() > 0) & ~seen
        seen = seen | level
        distance[level] = hop
    return distance


def _reference(
    rowptr: Tensor,
    col: Tensor,
    ptr: Tensor,
    num_snapshots: int,
    additions_factor: float,
    minimum_additions: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    row = torch.arange(rowptr.numel() - 1).repeat_interleave(rowptr.diff())
    added, hops = [ptr.new_empty(0, 2)], [ptr.new_empty(0)]
    for first, last in zip(ptr.tolist(), ptr.tolist()[1:], strict=False):
        own, nodes = slice(int(rowptr[first]), int(rowptr[last])), torch.arange(last - first)
        adj = torch.zeros(last - first, last - first, dtype=torch.float64)
        adj[row[own] - first, col[own] - first] = 1
        walks = torch.linalg.matrix_power(adj + torch.eye(last - first), 8)
        rounded = walks.view(torch.int64) + 2**22 >> 23  # 30 bits, as numbers in the same order
        draws = uniform(seed, nodes[:, None], nodes).tolist()
        distance = _distances(adj, num_snapshots)
        chosen = torch.zeros_like(distance, dtype=torch.bool)
        for i, few in enumerate(rounded.tolist()):
            for hop in range(2, num_snapshots + 1):
                orbit = (distance[i] == hop).nonzero().flatten().tolist()
                count = math.ceil(additions_factor * len(orbit) - 1e-9)
                ranked = sorted((few[j], draws[i][j], j) for j in orbit)
                chosen[i, [j for *_, j in ranked[: max(count, minimum_additions)]]] = True
        edges = (chosen & ~chosen.t().tril(-1)).nonzero()
        added.append(edges.sort(1).values + first)
        hops.append(distance[edges[:, 0], edges[:, 1]])
    return torch.cat(added).t().contiguous(), torch.cat(hops)


def _fake(_rowptr: Tensor, _col: Tensor, ptr: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    size = get_ctx().new_dynamic_size()
    return ptr.new_empty(2, size), ptr.new_empty(size)


_op = register("laser", _reference, _fake)
