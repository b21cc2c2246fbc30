"""Reduce the neighbours of every node, without ever writing the messages down."""

from typing import Any, Literal

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.adjacency import Adjacency
from gnnlib.ops import _message_grad
from gnnlib.ops._gate_rows import gate_rows
from gnnlib.ops._reduce import (
    MEAN,
    REDUCES,
    SUM,
    accumulated_in,
    by_column,
    factors,
    scattered,
    targets,
)

Reduce = Literal["sum", "mean", "min", "max", "mul"]


def gather_reduce(
    x: Tensor,
    adj: Any,
    weight: Tensor | None = None,
    reduce: Reduce = "sum",
    gate: Tensor | None = None,
) -> Tensor:
    r"""Reduce, for every node, the features of the nodes that point to it.

    .. math::
        \mathrm{out}_i = \bigoplus_{e = (j \to i)} g_j \, w_e \, x_j,
        \qquad \bigoplus \in \{\textstyle\sum, \mathrm{mean}, \min, \max, \prod\}

    This is the aggregation of message passing (Gilmer et al., 2017, eq. 1) for messages that are
    the source's own features, run as one pass over the graph with memory for nodes only.

    A source whose gate is zero is *absent*: its edges are skipped, a mean does not count them and
    an extremum does not see them. A mean divides by the sum of the gates; without gates, by the
    number of edges, whatever their weights (PyG's rule). The gradient of sum and mean reaches the
    gate of an absent source as if it were open (straight-through).

    Args:
        x: ``[N_src, *]`` features; float32, float64, bfloat16 or float16 (accumulated in float32),
            or integers (not for mean).
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes
            (then on as many targets as sources).
        weight: ``[E]``, in the caller's order of edges; default ones. For sum and mean of
            ``[N_src, H, *]`` features also ``[E, H]``, one weight a head.
        reduce: ``"sum"``, ``"mean"``, ``"min"``, ``"max"`` or ``"mul"``.
        gate: ``[N_src]`` in ``[0, 1]``; default ones.

    Returns:
        ``[N_dst, *]`` of the dtype of ``x``; 0 for nodes without present edges, 1 for ``"mul"``.
        NaN propagates, the maximum of :math:`-\infty` is :math:`-\infty`, tied extrema share the
        gradient evenly, and a product's gradient is right at zeros. The bits do not depend on the
        number of threads.

    Raises:
        IndexError: the graph holds a node that ``x`` does not have.
        ValueError: sizes or devices disagree, or ``reduce`` is unknown.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [4.0]])
        >>> edge_index = torch.tensor([[0, 1, 2], [2, 2, 0]])
        >>> gather_reduce(x, edge_index).flatten()
        tensor([4., 0., 3.])
        >>> gather_reduce(x, edge_index, reduce="max").flatten()
        tensor([4., 0., 2.])
    """
    if reduce not in REDUCES:
        raise ValueError(f"`reduce` must be one of {', '.join(REDUCES)}, got {reduce!r}")
    if x.is_complex() or x.dtype == torch.bool:
        raise ValueError(
            f"`x` must hold real numbers, got {x.dtype} (use x.float() or torch.view_as_real(x))"
        )
    if reduce == "mean" and not x.is_floating_point():
        raise ValueError(
            f"`reduce`=mean needs floating point features, got {x.dtype} (use x.float())"
        )
    adj = _adjacency(adj, x)
    if weight is not None:
        weight = _weight(weight, adj.num_edges, x, reduce)
    if gate is not None:
        gate = _factor(gate, "gate", adj.num_src, "source node", x)
    features = _matrix(x)
    if (reduce == "mean" and gate is not None) or (
        reduce in ("min", "max", "mul") and (weight is not None or gate is not None)
    ):
        # Products are compared, and sums divided, in the precision they are accumulated in.
        wide = accumulated_in(x.dtype)
        features, weight, gate = features.to(wide), _cast(weight, wide), _cast(gate, wide)
    if reduce == "mean" and gate is not None:
        out = _gated_mean(features, adj, weight, gate)
    else:
        out = _call(features, adj, weight, gate, reduce)
    out = out.to(x.dtype)
    return out if x.dim() == 2 else out.reshape(adj.num_dst, *x.shape[1:])


def _adjacency(edges: Any, x: Tensor) -> Adjacency:
    if x.dim() == 0:
        raise ValueError("features must have a row per source node, got a scalar")
    listed = isinstance(edges, Tensor) and edges.layout == torch.strided
    adj = Adjacency.of(edges, x.size(0) if listed else None)
    if x.size(0) != adj.num_src:
        raise ValueError(
            f"`x` must have a row per source node, {adj.num_src}, got {x.size(0)} "
            "(is the graph transposed, or `size` wrong?)"
        )
    same_device("the graph", adj.device, x)
    return adj


def _factor(factor: Tensor, name: str, size: int, per: str, x: Tensor) -> Tensor:
    same_device(f"`{name}`", factor.device, x)
    if factor.numel() != size or factor.shape[:1] != (size,):
        raise ValueError(
            f"`{name}` must have one value per {per}, {size}, got {list(factor.shape)}"
        )
    return _as_factor(factor, name, x).reshape(-1)


