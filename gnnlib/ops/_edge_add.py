"""One row per edge: the sum of its two ends."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._gather_reduce import _adjacency, _matrix, _transpose
from gnnlib.ops._reduce import SUM, targets


def edge_add(x_src: Tensor, x_dst: Tensor, adj: Any) -> Tensor:
    r"""Add what the two ends of every edge hold.

    .. math::
        \mathrm{out}_e = x^{\mathrm{src}}_j + x^{\mathrm{dst}}_i, \qquad e = (j \to i)

    The scores of additive attention, whose two halves are numbers of the nodes (Veličković et al.,
    2018, eq. 3): ``edge_add(x @ a_src, x @ a_dst, adj)``, one column a head.

    Args:
        x_src: ``[N_src, *]`` floating point values of the sources.
        x_dst: ``[N_dst, *]`` values of the targets, of the same width and dtype.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes.

    Returns:
        ``[E, *]`` in the caller's order of edges.

    Raises:
        IndexError: the graph holds a node that ``x_src`` does not have.
        ValueError: sizes, dtypes or devices disagree.

    Example:
        >>> x_src, x_dst = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
        >>> edge_add(x_src, x_dst, torch.tensor([[0, 1], [1, 1]])).flatten()
        tensor([21., 22.])
    """
    adj = _adjacency(adj, x_src)
    check_ends(x_src, x_dst, adj.num_dst)
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x_src))
    out: Tensor = _op(_matrix(x_src), _matrix(x_dst), *graph)
    return out if x_src.dim() == 2 else out.reshape(adj.num_edges, *x_src.shape[1:])


def check_ends(x_src: Tensor, x_dst: Tensor, num_dst: int) -> None:
    """Raise unless ``x_dst`` is a row per target of what ``x_src`` has a row of per source."""
    same_device("`x_dst`", x_dst.device, x_src)
    if x_dst.shape != (num_dst, *x_src.shape[1:]):
        raise ValueError(
            f"`x_dst` must be {[num_dst, *x_src.shape[1:]]}, a row per target node as wide as "
            f"`x_src`, got {list(x_dst.shape)}"
        )
    if x_dst.dtype != x_src.dtype or not x_src.is_floating_point():
        raise ValueError(
            "`x_src` and `x_dst` must share a floating point dtype, got "
            f"{x_src.dtype} and {x_dst.dtype}"
        )


def _reference(
    x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None,
) -> Tensor:  # fmt: skip
    out = x_src[col] + x_dst[targets(rowptr, col)[0]]
    return out if perm is None else torch.empty_like(out).index_copy(0, perm, out)


def _fake(x_src: Tensor, x_dst: Tensor, rowptr: Tensor, col: Tensor, *_: Any) -> Tensor:
    return x_src.new_empty(col.size(0), x_src.size(1))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, rowptr, _, perm, t_rowptr, _, t_perm = inputs
    ctx.save_for_backward(rowptr, perm, t_rowptr, t_perm)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    rowptr, perm, t_rowptr, t_perm = ctx.saved_tensors
    grad_src = grad_dst = None
    if ctx.needs_input_grad[0]:
        grad_src = kernels.segment_reduce(grad, t_rowptr, t_perm, SUM)
    if ctx.needs_input_grad[1]:
        grad_dst = kernels.segment_reduce(grad, rowptr, perm, SUM)
    return grad_src, grad_dst, *[None] * 6


_op = register("edge_add", _reference, _fake, _backward, _setup_context)
