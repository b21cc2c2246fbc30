"""Pairs of several hops in one row a target, and what each of them weighs in its hop."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.library import get_ctx

from gnnlib._library import register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._hop_pairs import KHop
from gnnlib.ops._stack_hops import check_hops

Norm = Literal["none", "mean", "sym"]
_NUMBER = {"none": 0, "mean": 1, "sym": 2}


def join_hops(
    k_hop: KHop,
    slots: Sequence[int],
    first: int = 1,
    *,
    norm: Norm = "none",
    loops: bool = False,
    dtype: torch.dtype = torch.float32,
) -> tuple[Adjacency, Tensor | None]:
    r"""Join several hops of every target into one sum, each read from one of several states of all
    nodes and normalised for itself.

    .. math::
        \mathrm{out}_i = \sum_{k} \sum_{j \in N_k(i)} w^k_{ij} \, x^{(k)}_j, \qquad
        w^k_{ij} = (d^k_i d^k_j)^{-1/2} \text{ or } 1 / d^k_i \text{ or } 1

    Row :math:`i` of the adjacency lists the nodes of the :math:`K` hops from ``first`` on, as rows
    ``slots[k - first] * N + j`` of a table ``[S N, F]`` that holds :math:`S` states of the
    :math:`N` nodes. So one :func:`gather_reduce` sums all hops of a delayed layer whose features
    were projected before. It is built once for the same pairs and found again.

    Args:
        k_hop: the pairs.
        slots: for each hop, from the first on, which state it reads, at least 0.
        first: the first hop, at least 1.
        norm: ``"sym"``, ``"mean"`` or ``"none"``, with :math:`d^k_i` the number of pairs at hop
            :math:`k`.
        loops: whether every node hears itself in every hop, which counts in :math:`d`.
        dtype: of the weights.

    Returns:
        An adjacency of ``N`` targets and ``N * (max(slots) + 1)`` sources, and the weights of its
        edges, ``None`` for ``norm="none"``.

    Raises:
        ValueError: the hops are not among those of ``k_hop``, a slot is negative, or ``norm`` is
            unknown.

    Example:
        >>> from gnnlib.ops import k_hop
        >>> pairs = k_hop(torch.tensor([[0, 1, 2], [2, 2, 3]]), 2)
        >>> adj, weight = join_hops(pairs, (0, 1), norm="mean")
        >>> adj.rowptr.tolist(), adj.col.tolist(), weight.tolist()
        ([0, 0, 0, 2, 5], [0, 1, 2, 4, 5], [0.5, 0.5, 1.0, 0.5, 0.5])
    """
    slots = check_hops(k_hop, slots, first)
    if norm not in _NUMBER:
        raise ValueError(f"`norm` must be one of {list(_NUMBER)}, got {norm!r}")
    joined: tuple[Adjacency, Tensor | None] = k_hop._keep(
        ("joined", slots, first, norm, loops, dtype),
        lambda: _build(k_hop, slots, first, _NUMBER[norm], loops, dtype),
    )
    return joined


def _build(
    k_hop: KHop, slots: tuple[int, ...], first: int, norm: int, loops: bool, dtype: torch.dtype
) -> tuple[Adjacency, Tensor | None]:
    slot = torch.tensor(slots, device=k_hop.col.device)
    rowptr, col, weight = _op(k_hop.hop_ptr, k_hop.col, k_hop.num_hops, first, slot, norm, loops)
    adj = Adjacency(rowptr, col, None, k_hop.num_nodes * (max(slots) + 1), check=False)
    return adj, weight.to(dtype) if norm else None


def _reference(
    hop_ptr: Tensor, col: Tensor, num_hops: int, first: int, slot: Tensor, norm: int, loops: bool
) -> tuple[Tensor, Tensor, Tensor]:
    count = hop_ptr.diff().view(-1, num_hops)
    nodes = torch.arange(count.size(0), device=col.device)
    hop = torch.arange(num_hops, device=col.device).repeat(count.size(0))
    hop = hop.repeat_interleave(count.flatten(), output_size=col.numel()) - (first - 1)
    row = nodes.repeat_interleave(count.sum(1), output_size=col.numel())
    kept = (hop >= 0) & (hop < slot.numel())
    count = count[:, first - 1 : first - 1 + slot.numel()]
    pairs = torch.stack([row, hop, col])[:, kept]
    if loops:  # before the others of their hop
        own = torch.cartesian_prod(nodes, torch.arange(slot.numel(), device=col.device)).T
        pairs = torch.cat([torch.cat([own, own[:1]]), pairs], 1)
        pairs = pairs[:, (pairs[0] * slot.numel() + pairs[1]).argsort(stable=True)]
        count = count + 1
    row, hop, col = pairs
    inverse = torch.where(count > 0, 1 / count.double(), 0)
    weight = inverse[row, hop] if norm == 1 else inverse.sqrt()[row, hop] * inverse.sqrt()[col, hop]
    rowptr = torch.cat([count.new_zeros(1), count.sum(1).cumsum(0)])
    return rowptr, slot[hop] * count.size(0) + col, weight if norm else weight[:0]


def _fake(
    hop_ptr: Tensor, col: Tensor, num_hops: int, first: int, slot: Tensor, norm: int, loops: bool
) -> tuple[Tensor, Tensor, Tensor]:
    size = get_ctx().new_dynamic_size()
    weight = col.new_empty(size if norm else 0, dtype=torch.float64)
    return hop_ptr.new_empty((hop_ptr.numel() - 1) // num_hops + 1), col.new_empty(size), weight


_op = register("join_hops", _reference, _fake)
