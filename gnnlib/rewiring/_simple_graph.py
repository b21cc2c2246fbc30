"""The graph that rewiring and curvature see: undirected, without self loops and repeated edges."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data.data import BaseData

from gnnlib._check import check_whole
from gnnlib._sorting import group_index


@dataclass(frozen=True)
class SimpleGraph:
    """One graph, or several side by side that no edge joins.

    Attributes:
        rowptr: ``[N + 1]``, where the neighbours of each node begin in ``col``.
        col: ``[2M]``, the neighbours of each node, in ascending order.
        edge: ``[2M]``, which of the M edges leads to each of them.
        ends: ``[2, M]``, the smaller and the larger end of every edge, in lexicographic order.
        of: ``[E]``, which of the M edges each of the caller's is, -1 for a self loop.
        ptr: ``[G + 1]``, where each graph's nodes begin, and where the last one's end.
    """

    rowptr: Tensor
    col: Tensor
    edge: Tensor
    ends: Tensor
    of: Tensor
    ptr: Tensor

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return self.rowptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """Number of undirected edges, M."""
        return self.ends.size(1)

    @property
    def num_graphs(self) -> int:
        """Number of graphs, G."""
        return self.ptr.numel() - 1

    @property
    def graph_of_edge(self) -> Tensor:
        """Which graph each of the M edges is in, ``[M]``, ascending."""
        return torch.searchsorted(self.ptr, self.ends[0], right=True) - 1

    @property
    def degree(self) -> Tensor:
        """Number of neighbours of every node, ``[N]``."""
        return self.rowptr.diff()

    @staticmethod
    def of_edges(
        edge_index: Tensor,
        num_nodes: int | None = None,
        *,
        undirected: bool | None = None,
        ptr: Tensor | None = None,
        asker: str = "this",
    ) -> "SimpleGraph":
        """The simple graph of a PyG ``edge_index``.

        Args:
            edge_index: ``[2, E]`` integers.
            num_nodes: by default one more than the largest node id.
            undirected: ``None`` takes a graph whose edges all go both ways and refuses others;
                ``True`` takes any, every edge for both ways.
            ptr: ``[G + 1]``, where each graph's nodes begin; by default all are one graph.
            asker: who wants it, for the messages.

        Raises:
            IndexError: a node id is outside ``[0, num_nodes)``.
            TypeError: ``edge_index`` is no tensor of integers.
            ValueError: it is not ``[2, E]``, an edge goes one way alone and ``undirected`` is not
                given or neither ``None`` nor ``True``, or an edge joins two graphs.
        """
        check_undirected(undirected, asker)
        edge_index = checked(edge_index)
        size = _size(edge_index, num_nodes)
        u, v = torch.minimum(*edge_index), torch.maximum(*edge_index)
        proper = (u != v).nonzero().flatten()
        ends, inverse = _distinct(u[proper], v[proper], size)
        of = torch.full_like(u, -1)
        of[proper] = inverse
        if undirected is None:
            _require_undirected(edge_index, of, ends, asker)
        ptr = torch.tensor([0, size]) if ptr is None else ptr
        graph = torch.searchsorted(ptr, ends, right=True)
        if (graph[0] != graph[1]).any():
            raise ValueError(f"{asker} found an edge between two graphs of the batch")
        return _of_ends(ends, size, of, ptr)

    def replaced(self, ends: Tensor) -> "SimpleGraph":
        """The same nodes with other edges.

        Args:
            ends: ``[2, M']``, the smaller and the larger end of every edge, in any order; repeated
                ones count once.

        Returns:
            The graph; its ``of [M']`` tells where each of ``ends`` went.
        """
        distinct, of = _distinct(ends[0], ends[1], self.num_nodes)
        return _of_ends(distinct, self.num_nodes, of, self.ptr)

    def edge_id(self, ends: Tensor) -> Tensor:
        """Which edge joins each pair of nodes ``[2, K]``, in any direction; -1 where none does."""
        size = max(self.num_nodes, 1)
        wanted = torch.minimum(*ends) * size + torch.maximum(*ends)
        if self.num_edges == 0:
            return torch.full_like(wanted, -1)
        known = self.ends[0] * size + self.ends[1]
        found = torch.searchsorted(known, wanted).clamp(max=self.num_edges - 1)
        return torch.where(known[found] == wanted, found, -1)


def check_undirected(undirected: object, asker: str) -> None:
    """Raise ValueError unless it is ``None`` or ``True``."""
    if undirected is not None and undirected is not True:
        raise ValueError(
            f"{asker} is defined on undirected graphs: `undirected` must be None (refuse others) "
            f"or True (take every edge for both ways), got {undirected!r}"
        )


def checked(edge_index: Any) -> Tensor:
    """``edge_index`` as a plain int64 tensor on the CPU.

    Raises:
        TypeError: it is no tensor of integers.
        ValueError: it is not ``[2, E]``.
    """
    if isinstance(edge_index, EdgeIndex):
        edge_index = edge_index.as_tensor()
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        fix = (
            "pass data.edge_index"
            if isinstance(edge_index, BaseData)
            else "of a sparse matrix `adj_t`, take `torch.stack(adj_t.coo()[:2][::-1])`"
        )
        raise TypeError(
            f"`edge_index` must be a tensor [2, E], got {type(edge_index).__name__} ({fix})"
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"`edge_index` must be [2, E], got {list(edge_index.shape)}")
    if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
        raise TypeError(f"`edge_index` must hold integers, got {edge_index.dtype}")
    return edge_index.detach().cpu().long()


def _size(edge_index: Tensor, num_nodes: int | None) -> int:
    if num_nodes is None:
        num_nodes = int(edge_index.max()) + 1 if edge_index.numel() else 0
    check_whole(0, num_nodes=num_nodes)
    require_nodes(edge_index, int(num_nodes))
    return int(num_nodes)


def require_nodes(edge_index: Tensor, num_nodes: int) -> None:
    """Raise IndexError unless all ends of edges are nodes."""
    if edge_index.numel() and not 0 <= edge_index.min() <= edge_index.max() < num_nodes:
        raise IndexError(
            f"`edge_index` must be in [0, {num_nodes}), got {int(edge_index.min())} to "
            f"{int(edge_index.max())} (is `num_nodes` right?)"
        )


def _require_undirected(edge_index: Tensor, of: Tensor, ends: Tensor, asker: str) -> None:
    """Raise unless every edge also goes the other way."""
    forward = edge_index[0] < edge_index[1]
    ways = torch.zeros(2, ends.size(1), dtype=torch.bool)
    for way, taken in enumerate((~forward & (of >= 0), forward)):
        ways[way].index_fill_(0, of[taken], True)
    alone = (~ways.all(0)).nonzero().flatten()
    if alone.numel():
        u, v = ends[:, alone[0]].tolist()
        source, target = (u, v) if ways[1, alone[0]] else (v, u)
        raise ValueError(
            f"{asker} is defined on undirected graphs, but {alone.numel()} of {ends.size(1)} "
            f"edges go one way only, as {source} -> {target} (pass undirected=True to take every "
            "edge for both ways, or use to_undirected first)"
        )


def _distinct(u: Tensor, v: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Edges in lexicographic order, each once, and which of them each of the given ones is."""
    key, of = torch.unique(u * size + v, return_inverse=True)
    u = key.div(max(size, 1), rounding_mode="floor")
    return torch.stack([u, key - u * size]), of


def _of_ends(ends: Tensor, size: int, of: Tensor, ptr: Tensor) -> SimpleGraph:
    """From edges in lexicographic order, each once."""
    # The smaller neighbours of a node are ends[0] where it is ends[1], the larger ones the other
    # way around, both in order: grouped stably, smaller ones first, they are sorted.
    node, other = ends.flip(0).flatten(), ends.flatten()
    rowptr, order = group_index(node, size)
    edge = order % max(ends.size(1), 1)
    return SimpleGraph(rowptr, other[order], edge, ends, of, ptr)
