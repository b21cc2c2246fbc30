"""One number per edge: the inner product of its two ends."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._library import kernels, register
from gnnlib.ops._edge_add import check_ends
from gnnlib.ops._gather_reduce import _adjacency, _matrix, _transpose
from gnnlib.ops._reduce import SUM, targets


def edge_dot(x_src: Tensor, x_dst: Tensor, adj: Any, heads: int = 1) -> Tensor:
    r"""Compute the inner product of the two ends of every edge, head by head.

    .. math::
        \mathrm{out}_{e,h} = \langle x^{\mathrm{src}}_{j,h}, \, x^{\mathrm{dst}}_{i,h} \rangle,
        \qquad e = (j \to i)

    The derivative of :func:`gather_reduce` by its weights, and the scores of dot-product attention
    (Vaswani et al., 2017, eq. 1). No ``[E, F]`` tensor is written.

    Args:
        x_src: ``[N_src, *]`` floating point features of the sources; with heads ``[N_src, H, *]``,
            or ``[N_src, H * F]``.
        x_dst: ``[N_dst, *]`` features of the targets, of the same width and dtype.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes.
        heads: into how many equal parts the columns are divided; default 1.

    Returns:
        ``[E]`` in the caller's order of edges, or ``[E, heads]`` where there are several.

    Raises:
        IndexError: the graph holds a node that ``x_src`` does not have.
        ValueError: sizes, dtypes or devices disagree, or the columns are no multiple of the heads.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
        >>> edge_dot(x, x, torch.tensor([[0, 1], [1, 1]]))
        tensor([2., 5.])
    """
    adj = _adjacency(adj, x_src)
    check_ends(x_src, x_dst, adj.num_dst)
    x_src, x_dst = _matrix(x_src), _matrix(x_dst)
    width = x_src.size(1)
    if heads < 0 or (width % heads if heads else width):
        raise ValueError(
            f"`heads` must divide the {width} columns of `x_src`, got {heads} "
            "(must it be [N, H, F] or [N, H * F]?)"
        )
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x_src, x_dst))
    out: Tensor = _op(x_src, x_dst, *graph, heads)
    return out


def _reference(
    x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None, heads: int,
) -> Tensor:  # fmt: skip
    product = x_src[col] * x_dst[targets(rowptr, col)[0]]
    if heads == 1:
        dot = product.sum(-1)
    else:
        dot = product.view(col.size(0), heads, x_src.size(1) // max(heads, 1)).sum(-1)
    return dot if perm is None else torch.empty_like(dot).index_copy(0, perm, dot)


def _fake(x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, *rest: Any) -> Tensor:
    heads: int = rest[-1]
    return x_src.new_empty(col.size(0) if heads == 1 else (col.size(0), heads))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x_src, x_dst, *graph = ctx.saved_tensors
    forward, transpose = graph[0:3], graph[3:6]
    grad_src = grad_dst = None
    if ctx.needs_input_grad[0]:
        grad_src = kernels.gather_reduce(x_dst, *transpose, *forward, grad, None, SUM)
    if ctx.needs_input_grad[1]:
        grad_dst = kernels.gather_reduce(x_src, *forward, *transpose, grad, None, SUM)
    return grad_src, grad_dst, *[None] * 7


_op = register("edge_dot", _reference, _fake, _backward, _setup_context)
