"""Rows reduced by group, in whatever order they come: ``out[i]`` is about ``e`` with
``index[e] == i``.

Nothing is sorted, which is the fast way for narrow rows on a CPU; wide ones, and all on a GPU, are
better grouped first (see ``_segment_reduce.py``). These operators are internal: the functions of
torch_scatter call them, and on a CPU alone.
"""

from typing import Any

import torch
from torch import Tensor

from gnnlib import _sorting
from gnnlib._library import kernels, register
from gnnlib.ops._reduce import MEAN, SUM, accumulated_in, scattered
from gnnlib.ops._segment_reduce import arg_backward, arg_setup, first_extremum


def _reduce_reference(x: Tensor, index: Tensor, size: int, reduce: int) -> Tensor:
    _sorting.check_index(index, size)
    return scattered(x, index, size, reduce)


def _arg_reference(x: Tensor, index: Tensor, size: int, reduce: int) -> tuple[Tensor, Tensor]:
    _sorting.check_index(index, size)
    place = torch.arange(index.size(0), device=index.device)
    return first_extremum(x, index, place, size, index.size(0), reduce)


def _reduce_fake(x: Tensor, index: Tensor, size: int, reduce: int) -> Tensor:
    return x.new_empty(size, x.size(1))


def _arg_fake(x: Tensor, index: Tensor, size: int, reduce: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(size, x.size(1)), index.new_empty(size, x.size(1))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, index, size, reduce = inputs
    nonlinear = reduce not in (SUM, MEAN)
    ctx.save_for_backward(x if nonlinear else None, output if nonlinear else None, index)
    ctx.size, ctx.reduce = size, reduce


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, out, index = ctx.saved_tensors
    if ctx.reduce in (SUM, MEAN):
        if ctx.reduce == MEAN:
            ones = torch.ones_like(index).unsqueeze(-1)
            count = scatter_reduce(ones, index, ctx.size, SUM).clamp(min=1)
            grad = (grad / count.to(accumulated_in(grad.dtype))).to(grad.dtype)
        return grad.index_select(0, index), None, None, None
    ptr, perm = _sorting.group_index(index, ctx.size)
    share = kernels.message_share(grad, out, x, ptr, perm, None, None, None, ctx.reduce)
    return kernels.segment_grad(share, out, x, index, ctx.reduce), None, None, None


scatter_reduce = register("scatter_reduce", _reduce_reference, _reduce_fake, _backward, _setup)
scatter_arg = register("scatter_arg", _arg_reference, _arg_fake, arg_backward, arg_setup)
