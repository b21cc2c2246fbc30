"""Fold every group of rows from left to right, all groups of a step at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from gnnlib import _sorting
from gnnlib._cache import TensorCache
from gnnlib.ops._reduce import targets
from gnnlib.ops._softmax import _segments

_cache = TensorCache()


@dataclass(frozen=True)
class ScanPlan:
    """The rows of all groups, step by step; in a step the groups that reach it, longest first.

    Attributes:
        rows: ``[E]`` int64: the row at each place of that order.
        steps: how many groups reach each step; never more than reach the one before.
        groups: ``[R]`` int64: the groups that have rows, longest first.
        ends: ``[R]`` int64: the place of the last row of each of them.
        num_groups: number of groups, those without rows included.
    """

    rows: Tensor
    steps: tuple[int, ...]
    groups: Tensor
    ends: Tensor
    num_groups: int

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where each step begins and ends."""
        return list(pairwise(accumulate(self.steps, initial=0)))


def scanned(ptr: Tensor, perm: Tensor | None, num_rows: int) -> ScanPlan:
    """The order in which segments are scanned, found once while ``ptr`` lives, whatever the order
    of their rows."""
    plan: ScanPlan = _cache.find(ptr, num_rows, lambda: _plan(ptr, num_rows))
    if perm is None:
        return plan
    # Beside the plan stays what it was made from, so that no other tensor can come by the same id.
    key, ordered = (id(ptr), num_rows), lambda: (ptr, replace(plan, rows=perm[plan.rows]))
    found: tuple[Any, ScanPlan] = _cache.find(perm, key, ordered)
    return found[1]


def _plan(ptr: Tensor, num_rows: int) -> ScanPlan:
    _sorting.check_ptr(ptr, num_rows)
    length = ptr.diff()
    longest_first = length.argsort(descending=True, stable=True)
    groups = longest_first[: int((length > 0).sum())]
    reached = torch.bincount(length[groups] - 1).flip(0).cumsum(0).flip(0)
    begin = torch.cat([reached.new_zeros(1), reached.cumsum(0)])
    rank = torch.empty_like(longest_first)
    rank[longest_first] = torch.arange(rank.numel(), device=ptr.device)
    group, element = targets(ptr, None)
    place = begin[element - ptr[group]] + rank[group]
    rows = torch.empty_like(element)
    rows[place] = element
    ends = begin[length[groups] - 1] + rank[groups]
    return ScanPlan(rows, tuple(reached.tolist()), groups, ends, length.numel())


def segment_scan(
    step: Callable[[Tensor, Any], Any], x: Tensor, groups: Any, initial: Any = None
) -> Any:
    r"""Fold the rows of every group from left to right.

    .. math::
        s_{i, 0} = s_0, \qquad s_{i, t} = \mathrm{step}(x_{i, t}, s_{i, t - 1}), \qquad
        \mathrm{out}_i = s_{i, |G_i|}

    The :math:`t`-th rows of all groups that have one are one call of ``step``, as in a packed
    sequence: there are as many calls as the longest group has rows, nothing is padded, and a
    group's result depends on its own rows alone.

    Args:
        step: from rows ``[B, *]`` and states ``[B, *S]`` to the next states, of the same shape; any
            module or function that works row by row. States may be tuples of tensors.
        x: ``[E, *]``.
        groups: ``[N + 1]`` integers, where group ``i`` is the rows ``ptr[i]`` to ``ptr[i + 1]``; or
            an :class:`~gnnlib.Adjacency`, whose edges are grouped by target, with ``x`` in the
            caller's order of edges.
        initial: the state ``[*S]`` before the first row, a tensor or a tuple of them; by default
            zeros of the shape of a row.

    Returns:
        ``[N, *S]``: the last state of every group, ``initial`` for one without rows.

    Raises:
        IndexError: ``groups`` holds a row that ``x`` does not have.
        ValueError: ``step`` changes the shape of the state, ``groups`` decreases, or sizes or
            devices disagree.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> segment_scan(lambda x, s: x - s, x, torch.tensor([0, 3, 3, 4])).flatten()
        tensor([2., 0., 4.])
    """
    ptr, perm = _segments(x, groups)
    plan = scanned(ptr, perm, x.size(0))
    initial = x.new_zeros(x.shape[1:]) if initial is None else initial
    start, spec = tree_flatten(initial)
    num_first = plan.steps[0] if plan.steps else 0
    state = [s.expand(num_first, *s.shape) for s in start]
    finished: list[list[Tensor]] = []
    for rows in torch.split(x.index_select(0, plan.rows), list(plan.steps)) if plan.steps else ():
        count = rows.size(0)
        if count < state[0].size(0):
            finished.append([s[count:] for s in state])
            state = [s[:count] for s in state]
        after = tree_leaves(step(rows, tree_unflatten(state, spec)))
        if [s.shape for s in after] != [s.shape for s in state]:
            raise ValueError(
                f"`step` must keep the shape of the state, {[list(s.shape) for s in state]}, got "
                f"{[list(s.shape) for s in after]}"
            )
        state = after
    finished.append(state)
    out = []
    for s, parts in zip(start, zip(*reversed(finished), strict=True), strict=True):
        empty = s.expand(plan.num_groups, *s.shape)
        out.append(empty.index_copy(0, plan.groups, torch.cat(parts)))
    return tree_unflatten(out, spec)
