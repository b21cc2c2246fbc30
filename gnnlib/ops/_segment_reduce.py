"""Segments of a list of rows: reduce each, find its extremum, or copy a row to all its elements.

Row ``i`` is about the elements ``perm[e]`` (without ``perm``, the elements ``e``) for ``e`` in
``[ptr[i], ptr[i + 1])``. These operators are internal: the functions of torch_scatter call them.
"""

from typing import Any

import torch
from torch import Tensor

from gnnlib import _sorting
from gnnlib._library import kernels, register
from gnnlib.ops._reduce import MEAN, SUM, accumulated_in, scattered, targets


def _elements(ptr: Tensor, perm: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """The segment and the position of every element that is in one."""
    _sorting.check_ptr(ptr, size)
    row, place = targets(ptr, None)
    return row, place if perm is None else perm[place]


def _reduce_reference(x: Tensor, ptr: Tensor, perm: Tensor | None, reduce: int) -> Tensor:
    row, place = _elements(ptr, perm, x.size(0))
    return scattered(x[place], row, ptr.numel() - 1, reduce)


def _arg_reference(
    x: Tensor, ptr: Tensor, perm: Tensor | None, reduce: int
) -> tuple[Tensor, Tensor]:
    row, place = _elements(ptr, perm, x.size(0))
    return first_extremum(x[place], row, place, ptr.numel() - 1, x.size(0), reduce)


def first_extremum(
    x: Tensor, row: Tensor, place: Tensor, num_rows: int, missing: int, reduce: int
) -> tuple[Tensor, Tensor]:
    """The extremum of each row, and where it first stands."""
    out = scattered(x, row, num_rows, reduce)
    won = (x == out[row]) | (x.isnan() & out[row].isnan())
    where = torch.where(won, place.unsqueeze(-1), missing)
    arg = place.new_full(out.shape, missing)
    return out, arg.scatter_reduce(0, row.unsqueeze(-1).expand_as(x), where, "amin")


def _expand_reference(a: Tensor, ptr: Tensor, perm: Tensor | None, size: int) -> Tensor:
    row, place = _elements(ptr, perm, size)
    return a.new_zeros(size, a.size(1)).index_copy(0, place, a[row])


def _reduce_fake(x: Tensor, ptr: Tensor, perm: Tensor | None, reduce: int) -> Tensor:
    return x.new_empty(ptr.size(0) - 1, x.size(1))


def _arg_fake(x: Tensor, ptr: Tensor, perm: Tensor | None, reduce: int) -> tuple[Tensor, Tensor]:
    shape = (ptr.size(0) - 1, x.size(1))
    return x.new_empty(shape), ptr.new_empty(shape)


def _reduce_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ptr, perm, reduce = inputs
    nonlinear = reduce not in (SUM, MEAN)
    ctx.save_for_backward(x if nonlinear else None, output if nonlinear else None, ptr, perm)
    ctx.reduce, ctx.size = reduce, x.size(0)


def _reduce_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, out, ptr, perm = ctx.saved_tensors
    if ctx.reduce in (SUM, MEAN):
        if ctx.reduce == MEAN:
            count = ptr.diff().clamp(min=1).to(accumulated_in(grad.dtype))
            grad = (grad / count.unsqueeze(-1)).to(grad.dtype)
        return segment_expand(grad, ptr, perm, ctx.size), None, None, None
    ptr = ptr.contiguous()
    share = kernels.message_share(grad, out, x, ptr, perm, None, None, None, ctx.reduce)
    # Elements of no segment get 0 here, hence the rows count from 1.
    rows = torch.arange(1, ptr.size(0), device=ptr.device).unsqueeze(-1)
    index = segment_expand(rows, ptr, perm, ctx.size).squeeze(-1) - 1
    return kernels.segment_grad(share, out, x, index, ctx.reduce), None, None, None


def arg_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep where the extrema stand."""
    ctx.save_for_backward(output[1])
    ctx.size = inputs[0].size(0)
    ctx.mark_non_differentiable(output[1])


def arg_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    """Send the gradient to the first extremum alone; an empty row's goes nowhere."""
    (arg,) = ctx.saved_tensors
    sent = grad.new_zeros(ctx.size + 1, grad.size(1)).scatter(0, arg, grad)
    return sent[: ctx.size], None, None, None


def _expand_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _expand_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return segment_reduce(grad, *ctx.saved_tensors, SUM), None, None, None


segment_reduce = register(
    "segment_reduce", _reduce_reference, _reduce_fake, _reduce_backward, _reduce_setup
)
segment_arg = register("segment_arg", _arg_reference, _arg_fake, arg_backward, arg_setup)
segment_expand = register(
    "segment_expand",
    _expand_reference,
    lambda a, ptr, perm, size: a.new_empty(size, a.size(1)),
    _expand_backward,
    _expand_setup,
)
