"""Reduce every group of rows over a balanced binary tree, by any binary operation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx

from gnnlib import _sorting
from gnnlib._cache import TensorCache
from gnnlib._library import register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._softmax import _segments

_cache = TensorCache()


@dataclass(frozen=True)
class Round:
    """A level of the tree, as places in the list of what is left before it.

    Attributes:
        pairs: ``[2 P]`` int64: elements ``pairs[2 k]`` and ``pairs[2 k + 1]`` become element ``k``
            of the next list.
        carried: ``[C]`` int64: elements without a partner, the last of the next list.
        finished: ``[R]`` int64: the elements that are all that is left of their group.
        group: ``[R]`` int64: which group that is.
    """

    pairs: Tensor
    carried: Tensor
    finished: Tensor
    group: Tensor


@dataclass(frozen=True)
class TreePlan:
    """Which elements of which group meet in which round, for all groups at once.

    Attributes:
        rounds: the levels of the tree from its leaves on.
        num_groups: number of groups, those without elements included.
        num_pairs: how often the operation is applied: one time less than a group has elements.
    """

    rounds: tuple[Round, ...]
    num_groups: int
    num_pairs: int

    @property
    def num_left(self) -> int:
        """How many elements are left after all rounds, each counted in every one."""
        return self.num_pairs + sum(level.carried.numel() for level in self.rounds)

    def __iter__(self) -> Iterator[Round]:
        return iter(self.rounds)


def tree_plan(groups: Any, num_rows: int | None = None) -> TreePlan:
    r"""Plan a balanced binary tree over every group of rows.

    In each round the elements :math:`2j` and :math:`2j + 1` of a group are a pair, and one left
    over is carried to the next round as its last; a group of :math:`n` elements is done after
    :math:`\lceil \log_2 n \rceil` rounds (Ong and Veličković, 2022, "Learnable Commutative Monoids
    for Graph Neural Networks", section 3). The plan is kept with the groups and found again.

    Args:
        groups: ``[N + 1]`` integers, where group ``i`` is the rows ``ptr[i]`` to ``ptr[i + 1]``; or
            an :class:`~gnnlib.Adjacency`, whose edges are grouped by target, with a row per edge in
            the caller's order of edges.
        num_rows: number of rows; by default the last entry of ``ptr``, or the number of edges.

    Raises:
        IndexError: ``groups`` holds a row that is not there.
        ValueError: ``groups`` decreases, or is neither of the two.

    Example:
        >>> plan = tree_plan(torch.tensor([0, 3, 3, 5]))
        >>> [(r.pairs.tolist(), r.carried.tolist(), r.group.tolist()) for r in plan]
        [([0, 1, 3, 4], [2], []), ([0, 2], [], [2]), ([], [], [0])]
    """
    if num_rows is None and isinstance(groups, Adjacency):
        num_rows = groups.num_edges
    elif num_rows is None:
        known = isinstance(groups, Tensor) and groups.dim() == 1 and groups.numel() > 0
        num_rows = max(int(groups[-1]), 0) if known else 0
    device = getattr(groups, "device", None)
    ptr, perm = _segments(torch.empty(1, device=device).expand(num_rows), groups)
    return planned(ptr, perm, num_rows)


def planned(ptr: Tensor, perm: Tensor | None, num_rows: int) -> TreePlan:
    """The plan of segments, built once while ``ptr`` lives, whatever the order of their rows."""
    plan: TreePlan = _cache.find(ptr, num_rows, lambda: _plan(ptr, num_rows))
    if perm is None or not plan.rounds:
        return plan
    # Beside the plan stays what it was made from, so that no other tensor can come by the same id.
    key = (id(ptr), num_rows)
    found: tuple[Any, TreePlan] = _cache.find(perm, key, lambda: (ptr, _ordered(plan, perm)))
    return found[1]


def _ordered(plan: TreePlan, perm: Tensor) -> TreePlan:
    """The plan for rows in another order: only the leaves are rows."""
    leaves, *rest = plan.rounds
    rows = Round(perm[leaves.pairs], perm[leaves.carried], perm[leaves.finished], leaves.group)
    return replace(plan, rounds=(rows, *rest))


def _plan(ptr: Tensor, num_rows: int) -> TreePlan:
    pairs, carried, finished, group, rounds = _op(ptr.contiguous(), num_rows)
    lengths = rounds.view(-1, 3).diff(dim=0).tolist()
    by_pairs, by_carried, by_finished = zip(*lengths, strict=True) if lengths else ((), (), ())
    parts = (
        pairs.split(by_pairs),
        carried.split(by_carried),
        finished.split(by_finished),
        group.split(by_finished),
    )
    levels = tuple(Round(*part) for part in zip(*parts, strict=True))
    return TreePlan(levels, ptr.numel() - 1, pairs.numel() // 2)


def tree_reduce(
    op: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    groups: Any,
    identity: Tensor | None = None,
) -> Tensor:
    r"""Reduce every group of rows over a balanced binary tree by a binary operation.

    .. math::
        \mathrm{out}_i = \big((x_1 \circ x_2) \circ (x_3 \circ x_4)\big) \circ \ldots,
        \quad x_1, \ldots, x_n \in G_i

    All pairs of a level of the tree, of all groups, are one call of :math:`\circ`, which is applied
    :math:`E - N` times to pairs in about :math:`\log_2 \max_i |G_i|` calls, whatever the groups'
    sizes: nothing is padded, and a group's result depends on its own rows alone. The tree keeps the
    order of the rows, so :math:`\circ` need not commute.

    Args:
        op: from ``[P, *, F]`` and ``[P, *, F]``, the left and the right of every pair, to
            ``[P, *, F]``; any module or function that works row by row.
        x: ``[E, *]``.
        groups: ``[N + 1]`` integers or an :class:`~gnnlib.Adjacency`, as for :func:`tree_plan`.
        identity: what becomes of a group without rows, broadcast to ``[*]``; zeros by default.

    Returns:
        ``[N, *]``. A group of one row is that row.

    Raises:
        IndexError: ``groups`` holds a row that ``x`` does not have.
        ValueError: ``op`` changes the shape, ``groups`` decreases, or sizes or devices disagree.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> tree_reduce(torch.maximum, x, torch.tensor([0, 3, 3, 4])).flatten()
        tensor([3., 0., 4.])
    """
    ptr, perm = _segments(x, groups)
    plan = planned(ptr, perm, x.size(0))
    # The result hangs on `x` even where there is no row.
    left, finished, group = x, [x[:0]], [ptr[:0]]
    for level in plan:
        finished.append(left.index_select(0, level.finished))
        group.append(level.group)
        if level.pairs.numel() == 0:
            break
        pairs = left.index_select(0, level.pairs)
        combined = op(pairs[::2], pairs[1::2])
        if combined.shape != pairs[::2].shape or combined.dtype != x.dtype:
            raise ValueError(
                f"`op` must keep the shape and dtype of its arguments, {list(pairs[::2].shape)} of "
                f"{x.dtype}, got {list(combined.shape)} of {combined.dtype} (project the rows to "
                "its width before)"
            )
        left = torch.cat([combined, left.index_select(0, level.carried)])
    empty = x.new_zeros(x.shape[1:]) if identity is None else identity.to(x.dtype)
    out = empty.expand(plan.num_groups, *x.shape[1:])
    return out.index_copy(0, torch.cat(group), torch.cat(finished))


def _reference(ptr: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _sorting.check_ptr(ptr, size)
    group = (ptr.diff() > 0).nonzero().flatten()
    count = ptr.diff()[group]
    # A group's elements stand side by side, but for the last, which may have been carried.
    first, last = ptr[group], ptr[group + 1] - 1
    levels = [(ptr[:0],) * 4]
    while group.numel():
        alone, half = count == 1, count // 2
        odd = (count % 2 == 1) & ~alone
        pairs = _places(first, last, count, 2 * half)
        levels.append((pairs, last[odd], last[alone], group[alone]))
        first = half.cumsum(0) - half
        last = torch.where(odd, half.sum() + odd.cumsum(0) - 1, first + half - 1)
        left = (group, (count + 1) // 2, first, last)
        group, count, first, last = (t[~alone] for t in left)
    sizes = torch.tensor([[part.numel() for part in level[:3]] for level in levels])
    pairs, carried, finished, group = map(torch.cat, zip(*levels, strict=True))
    return pairs, carried, finished, group, sizes.cumsum(0).flatten().to(ptr.device)


def _places(first: Tensor, last: Tensor, count: Tensor, taken: Tensor) -> Tensor:
    """Where the first so many elements of every group stand, one group after the other."""
    begin = taken.cumsum(0) - taken
    group = torch.arange(taken.numel(), device=taken.device).repeat_interleave(taken)
    k = torch.arange(group.numel(), device=taken.device) - begin[group]
    return torch.where(k == count[group] - 1, last[group], first[group] + k)


def _fake(ptr: Tensor, size: int) -> tuple[Tensor, ...]:
    return tuple(ptr.new_empty(get_ctx().new_dynamic_size()) for _ in range(5))


_op = register("tree_plan", _reference, _fake)