def _weight(weight: Tensor, num_edges: int, x: Tensor, reduce: str) -> Tensor:
    if weight.dim() < 2 or weight.numel() == num_edges:
        return _factor(weight, "weight", num_edges, "edge", x)
    if x.dim() < 3 or weight.shape != (num_edges, x.size(1)) or reduce not in ("sum", "mean"):
        raise ValueError(
            f"`weight` must have one value per edge, {num_edges}, got {list(weight.shape)} "
            "(or, for sum and mean of [N, H, F] features, one per edge and head, [E, H])"
        )
    same_device("`weight`", weight.device, x)
    return _as_factor(weight, "weight", x)


def _as_factor(factor: Tensor, name: str, x: Tensor) -> Tensor:
    if factor.is_floating_point() and not x.is_floating_point():
        raise ValueError(
            f"`{name}` must be whole numbers for {x.dtype} features, got {factor.dtype} "
            "(use x.float())"
        )
    return factor.to(x.dtype)


def _matrix(x: Tensor) -> Tensor:
    # Unlike reshape(N, -1), this also knows the width of no rows and the rows of no width. What has
    # its shape already is left alone, as views too cost time in the backward pass.
    return x if x.dim() == 2 else x.unsqueeze(-1).flatten(1)


def _cast(t: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if t is None else t.to(dtype)


def _gated_mean(x: Tensor, adj: Adjacency, weight: Tensor | None, gate: Tensor) -> Tensor:
    total = _call(x, adj, weight, gate, "sum")
    count = _call(torch.ones_like(gate).unsqueeze(-1), adj, None, gate, "sum")
    return total / torch.where(count == 0, 1, count)


def _call(
    x: Tensor, adj: Adjacency, weight: Tensor | None, gate: Tensor | None, how: str
) -> Tensor:
    out: Tensor = _op(
        x,
        *(adj.rowptr, adj.col, adj.perm),
        *_transpose(adj, x, gate),
        *(weight, gate, REDUCES.index(how)),
    )
    return out


def _transpose(adj: Adjacency, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    # The backward pass folds over the transpose; it is built only if there will be one.
    if not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in inputs):
        return None, None, None
    transpose = adj.T
    return transpose.rowptr, transpose.col, transpose.perm


def _reference(
    x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None, t_rowptr: Tensor | None,
    t_col: Tensor | None, t_perm: Tensor | None, weight: Tensor | None, gate: Tensor | None,
    reduce: int,
) -> Tensor:  # fmt: skip
    (index, _), message = targets(rowptr, col), x[col]
    factor = factors(col, perm, weight, gate)
    if factor is not None:
        message = message * by_column(factor, x.size(1))
    if gate is not None:
        present = gate[col] != 0
        index, message = index[present], message[present]
    return scattered(message, index, rowptr.numel() - 1, reduce)


def _fake(x: Tensor, rowptr: Tensor, *_: Any) -> Tensor:
    return x.new_empty(rowptr.size(0) - 1, x.size(1))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, rowptr, col, perm, t_rowptr, t_col, t_perm, weight, gate, reduce = inputs
    nonlinear = reduce not in (SUM, MEAN)
    keep_x = nonlinear or weight is not None or gate is not None
    ctx.save_for_backward(
        x if keep_x else None, output if nonlinear else None,
        rowptr, col, perm, t_rowptr, t_col, t_perm, weight, gate,
    )  # fmt: skip
    ctx.reduce = reduce


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    if ctx.reduce not in (SUM, MEAN):
        return _backward_nonlinear(ctx, grad)
    x, _, *graph, weight, gate = ctx.saved_tensors
    needs_x, needs_weight, needs_gate = (ctx.needs_input_grad[k] for k in (0, 7, 8))
    rowptr, transpose, forward = graph[0], graph[3:6], graph[0:3]
    share = None
    if ctx.reduce == MEAN:
        # Each target's gradient goes back divided by its degree: in the transpose, a gate.
        degree = rowptr.diff().clamp(min=1).to(accumulated_in(grad.dtype))
        share = (1 / degree).to(grad.dtype)
    grad_x = grad_weight = grad_gate = None
    if needs_x or needs_gate:
        # Without its gate: a closed source learns what opening it would have changed.
        heard = _op(grad, *transpose, *forward, weight, share, SUM)
        grad_x = heard if gate is None else gate_rows(heard, gate)
        grad_gate = (x * heard).sum(-1) if needs_gate else None
    if needs_weight:
        sent = x if gate is None else gate_rows(x, gate)
        received = grad if share is None else gate_rows(grad, share)
        heads = 1 if weight.dim() == 1 else weight.size(1)
        grad_weight = kernels.edge_dot(sent, received, *forward, *transpose, heads)
        grad_weight = grad_weight if weight.dim() == 1 else grad_weight.view_as(weight)
    return grad_x, *[None] * 6, grad_weight, grad_gate, None


def _backward_nonlinear(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, out, *graph, weight, gate = ctx.saved_tensors
    needs = [ctx.needs_input_grad[k] for k in (0, 7, 8)]
    share = kernels.message_share(grad, out, x, *graph[0:3], weight, gate, ctx.reduce)
    grad_x, grad_weight, grad_gate = _message_grad.backward(
        share, out, x, graph, weight, gate, ctx.reduce, needs
    )
    return grad_x, *[None] * 6, grad_weight, grad_gate, None


_op = register("gather_reduce", _reference, _fake, _backward, _setup_context)
