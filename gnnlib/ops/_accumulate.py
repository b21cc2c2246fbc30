"""Reduce a tensor by its grouping, into ``out`` where there is one."""

import torch
from torch import Tensor

from gnnlib.ops._grouping import Grouping
from gnnlib.ops._reduce import MAX, MEAN, MIN, MUL, REDUCES, SUM

_CODES = {name: code for code, name in enumerate(REDUCES)} | {"add": SUM}


def code(reduce: str) -> int:
    """The number of a reduction."""
    if reduce not in _CODES:
        raise ValueError(f"`reduce` must be one of {', '.join(_CODES)}, got {reduce!r}")
    return _CODES[reduce]


def reduced(groups: Grouping, src: Tensor, how: int, out: Tensor | None = None) -> Tensor:
    """Reduce ``src``; ``out`` takes part, and the result is written to it."""
    x = groups.rows(src)
    if out is None:
        return groups.result(groups.reduce(x, how))
    check_out(out, src, groups.result_shape)
    if how in (MIN, MAX):
        _, arg = groups.extremum(x.detach(), how)
        return _challenged(groups, groups.reduce(x, how), arg, how, out)[0]
    value = groups.result(groups.reduce(x, SUM if how == MEAN else how))
    if how == MUL:
        return out.mul_(value)
    out.add_(value)
    if how == MEAN:
        count = groups.result(groups.count().clamp(min=1).expand(-1, groups.width))
        out.div_(count, rounding_mode=None if out.is_floating_point() else "floor")
    return out


def extremum(
    groups: Grouping, src: Tensor, how: int, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The extremum and the first element that holds it, to which alone the gradient goes."""
    value, arg = groups.extremum(groups.rows(src), how)
    if out is None:
        return groups.result(value), groups.places(arg)
    check_out(out, src, groups.result_shape)
    return _challenged(groups, value, arg, how, out)


def _challenged(
    groups: Grouping, value: Tensor, arg: Tensor, how: int, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Write what beats ``out``; where nothing does, ``out`` stays, and no element is its place."""
    value, place = groups.result(value), groups.places(arg)
    beats = value < out if how == MIN else value > out
    wins = (beats | (value.isnan() & ~out.isnan())) & (place < groups.length)
    out.copy_(torch.where(wins, value, out))
    return out, torch.where(wins, place, groups.length)


def check_out(out: Tensor, src: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless a result of ``shape`` can be written to ``out``."""
    if out.shape != shape or out.dtype != src.dtype or out.device != src.device:
        raise ValueError(
            f"`out` must be {list(shape)}, {src.dtype} on {src.device}, as `src` and `index` make "
            f"it, got {list(out.shape)}, {out.dtype} on {out.device}"
        )


def size_of(out: Tensor, src: Tensor, dim: int) -> int:
    """The number of groups that ``out`` has room for."""
    if out.dim() != src.dim():
        raise ValueError(
            f"`out` must have as many dimensions as `src`, {src.dim()}, got {out.dim()}"
        )
    return out.size(dim)
