"""Attention over the neighbours of every node, in one pass, with no row per edge written."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._gate_rows import gate_rows
from gnnlib.ops._gather_reduce import _adjacency, _factor, _matrix, _transpose
from gnnlib.ops._reduce import SUM, by_column, scattered, targets
from gnnlib.ops._softmax import _softmax_reference


def gather_attend(value: Tensor, scores: Tensor, adj: Any, gate: Tensor | None = None) -> Tensor:
    r"""Average, for every node, the values of its sources by the softmax of their scores.

    .. math::
        \mathrm{out}_{i,h} = \sum_{e = (j \to i)} \alpha_{e,h} \, g_j \, v_{j,h}, \qquad
        \alpha_{e,h} = \frac{\exp(s_{e,h})}{\sum_{e' \to i} \exp(s_{e',h})}

    The aggregation of graph attention (Veličković et al., 2018, eq. 4 and 5). Coefficients are
    computed row by row, and again in the backward pass, and never written down in the forward pass.

    A source whose gate is zero is *absent*: its edges take no part in the softmax. Its gate gets no
    gradient, as what its edges would have taken from the others depends on how far it opens.

    Args:
        value: ``[N_src, H, F]`` floating point values, ``H`` heads of ``F`` columns.
        scores: ``[E, H]`` of the same dtype, in the caller's order of edges.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes.
        gate: ``[N_src]`` in ``[0, 1]``; default ones.

    Returns:
        ``[N_dst, H, F]`` of the dtype of ``value``; 0 for nodes without present edges.

    Raises:
        IndexError: the graph holds a node that ``value`` does not have.
        ValueError: sizes, dtypes or devices disagree.

    Example:
        >>> value = torch.tensor([[[1.0]], [[3.0]]])
        >>> edge_index = torch.tensor([[0, 1], [1, 1]])
        >>> gather_attend(value, torch.zeros(2, 1), edge_index).flatten()
        tensor([0., 2.])
    """
    if value.dim() != 3:
        raise ValueError(
            f"`value` must be [N_src, H, F], got {list(value.shape)} "
            "(for one head use value.unsqueeze(1))"
        )
    adj = _adjacency(adj, value)
    same_device("`scores`", scores.device, value)
    if scores.shape != (adj.num_edges, value.size(1)):
        raise ValueError(
            f"`scores` must be {[adj.num_edges, value.size(1)]}, a column per head for every edge, "
            f"got {list(scores.shape)}"
        )
    if scores.dtype != value.dtype or not value.is_floating_point():
        raise ValueError(
            "`value` and `scores` must share a floating point dtype, got "
            f"{value.dtype} and {scores.dtype}"
        )
    if gate is not None:
        gate = _factor(gate, "gate", adj.num_src, "source node", value)
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, value, gate))
    out: Tensor = _op(_matrix(value), scores, *graph, gate)
    return out.reshape(adj.num_dst, *value.shape[1:])


def _reference(
    value: Tensor, scores: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None, gate: Tensor | None,
) -> Tensor:  # fmt: skip
    alpha = _alpha(_softmax_reference, scores, rowptr, col, perm, gate)
    message = value[col] * by_column(alpha if perm is None else alpha[perm], value.size(1))
    message = message if gate is None else gate_rows(message, gate[col])
    return scattered(message, targets(rowptr, col)[0], rowptr.numel() - 1, SUM)


def _alpha(
    softmax: Any, scores: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    gate: Tensor | None,
) -> Tensor:  # fmt: skip
    """The coefficients of all edges, 0 for absent ones."""
    if gate is None:
        alpha: Tensor = softmax(scores, rowptr, perm)
        return alpha
    absent = gate[col] == 0
    if perm is not None:
        absent = torch.empty_like(absent).index_copy(0, perm, absent)
    absent = absent.unsqueeze(-1)
    alpha = softmax(scores.masked_fill(absent, -torch.inf), rowptr, perm)
    return alpha.masked_fill(absent, 0)


def _fake(value: Tensor, scores: Tensor, rowptr: Tensor, *_: Any) -> Tensor:
    return value.new_empty(rowptr.size(0) - 1, value.size(1))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    value, scores, *graph, gate = ctx.saved_tensors
    needs_value, needs_scores, needs_gate = (ctx.needs_input_grad[k] for k in (0, 1, 8))
    forward, transpose = graph[0:3], graph[3:6]
    rowptr, col, perm = forward
    alpha = _alpha(kernels.segment_softmax, scores, rowptr, col, perm, gate)
    grad_value = grad_scores = grad_gate = None
    if needs_value or needs_gate:
        heard = kernels.gather_reduce(grad, *transpose, *forward, alpha, None, SUM)
        grad_value = heard if gate is None else gate_rows(heard, gate)
        grad_gate = (value * heard).sum(-1).masked_fill(gate == 0, 0) if needs_gate else None
    if needs_scores:
        sent = value if gate is None else gate_rows(value, gate)
        dot = kernels.edge_dot(sent, grad, *forward, *transpose, scores.size(1))
        dot = dot.view_as(scores)  # [E] where there is one head
        grad_scores = kernels.segment_softmax_grad(alpha, dot, rowptr, perm)
    return grad_value, grad_scores, *[None] * 6, grad_gate


_op = register("gather_attend", _reference, _fake, _backward, _setup_context)
