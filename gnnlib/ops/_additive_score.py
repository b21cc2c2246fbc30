"""Additive attention: one score per edge and head."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._by_reference import derivative_of
from gnnlib.ops._column_sums import column_sums
from gnnlib.ops._gather_reduce import _adjacency, _matrix, _transpose
from gnnlib.ops._reduce import accumulated_in, targets


def additive_score(
    x_src: Tensor, x_dst: Tensor, att: Tensor, adj: Any, negative_slope: float = 0.2
) -> Tensor:
    r"""Score every edge by its two ends, added and passed through a leaky ReLU.

    .. math::
        \mathrm{out}_{eh} = \big\langle a_h, \, \mathrm{LeakyReLU}
        (x^{\mathrm{src}}_{jh} + x^{\mathrm{dst}}_{ih}) \big\rangle, \qquad e = (j \to i)

    The scores of GATv2 before their softmax (Brody et al., 2022, "How Attentive are Graph Attention
    Networks?", eq. 7). No ``[E, H, C]`` tensor is written, forward or backward.

    Args:
        x_src: ``[N_src, H, C]`` features of the sources, ``C`` for each of ``H`` heads; float32,
            float64, bfloat16 or float16 (accumulated in float32).
        x_dst: ``[N_dst, H, C]`` features of the targets, of the same dtype.
        att: ``[H, C]``, of the same dtype.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes
            (then on as many targets as sources).
        negative_slope: what the leaky ReLU multiplies numbers below zero by; default 0.2.

    Returns:
        ``[E, H]`` in the caller's order of edges. NaN propagates, and the derivative at exactly 0
        is that below it, both as in :func:`torch.nn.functional.leaky_relu`. The bits do not depend
        on the number of threads.

    Raises:
        IndexError: the graph holds a node that ``x_src`` does not have.
        ValueError: sizes, dtypes or devices disagree.

    Example:
        >>> x = torch.tensor([[[1.0, 0.0]], [[-4.0, 1.0]]])
        >>> att = torch.tensor([[1.0, 10.0]])
        >>> additive_score(x, x, att, torch.tensor([[0, 1], [1, 1]])).flatten()
        tensor([ 9.4000, 18.4000])
    """
    if x_src.dim() != 3:
        raise ValueError(
            f"`x_src` must be [N_src, H, C], got {list(x_src.shape)} (use x.view(-1, heads, C))"
        )
    adj = _adjacency(adj, x_src)
    expected = {
        "x_dst": (x_dst, [adj.num_dst, *x_src.shape[1:]], "a row per target node"),
        "att": (att, [*x_src.shape[1:]], "a row per head"),
    }
    for name, (t, shape, what) in expected.items():
        same_device(f"`{name}`", t.device, x_src)
        if list(t.shape) != shape:
            raise ValueError(
                f"`{name}` must be {shape}, {what} as wide as `x_src`, got {list(t.shape)}"
            )
        if t.dtype != x_src.dtype or not x_src.is_floating_point():
            raise ValueError(
                f"`x_src` and `{name}` must share a floating point dtype, got "
                f"{x_src.dtype} and {t.dtype}"
            )
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x_src, x_dst, att))
    out: Tensor = _op(_matrix(x_src), _matrix(x_dst), att, *graph, float(negative_slope))
    return out


def _reference(
    x_src: Tensor, x_dst: Tensor, att: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None, negative_slope: float,
) -> Tensor:  # fmt: skip
    pair = x_src[col] + x_dst[targets(rowptr, col)[0]]
    bent = torch.nn.functional.leaky_relu(pair, negative_slope)
    score = (bent.reshape(col.size(0), *att.shape) * att).sum(-1)
    return score if perm is None else torch.empty_like(score).index_copy(0, perm, score)


def _fake(
    x_src: Tensor, x_dst: Tensor, att: Tensor, rowptr: Tensor, col: Tensor, *_: Any
) -> Tensor:
    return x_src.new_empty(col.size(0), att.size(0))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.negative_slope = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x_src, x_dst, att, *graph = ctx.saved_tensors
    needs_src, needs_dst, needs_att = ctx.needs_input_grad[:3]
    bent, column = [], att.flatten()
    ends = ((x_src, x_dst, graph[3:6]), (x_dst, x_src, graph[0:3]))
    for needed, (x, other, rows) in zip((needs_src, needs_dst), ends, strict=True):
        asked = needed or needs_att
        slope = ctx.negative_slope
        bent.append(kernels.additive_grad(grad, x, other, *rows, slope) if asked else None)
    grad_src, grad_dst = (
        (part * column).to(att.dtype) if needed else None
        for part, needed in zip(bent, (needs_src, needs_dst), strict=True)
    )
    grad_att = None
    if needs_att:
        # LeakyReLU(a + b) is its slope there times a + b, so its sums need no edges any more.
        parts = zip((x_src, x_dst), bent, (graph[3], graph[0]), strict=True)
        # Nodes without edges count for nothing, even where they are not finite.
        sums = [
            column_sums((x * part).masked_fill((rowptr.diff() == 0).unsqueeze(-1), 0))
            for x, part, rowptr in parts
        ]
        grad_att = (sums[0] + sums[1]).to(att.dtype).view(att.shape)
    return grad_src, grad_dst, grad_att, *[None] * 7


def _grad_reference(
    grad: Tensor, x: Tensor, other: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    negative_slope: float,
) -> Tensor:  # fmt: skip
    """What each row's edges bring it, before ``att``; accumulated in float32 or better."""
    row, number = targets(rowptr, col)
    kept = grad[number if perm is None else perm].to(accumulated_in(x.dtype))
    gain = kept.repeat_interleave(x.size(1) // max(grad.size(1), 1), 1)
    gain = torch.where(x[row] + other[col] > 0, gain, gain * negative_slope)
    return gain.new_zeros(x.shape).index_add(0, row, gain)


def _grad_fake(grad: Tensor, x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape, dtype=accumulated_in(x.dtype))


_op = register("additive_score", _reference, _fake, _backward, _setup_context)
register("additive_grad", _grad_reference, _grad_fake, *derivative_of(_grad_reference))
