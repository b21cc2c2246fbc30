"""A directed graph as the pairs of nodes that its edges join, each pair both ways."""

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnlib import _sorting, ops
from gnnlib.adjacency import Adjacency
from gnnlib.edges import Edges


@dataclass(frozen=True, eq=False)
class Pairs:
    r"""The pairs :math:`\{u, v\}` that edges of a graph join, in whichever direction.

    What a Hermitian matrix of the graph has entries for. Weights are no part of it, so that it is
    built once for a graph.

    Args:
        both: every pair both ways: edge ``p`` of the ``2 P`` goes from the larger node of pair
            ``p`` to the smaller, edge ``P + p`` back. Self loops too come twice.
        members: the ``E`` edges of the graph, grouped by the ``P`` pairs.
        sign: ``[E]``, 1 for an edge from the smaller node to the larger, -1 for one back, 0 for a
            self loop.
        total: ``[P]``, the number of edges of each pair.
        balance: ``[P]``, how many more go from the smaller node to the larger than back.
        undirected: whether there are pairs, and all are balanced.
    """

    both: Adjacency
    members: Adjacency
    sign: Tensor
    total: Tensor
    balance: Tensor
    undirected: bool

    @staticmethod
    def of(adj: Adjacency) -> "Pairs":
        """The pairs of a graph, found again for as long as the graph lives.

        Inside ``torch.compile`` they are grouped in every call, with room for as many as there are
        edges, as no shape may depend on the data.
        """
        if torch.compiler.is_compiling():
            return _build(adj)
        found = _known.get(adj)
        if found is None:
            with torch.inference_mode(False):  # what is kept must serve a later training step too
                found = _known[adj] = _build(adj)
        return found

    def sums(self, edges: Edges, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """``total`` and ``balance`` with the weights of the present edges."""
        factor, mask = edges.weight, edges.mask
        if mask is not None:
            factor = mask if factor is None else factor * mask
        if factor is None:
            return self.total.to(dtype), self.balance.to(dtype)
        factor = factor.to(dtype)
        both = ops.gather_reduce(torch.stack([factor, factor * self.sign], 1), self.members)
        return both[:, 0], both[:, 1]


_known: "weakref.WeakKeyDictionary[Adjacency, Pairs]" = weakref.WeakKeyDictionary()


def _build(adj: Adjacency) -> Pairs:
    (src, dst), n, num_edges = adj.edge_index, adj.num_dst, adj.num_edges
    low, high = torch.minimum(src, dst), torch.maximum(src, dst)
    key, order = (low * n + high).sort(stable=True)
    changes = (key.diff() != 0).long()
    pair = torch.cat([key[:1] * 0, changes]).cumsum(0)
    compiling = torch.compiler.is_compiling()
    count = num_edges if compiling else (int(pair[-1]) + 1 if num_edges else 0)
    ptr = _sorting.index_to_ptr(pair, count)
    first = ptr[:-1]
    if compiling:
        # Slots without a pair stand where some edge does, and weigh nothing.
        slot = torch.arange(num_edges, device=first.device)
        first = torch.where(first < num_edges, first, slot)
    low, high = (end[order][first] for end in (low, high))
    ends = torch.stack([torch.cat([high, low]), torch.cat([low, high])])
    rowptr, col, perm = _sorting.coo_to_csr(ends, n, n)
    both = Adjacency(rowptr, col, perm, n, check=False)
    if not compiling:
        # The transpose has the same rows, in which every edge is the one back.
        back = torch.where(perm < count, perm + count, perm - count)
        both._join(Adjacency(rowptr, col, back, n, check=False))
    members = Adjacency(ptr, order, None, num_edges, check=False)
    sign = (dst - src).sign()
    sums = ops.gather_reduce(torch.stack([torch.ones_like(sign), sign], 1), members)
    total, balance = sums[:, 0], sums[:, 1]
    undirected = not compiling and bool((low != high).any()) and not bool(balance.any())
    return Pairs(both, members, sign, total, balance, undirected)
