"""Sum complex neighbours with complex weights, real and imaginary parts in one pass."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._gather_reduce import _adjacency, _matrix, _transpose
from gnnlib.ops._reduce import SUM, scattered, targets


def gather_complex(x: Tensor, adj: Any, weight: Tensor) -> Tensor:
    r"""Sum, for every node, complex features of the nodes that point to it.

    .. math::
        \mathrm{out}_i = \sum_{e = (j \to i)} w_e \, x_j, \qquad w_e, x_j \in \mathbb{C}

    The product of a sparse complex matrix with complex features, as of the magnetic Laplacian
    (Zhang et al., 2021, "MagNet: A Neural Network for Directed Graphs", section 2), on the parts of
    its numbers: every row is read once for both parts of the result.

    Args:
        x: ``[N_src, 2, *]``, real parts ``x[:, 0]`` and imaginary parts ``x[:, 1]``; float32,
            float64, bfloat16 or float16 (accumulated in float32).
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes
            (then on as many targets as sources).
        weight: ``[E, 2]``, real and imaginary part of the weight of each edge, in the caller's
            order; what :func:`torch.view_as_real` makes of complex weights.

    Returns:
        ``[N_dst, 2, *]`` of the dtype of ``x``; 0 for nodes without edges. The bits do not depend
        on the number of threads. As in torch, the gradient by a complex number is the conjugate of
        its derivative: that by ``x`` is the same sum with conjugate weights over the turned edges.

    Raises:
        IndexError: the graph holds a node that ``x`` does not have.
        ValueError: sizes or devices disagree.

    Example:
        >>> x = torch.view_as_real(torch.tensor([1 + 2j, 3 + 0j]))
        >>> weight = torch.view_as_real(torch.tensor([0 + 1j, 2 + 0j]))
        >>> torch.view_as_complex(gather_complex(x, torch.tensor([[0, 1], [1, 1]]), weight))
        tensor([0.+0.j, 4.+1.j])
    """
    if x.dim() < 2 or x.size(1) != 2 or not x.is_floating_point():
        raise ValueError(
            f"`x` must be floating point [N_src, 2, *], real and imaginary parts, got {x.dtype} "
            f"{list(x.shape)} (use torch.stack([real, imag], 1))"
        )
    adj = _adjacency(adj, x)
    if weight.shape != (adj.num_edges, 2) or weight.is_complex():
        raise ValueError(
            f"`weight` must be {[adj.num_edges, 2]}, real and imaginary part a row per edge, got "
            f"{weight.dtype} {list(weight.shape)} (use torch.view_as_real on complex weights)"
        )
    same_device("`weight`", weight.device, x)
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x))
    out: Tensor = _op(_matrix(x), *graph, weight.to(x.dtype), False)
    return out.reshape(adj.num_dst, *x.shape[1:])


def _reference(
    x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None, t_rowptr: Tensor | None,
    t_col: Tensor | None, t_perm: Tensor | None, weight: Tensor, conjugate: bool,
) -> Tensor:  # fmt: skip
    real, imag = x[col].chunk(2, dim=1)
    weight = weight if perm is None else weight[perm]
    a, b = weight[:, :1], weight[:, 1:]
    b = -b if conjugate else b
    product = torch.cat([a * real - b * imag, b * real + a * imag], dim=1)
    return scattered(product, targets(rowptr, col)[0], rowptr.size(0) - 1, SUM)


def _fake(x: Tensor, rowptr: Tensor, *_: Any) -> Tensor:
    return x.new_empty(rowptr.size(0) - 1, x.size(1))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *graph, weight, ctx.conjugate = inputs
    ctx.save_for_backward(x if ctx.needs_input_grad[7] else None, *graph, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, *graph, weight = ctx.saved_tensors
    forward, transpose = graph[0:3], graph[3:6]
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_x = _op(grad, *transpose, *forward, weight, not ctx.conjugate)
    if ctx.needs_input_grad[7]:
        real, imag = x.chunk(2, dim=1)
        # i x, or -i x.
        turned = torch.cat([imag, -real] if ctx.conjugate else [-imag, real], dim=1)
        parts = [kernels.edge_dot(t, grad, *forward, *transpose, 1) for t in (x, turned)]
        grad_weight = torch.stack(parts, dim=1)
    return grad_x, *[None] * 6, grad_weight, None


_op = register("gather_complex", _reference, _fake, _backward, _setup_context)
