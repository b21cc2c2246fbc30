"""Softmax and logarithm of the sum of exponentials, over segments or the edges of each target."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._gather_reduce import _matrix
from gnnlib.ops._reduce import MAX, SUM, accumulated_in, scattered
from gnnlib.ops._segment_reduce import _elements


def segment_softmax(src: Tensor, groups: Any) -> Tensor:
    r"""Normalise every group of rows to a distribution, column by column.

    .. math::
        \mathrm{out}_e = \frac{\exp(x_e)}{\sum_{e' \in G(e)} \exp(x_{e'})}

    The attention coefficients of a graph, where the groups are the edges of each target
    (Veličković et al., 2018, eq. 2). The largest value of a group is subtracted first.

    Args:
        src: ``[E, *]`` floating point scores.
        groups: ``[N + 1]`` integers, where group ``i`` is the rows ``ptr[i]`` to ``ptr[i + 1]``; or
            an :class:`~gnnlib.Adjacency`, whose edges are grouped by target, with ``src`` in the
            caller's order of edges.

    Returns:
        The shape and dtype of ``src``; 0 for rows that are in no group, NaN where all of a group
        is :math:`-\infty`, as :func:`torch.softmax` has it.

    Raises:
        IndexError: ``groups`` holds a row that ``src`` does not have.
        ValueError: ``groups`` decreases, or sizes or devices disagree.

    Example:
        >>> segment_softmax(torch.tensor([0.0, 0.0, 5.0]), torch.tensor([0, 2, 3]))
        tensor([0.5000, 0.5000, 1.0000])
    """
    ptr, perm = _segments(src, groups)
    out: Tensor = _softmax(_matrix(src), ptr, perm)
    return out if src.dim() == 2 else out.reshape(src.shape)


def segment_logsumexp(src: Tensor, groups: Any) -> Tensor:
    r"""Take the logarithm of the sum of the exponentials of every group of rows.

    .. math::
        \mathrm{out}_i = \log \sum_{e \in G_i} \exp(x_e)

    A smooth maximum that does not overflow: the largest value of a group is subtracted first.

    Args:
        src: ``[E, *]`` floating point values.
        groups: ``[N + 1]`` integers or an :class:`~gnnlib.Adjacency`, as for
            :func:`segment_softmax`.

    Returns:
        ``[N, *]`` of the dtype of ``src``; :math:`-\infty` for a group that is empty or all
        :math:`-\infty`, whose gradient is 0.

    Raises:
        IndexError: ``groups`` holds a row that ``src`` does not have.
        ValueError: ``groups`` decreases, or sizes or devices disagree.

    Example:
        >>> segment_logsumexp(torch.tensor([0.0, 0.0, 5.0]), torch.tensor([0, 2, 3, 3]))
        tensor([0.6931, 5.0000,   -inf])
    """
    ptr, perm = _segments(src, groups)
    # The gradient is an exponential of the result, which must be known precisely.
    x = _matrix(src).to(accumulated_in(src.dtype))
    out: Tensor = _logsumexp(x, ptr, perm).to(src.dtype)
    return out if src.dim() == 2 else out.reshape(ptr.size(0) - 1, *src.shape[1:])


def _segments(src: Tensor, groups: Any) -> tuple[Tensor, Tensor | None]:
    if src.dim() == 0 or not src.is_floating_point():
        raise ValueError(
            f"`src` must hold rows of floating point values, got {list(src.shape)} of {src.dtype}"
        )
    if isinstance(groups, Adjacency):
        same_device("`groups`", groups.device, src)
        if src.size(0) != groups.num_edges:
            raise ValueError(
                f"`src` must have a row per edge, {groups.num_edges}, got {src.size(0)}"
            )
        return groups.rowptr, groups.perm
    if not isinstance(groups, Tensor) or groups.dim() != 1 or groups.size(0) == 0:
        got = list(groups.shape) if isinstance(groups, Tensor) else type(groups).__name__
        raise ValueError(
            f"`groups` must be [N + 1] integers or an Adjacency, got {got} "
            "(of edges make gnnlib.Adjacency.of(edge_index, size))"
        )
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise ValueError(f"`groups` must hold integers, got {groups.dtype} (use groups.long())")
    same_device("`groups`", groups.device, src)
    return groups.long(), None


def _softmax_reference(x: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    row, place = _elements(ptr, perm, x.size(0))
    score, size = x[place].to(accumulated_in(x.dtype)), ptr.numel() - 1
    share = (score - scattered(score, row, size, MAX)[row]).exp()
    share = share / scattered(share, row, size, SUM)[row]
    return torch.zeros_like(x).index_copy(0, place, share.to(x.dtype))


def _softmax_grad_reference(
    out: Tensor, grad: Tensor, ptr: Tensor, perm: Tensor | None
) -> Tensor:  # fmt: skip
    row, place = _elements(ptr, perm, out.size(0))
    wide = accumulated_in(out.dtype)
    share, heard = out[place].to(wide), grad[place].to(wide)
    mean = scattered(share * heard, row, ptr.numel() - 1, SUM)
    found = share * (heard - mean[row])
    return torch.zeros_like(out).index_copy(0, place, found.to(out.dtype))


def _logsumexp_reference(x: Tensor, ptr: Tensor, perm: Tensor | None) -> Tensor:
    row, place = _elements(ptr, perm, x.size(0))
    value, size = x[place], ptr.numel() - 1
    top = scattered(value, row, size, MAX)
    shift = top.masked_fill(top.isinf(), 0)
    return scattered((value - shift[row]).exp(), row, size, SUM).log() + shift


def _logsumexp_grad_reference(
    grad: Tensor, x: Tensor, out: Tensor, ptr: Tensor, perm: Tensor | None
) -> Tensor:
    row, place = _elements(ptr, perm, x.size(0))
    total = out.masked_fill(out == -torch.inf, torch.inf)  # a group that is not there
    found = grad[row] * (x[place] - total[row]).exp()
    return torch.zeros_like(x).index_copy(0, place, found)


def _softmax_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[1:])


def _softmax_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    out, ptr, perm = ctx.saved_tensors
    return kernels.segment_softmax_grad(out, grad, ptr, perm), None, None


def _logsumexp_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ptr, perm = inputs
    ctx.save_for_backward(x, output, ptr, perm)


def _logsumexp_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return kernels.segment_logsumexp_grad(grad, *ctx.saved_tensors), None, None


def _save_all(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _softmax_grad_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    out, heard, ptr, perm = ctx.saved_tensors
    grad_out = None
    if ctx.needs_input_grad[0]:
        means = (kernels.segment_reduce(out * by, ptr, perm, SUM) for by in (heard, grad))
        mean, other = (kernels.segment_expand(m, ptr, perm, out.size(0)) for m in means)
        grad_out = grad * (heard - mean) - heard * other
    grad_heard = None
    if ctx.needs_input_grad[1]:
        grad_heard = kernels.segment_softmax_grad(out, grad, ptr, perm)
    return grad_out, grad_heard, None, None


def _logsumexp_grad_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    heard, x, out, ptr, perm = ctx.saved_tensors
    share = kernels.segment_logsumexp_grad(torch.ones_like(heard), x, out, ptr, perm)
    grad_heard = kernels.segment_reduce(grad * share, ptr, perm, SUM)
    grad_x = grad * kernels.segment_logsumexp_grad(heard, x, out, ptr, perm)
    return grad_heard, grad_x, -kernels.segment_reduce(grad_x, ptr, perm, SUM), None, None


def _fake(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


_softmax = register("segment_softmax", _softmax_reference, _fake, _softmax_backward, _softmax_setup)
register("segment_softmax_grad", _softmax_grad_reference, _fake, _softmax_grad_backward, _save_all)
_logsumexp = register(
    "segment_logsumexp",
    _logsumexp_reference,
    lambda x, ptr, _: x.new_empty(ptr.size(0) - 1, x.size(1)),
    _logsumexp_backward,
    _logsumexp_setup,
)
register(
    "segment_logsumexp_grad",
    _logsumexp_grad_reference,
    lambda grad, x, *_: x.new_empty(x.shape),
    _logsumexp_grad_backward,
    _save_all,
)
