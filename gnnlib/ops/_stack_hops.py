"""Pairs by hop over a table of several states of every node."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import get_ctx

from gnnlib._library import register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._hop_pairs import KHop


def stack_hops(k_hop: KHop, slots: Sequence[int], first: int = 1) -> Adjacency:
    r"""Join several hops of every target, each read from one of several states of all nodes.

    Row :math:`i K + k - k_1` of the adjacency lists the nodes at distance :math:`k` from node
    :math:`i`, for the :math:`K` hops from :math:`k_1` on, as rows ``slots[k - first] * N + j`` of a
    table ``[S N, F]`` that holds :math:`S` states of the :math:`N` nodes. So one
    :func:`gather_reduce` serves all hops of a delayed layer. It is built once for the same pairs
    and found again.

    Args:
        k_hop: the pairs.
        slots: for each hop, from the first on, which state it reads, at least 0.
        first: the first hop :math:`k_1`, at least 1.

    Returns:
        An adjacency of ``N * len(slots)`` targets and ``N * (max(slots) + 1)`` sources.

    Raises:
        ValueError: the hops are not among those of ``k_hop``, or a slot is negative.

    Example:
        >>> from gnnlib.ops import k_hop
        >>> pairs = k_hop(torch.tensor([[0, 1], [1, 2]]), 2)
        >>> adj = stack_hops(pairs, (0, 1))
        >>> adj.rowptr.tolist(), adj.col.tolist()
        ([0, 0, 0, 1, 1, 2, 3], [0, 1, 3])
    """
    slots = check_hops(k_hop, slots, first)
    adj: Adjacency = k_hop._keep((slots, first), lambda: _build(k_hop, slots, first))
    return adj


def check_hops(k_hop: KHop, slots: Sequence[int], first: int) -> tuple[int, ...]:
    """The slots, if there is one, 0 or more, for hops that the pairs have."""
    slots = tuple(slots)
    if not slots or min(slots) < 0:
        raise ValueError(f"`slots` must name a state, 0 or more, for each hop, got {slots}")
    if first < 1 or first + len(slots) - 1 > k_hop.num_hops:
        raise ValueError(
            f"the hops must lie in [1, {k_hop.num_hops}], got {len(slots)} from `first`={first} on "
            "(compute `k_hop` with a larger k)"
        )
    return slots


def _build(k_hop: KHop, slots: tuple[int, ...], first: int) -> Adjacency:
    slot = torch.tensor(slots, device=k_hop.col.device)
    rowptr, col = _op(k_hop.hop_ptr, k_hop.col, k_hop.num_hops, first, slot)
    return Adjacency(rowptr, col, None, k_hop.num_nodes * (max(slots) + 1), check=False)


def _reference(
    hop_ptr: Tensor, col: Tensor, num_hops: int, first: int, slot: Tensor
) -> tuple[Tensor, Tensor]:
    count = hop_ptr.diff().view(-1, num_hops)
    num_nodes, last = count.size(0), first - 1 + slot.numel()
    hop = torch.arange(num_hops, device=col.device).repeat(num_nodes)
    hop = hop.repeat_interleave(count.flatten(), output_size=col.numel()) - (first - 1)
    kept = (hop >= 0) & (hop < slot.numel())
    rowptr = count.new_zeros(num_nodes * slot.numel() + 1)
    rowptr[1:] = count[:, first - 1 : last].flatten().cumsum(0)
    return rowptr, slot[hop[kept]] * num_nodes + col[kept]


def _fake(
    hop_ptr: Tensor, col: Tensor, num_hops: int, first: int, slot: Tensor
) -> tuple[Tensor, Tensor]:
    rows = (hop_ptr.numel() - 1) // num_hops * slot.numel()
    return hop_ptr.new_empty(rows + 1), col.new_empty(get_ctx().new_dynamic_size())


_op = register("stack_hops", _reference, _fake)
