"""The graph that rewiring and curvature see: undirected, without self loops and repeated edges."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex


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
                given, or an edge joins two graphs.
        """
        edge_index = checked(edge_index)
        size = _size(edge_index, num_nodes)
        u, v = edge_index.min(0).values, edge_index.max(0).values
        loop = u == v
        key, inverse = torch.unique((u * size + v)[~loop], return_inverse=True)
        ends = torch.stack([key // max(size, 1), key % max(size, 1)])
        of = torch.full_like(u, -1)
        of[~loop] = inverse
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
        size = max(self.num_nodes, 1)
        key, of = torch.unique(ends[0] * size + ends[1], return_inverse=True)
        return _of_ends(torch.stack([key // size, key % size]), self.num_nodes, of, self.ptr)

    def edge_id(self, ends: Tensor) -> Tensor:
        """Which edge joins each pair of nodes ``[2, K]``, in any direction; -1 where none does."""
        size = max(self.num_nodes, 1)
        wanted = ends.min(0).values * size + ends.max(0).values
        if self.num_edges == 0:
            return torch.full_like(wanted, -1)
        known = self.ends[0] * size + self.ends[1]
        found = torch.searchsorted(known, wanted).clamp(max=self.num_edges - 1)
        return torch.where(known[found] == wanted, found, -1)


def checked(edge_index: Any) -> Tensor:
    """``edge_index`` as a plain int64 tensor on the CPU.

    Raises:
        TypeError: it is no tensor of integers.
        ValueError: it is not ``[2, E]``.
    """
    if isinstance(edge_index, EdgeIndex):
        edge_index = edge_index.as_tensor()
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        raise TypeError(
            f"`edge_index` must be a tensor [2, E], got {type(edge_index).__name__} (of a sparse "
            "matrix `adj_t`, take `torch.stack(adj_t.coo()[:2][::-1])`)"
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"`edge_index` must be [2, E], got {list(edge_index.shape)}")
    if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
        raise TypeError(f"`edge_index` must hold integers, got {edge_index.dtype}")
    return edge_index.detach().cpu().long()


def _size(edge_index: Tensor, num_nodes: int | None) -> int:
    if num_nodes is None:
        num_nodes = int(edge_index.max()) + 1 if edge_index.numel() else 0
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
    ways = torch.zeros(2, ends.size(1), dtype=torch.bool)
    forward = (edge_index[0] < edge_index[1]).long()
    ways[forward[of >= 0], of[of >= 0]] = True
    alone = (~ways.all(0)).nonzero().flatten()
    if alone.numel():
        u, v = ends[:, alone[0]].tolist()
        source, target = (u, v) if ways[1, alone[0]] else (v, u)
        raise ValueError(
            f"{asker} is defined on undirected graphs, but {alone.numel()} of {ends.size(1)} "
            f"edges go one way only, as {source} -> {target} (pass undirected=True to take every "
            "edge for both ways, or use to_undirected first)"
        )


def _of_ends(ends: Tensor, size: int, of: Tensor, ptr: Tensor) -> SimpleGraph:
    """From edges in lexicographic order, each once."""
    row, col = torch.cat([ends, ends.flip(0)], 1)
    # The smaller neighbours of a node come from the second half, the larger ones from the first,
    # both in order: by row alone, stably, from the second half on.
    order = torch.cat([row[ends.size(1) :], row[: ends.size(1)]]).argsort(stable=True)
    order = (order + ends.size(1)) % max(row.numel(), 1)
    rowptr = torch.zeros(size + 1, dtype=torch.long)
    rowptr[1:] = torch.bincount(row, minlength=size).cumsum(0)
    edge = order % max(ends.size(1), 1)
    return SimpleGraph(rowptr, col[order], edge, ends, of, ptr)
