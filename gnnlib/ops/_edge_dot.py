"""One number per edge: the inner product of its two ends."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._library import kernels, register
from gnnlib.ops._gather_reduce import _adjacency, _matrix, _same_device, _transpose
from gnnlib.ops._reduce import SUM, targets


def edge_dot(x_src: Tensor, x_dst: Tensor, adj: Any) -> Tensor:
    r"""Compute the inner product of the two ends of every edge.

    .. math::
        \mathrm{out}_e = \langle x^{\mathrm{src}}_j, \, x^{\mathrm{dst}}_i \rangle,
        \qquad e = (j \to i)

    The derivative of :func:`gather_reduce` by its weights, and the scores of dot-product attention.
    No ``[E, F]`` tensor is written.

    Args:
        x_src: ``[N_src, *]`` floating point features of the sources.
        x_dst: ``[N_dst, *]`` features of the targets, of the same width and dtype.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes.

    Returns:
        ``[E]`` in the caller's order of edges.

    Raises:
        IndexError: the graph holds a node that ``x_src`` does not have.
        ValueError: sizes, dtypes or devices disagree.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
        >>> edge_dot(x, x, torch.tensor([[0, 1], [1, 1]]))
        tensor([2., 5.])
    """
    adj = _adjacency(adj, x_src)
    _same_device("`x_dst`", x_dst.device, x_src)
    if x_dst.shape != (adj.num_dst, *x_src.shape[1:]):
        raise ValueError(
            f"`x_dst` must be {[adj.num_dst, *x_src.shape[1:]]}, a row per target node as wide as "
            f"`x_src`, got {list(x_dst.shape)}"
        )
    if x_dst.dtype != x_src.dtype or not x_src.is_floating_point():
        raise ValueError(
            "`x_src` and `x_dst` must share a floating point dtype, got "
            f"{x_src.dtype} and {x_dst.dtype}"
        )
    transpose = _transpose(adj, x_src, x_dst)
    out: Tensor = _op(_matrix(x_src), _matrix(x_dst), adj.rowptr, adj.col, adj.perm, *transpose)
    return out


def _reference(
    x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None,
) -> Tensor:  # fmt: skip
    dot = (x_src[col] * x_dst[targets(rowptr, col)[0]]).sum(-1)
    return dot if perm is None else torch.empty_like(dot).index_copy(0, perm, dot)


def _fake(x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, *_: Any) -> Tensor:
    return x_src.new_empty(col.size(0))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x_src, x_dst, *graph = ctx.saved_tensors
    forward, transpose = graph[0:3], graph[3:6]
    grad_src = grad_dst = None
    if ctx.needs_input_grad[0]:
        grad_src = kernels.gather_reduce(x_dst, *transpose, *forward, grad, None, SUM)
    if ctx.needs_input_grad[1]:
        grad_dst = kernels.gather_reduce(x_src, *forward, *transpose, grad, None, SUM)
    return grad_src, grad_dst, *[None] * 6


_op = register("edge_dot", _reference, _fake, _backward, _setup_context)
