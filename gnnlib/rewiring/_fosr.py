"""Edges where the second eigenvector says that the graph is narrow."""

from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_whole
from gnnlib._hash import uniform
from gnnlib._library import register
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph

# The smallest normal number, which stands for a norm of zero.
_TINY = torch.finfo(torch.float64).tiny


@functional_transform("fosr")
class FoSR(Rewiring):
    r"""Add the edges that widen the spectral gap, to the first order (functional name: ``fosr``).

    With :math:`x` the second eigenvector of :math:`D^{-1/2} A D^{-1/2}`, an edge between two nodes
    :math:`u, v` that have none raises the gap the more, the more negative is

    .. math::
        \frac{x_u}{\sqrt{d_u + 1}} \cdot \frac{x_v}{\sqrt{d_v + 1}}

    (Karhadkar, Banerjee and Montúfar, 2023, "FoSR: First-order spectral rewiring for addressing
    oversquashing in GNNs", algorithm 1). Each iteration adds the edge for which it is the smallest,
    and then takes one power step,

    .. math::
        x \leftarrow x - \frac{\langle x, \sqrt{d} \rangle}{2m} \sqrt{d}, \qquad
        x \leftarrow \frac{x + D^{-1/2} A D^{-1/2} x}{\lVert x + D^{-1/2} A D^{-1/2} x \rVert}

    so that :math:`x` follows the graph. An edge costs O(M + N log N), and no matrix of all pairs is
    made. No edge goes. In a graph of several components the first edge joins two of them, if there
    were power steps enough. A complete graph and one without edges stay so, and a graph with few
    pairs left gets those.

    Both factors are rounded to 2^-30 of the largest; among equal products the smallest
    :math:`(u, v)` is taken.

    Differs: an isolated node is a component like others, whose entry in the matrix is 1 (the
    paper's formula divides by zero), so it is joined with the first. A complete graph gets no self
    loop.

    Args:
        num_iterations: how many edges each graph gets, at least 0.
        initial_power_iters: power steps before the first edge, at least 0.
        shared: the arguments of :class:`Rewiring`; ``seed`` is that of the starting vector, whose
            entries are U(-1, 1).

    Raises:
        ValueError: a number is not whole or negative.

    Example:
        >>> from torch_geometric.data import Data
        >>> ends = torch.tensor([[0, 0, 1, 2, 3, 3, 4], [1, 2, 2, 3, 4, 5, 5]])  # a dumbbell
        >>> data = Data(edge_index=torch.cat([ends, ends.flip(0)], 1), num_nodes=6)
        >>> FoSR(num_iterations=1, initial_power_iters=50)(data).edge_index[:, -2:].tolist()
        [[0, 4], [4, 0]]
    """

    def __init__(
        self, num_iterations: int = 50, *, initial_power_iters: int = 5, **shared: Any
    ) -> None:
        super().__init__(**shared)
        check_whole(0, num_iterations=num_iterations, initial_power_iters=initial_power_iters)
        self.num_iterations = int(num_iterations)
        self.initial_power_iters = int(initial_power_iters)

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Edges come, none goes."""
        local = torch.arange(graph.num_nodes) - graph.ptr[:-1].repeat_interleave(graph.ptr.diff())
        start = 2 * uniform(self.seed, local) - 1
        added = _op(
            graph.rowptr, graph.col, graph.ptr, start, self.num_iterations, self.initial_power_iters
        )
        return Edit.adding(graph, added)

    def options(self) -> dict[str, Any]:
        """The number of edges and of power steps."""
        return {
            "num_iterations": self.num_iterations,
            "initial_power_iters": self.initial_power_iters,
        }


def _step(adj: Tensor, x: Tensor) -> Tensor:
    degree = adj.sum(1)
    root = degree.sqrt()
    x = x - (x @ root) / degree.sum().clamp(min=1) * root
    x = x + adj @ (x / root.clamp(min=1)) / root.clamp(min=1) + (degree == 0) * x
    x /= x.norm().clamp(min=_TINY)
    return x


def _furthest(adj: Tensor, x: Tensor) -> tuple[int, int] | None:
    apart = (adj == 0).triu(1)
    if not apart.any():
        return None
    y = x / (adj.sum(1) + 1).sqrt()
    place = (y / y.abs().max().clamp(min=_TINY) * 2**30).round().long()
    best = place.outer(place).where(apart, torch.tensor(2**62)).argmin()
    return divmod(int(best), len(x))


def _reference(
    rowptr: Tensor, col: Tensor, ptr: Tensor, start: Tensor, num_edges: int, power_iters: int
) -> Tensor:
    row = torch.arange(rowptr.numel() - 1).repeat_interleave(rowptr.diff())
    found = [ptr.new_empty(2, 0)]
    for first, last in zip(ptr.tolist(), ptr.tolist()[1:], strict=False):
        own = slice(int(rowptr[first]), int(rowptr[last]))
        if own.start == own.stop:
            continue
        adj, x = start.new_zeros(last - first, last - first), start[first:last]
        adj[row[own] - first, col[own] - first] = 1
        for _ in range(power_iters):
            x = _step(adj, x)
        for _ in range(num_edges):
            edge = _furthest(adj, x)
            if edge is None:
                break
            adj[edge, edge[::-1]] = 1
            x = _step(adj, x)
            found.append(ptr.new_tensor(edge)[:, None] + first)
    return torch.cat(found, 1)


def _fake(_rowptr: Tensor, _col: Tensor, ptr: Tensor, *_: Any) -> Tensor:
    return ptr.new_empty(2, get_ctx().new_dynamic_size())


_op = register("fosr", _reference, _fake)
