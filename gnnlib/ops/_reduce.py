"""The reductions, and what their references share."""

import torch
from torch import Tensor

REDUCES = ("sum", "mean", "min", "max", "mul")
# What the operators call them; a variance is reduced to by gather_statistics alone.
SUM, MEAN, MIN, MAX, MUL, VAR = range(6)


def targets(rowptr: Tensor, col: Tensor | None) -> tuple[Tensor, Tensor]:
    """The row of every grouped edge, and the edges' numbers.

    Without ``col``, elements before the first row and after the last are in no row.
    """
    rows = torch.arange(rowptr.size(0) - 1, device=rowptr.device)
    if col is not None:
        target = rows.repeat_interleave(rowptr.diff(), output_size=col.size(0))
        return target, torch.arange(col.size(0), device=rowptr.device)
    target = rows.repeat_interleave(rowptr.diff())
    return target, torch.arange(target.numel(), device=rowptr.device) + rowptr[0]


def factors(
    col: Tensor, perm: Tensor | None, weight: Tensor | None, gate: Tensor | None
) -> Tensor | None:
    """``gate * weight`` of grouped edges, or ``None`` where all are ones."""
    # Multiplied in this order everywhere, so that an extremum is found again bit by bit.
    if weight is not None and perm is not None:
        weight = weight[perm]
    if gate is None:
        return weight
    gate = gate[col]
    if weight is None:
        return gate
    return gate * weight if weight.dim() == 1 else gate.unsqueeze(-1) * weight


def by_column(factor: Tensor, width: int) -> Tensor:
    """Factors ``[E]``, or ``[E, H]`` one a head, as they multiply ``[E, width]``."""
    if factor.dim() == 1:
        return factor.unsqueeze(-1)
    return factor.repeat_interleave(width // max(factor.size(1), 1), dim=1)


def scattered(x: Tensor, index: Tensor, size: int, reduce: int) -> Tensor:
    """Rows of ``x`` reduced by group, as torch does it; an empty group is 0, or 1 for mul."""
    out = x.new_full((size, x.size(1)), 1 if reduce == MUL else 0)
    how = ("sum", "mean", "amin", "amax", "prod")[reduce]
    return out.scatter_reduce(0, index.unsqueeze(-1).expand_as(x), x, how, include_self=False)


def added(x: Tensor, index: Tensor, size: int) -> Tensor:
    """Rows added by group, with the same bits every time: of a GPU's two ways one has no atomics,
    of a CPU's the other."""
    none = x.new_zeros(size, *x.shape[1:])
    if x.device.type == "cpu":
        return none.index_add(0, index, x)
    return none.index_put((index,), x, accumulate=True)


def accumulated_in(dtype: torch.dtype) -> torch.dtype:
    """Half types are accumulated in float32."""
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point else dtype
