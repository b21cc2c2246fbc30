"""Sum, over the neighbours of every node, what passes a ReLU together with the edge's features."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._by_reference import derivative_of
from gnnlib.ops._gather_reduce import _adjacency, _factor, _transpose
from gnnlib.ops._reduce import SUM, scattered, targets


def gather_edge_relu(x: Tensor, edge: Tensor, adj: Any, gate: Tensor | None = None) -> Tensor:
    r"""Sum the rectified sums of every node's neighbours and edges.

    .. math::
        \mathrm{out}_i = \sum_{e = (j \to i)} g_j \, \mathrm{ReLU}(x_j + a_e)

    The aggregation of GINE (Hu et al., 2020, "Strategies for Pre-training Graph Neural Networks",
    as in PyG's :class:`~torch_geometric.nn.conv.GINEConv`), run as one pass over the graph: beyond
    the edges' own features no ``[E, F]`` tensor is written, except their gradient.

    A source whose gate is zero is *absent*. The gradient reaches its gate as if it were open
    (straight-through).

    Args:
        x: ``[N_src, F]`` features; float32, float64, bfloat16 or float16 (accumulated in float32).
        edge: ``[E, F]`` features of the edges, in the caller's order, of the same dtype.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes
            (then on as many targets as sources).
        gate: ``[N_src]`` in ``[0, 1]``; default ones.

    Returns:
        ``[N_dst, F]``; 0 for nodes without present edges. NaN propagates, and the derivative at
        exactly 0 is 0, both as in :func:`torch.relu`. The bits do not depend on the number of
        threads.

    Raises:
        IndexError: the graph holds a node that ``x`` does not have.
        ValueError: sizes, dtypes or devices disagree.

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [4.0]])
        >>> edge = torch.tensor([[1.0], [-3.0], [0.5]])
        >>> gather_edge_relu(x, edge, torch.tensor([[0, 1, 2], [2, 2, 0]])).flatten()
        tensor([4.5000, 0.0000, 2.0000])
    """
    adj = _adjacency(adj, x)
    same_device("`edge`", edge.device, x)
    if x.dim() != 2:
        raise ValueError(f"`x` must be a matrix [N_src, F], got {list(x.shape)} (use x.flatten(1))")
    if edge.shape != (adj.num_edges, x.size(1)):
        raise ValueError(
            f"`edge` must be {[adj.num_edges, x.size(1)]}, a row per edge as wide as `x`, got "
            f"{list(edge.shape)} (does it need a linear layer first?)"
        )
    if edge.dtype != x.dtype or not x.is_floating_point():
        raise ValueError(
            f"`x` and `edge` must share a floating point dtype, got {x.dtype} and {edge.dtype}"
        )
    if gate is not None:
        gate = _factor(gate, "gate", adj.num_src, "source node", x)
    transpose = _transpose(adj, x, edge, gate)
    out: Tensor = _op(x, edge, adj.rowptr, adj.col, adj.perm, *transpose, gate)
    return out


def _reference(
    x: Tensor, edge: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    t_rowptr: Tensor | None, t_col: Tensor | None, t_perm: Tensor | None, gate: Tensor | None,
) -> Tensor:  # fmt: skip
    message = (x[col] + (edge if perm is None else edge[perm])).relu()
    if gate is not None:
        open_ = gate[col].unsqueeze(-1)
        message = torch.where(open_ == 0, 0, open_ * message)
    return scattered(message, targets(rowptr, col)[0], rowptr.size(0) - 1, SUM)


def _fake(x: Tensor, edge: Tensor, rowptr: Tensor, *_: Any) -> Tensor:
    return x.new_empty(rowptr.size(0) - 1, x.size(1))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, edge, _, _, _, t_rowptr, t_col, t_perm, gate = inputs
    ctx.save_for_backward(x, edge, t_rowptr, t_col, t_perm, gate)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    needs_x, needs_edge, needs_gate = (ctx.needs_input_grad[k] for k in (0, 1, 8))
    grad_x, grad_edge, heard = kernels.edge_relu_grad(
        grad, *ctx.saved_tensors, needs_edge, needs_gate
    )
    return (
        grad_x if needs_x else None, grad_edge if needs_edge else None, *[None] * 6,
        heard.sum(-1) if needs_gate else None,
    )  # fmt: skip


def _grad_reference(
    grad: Tensor, x: Tensor, edge: Tensor, t_rowptr: Tensor, t_col: Tensor, t_perm: Tensor | None,
    gate: Tensor | None, need_edge: bool, need_gate: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """By ``x``; by ``edge``; and what each source's gate hears, column by column."""
    source, number = targets(t_rowptr, t_col)
    place = number if t_perm is None else t_perm
    value = x[source] + edge[place]
    gain = grad[t_col].masked_fill(value <= 0, 0)
    heard = torch.zeros_like(x).index_add(0, source, gain * value.relu())
    if gate is not None:
        open_ = gate[source].unsqueeze(-1)
        gain = torch.where(open_ == 0, 0, open_ * gain)
    grad_x = torch.zeros_like(x).index_add(0, source, gain)
    grad_edge = torch.zeros_like(edge).index_copy(0, place, gain)
    none = x.new_empty(0, x.size(1))
    return grad_x, grad_edge if need_edge else none, heard if need_gate else none


def _grad_fake(
    grad: Tensor, x: Tensor, edge: Tensor, t_rowptr: Tensor, t_col: Tensor, t_perm: Tensor | None,
    gate: Tensor | None, need_edge: bool, need_gate: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    width = x.size(1)
    grad_edge = x.new_empty(edge.size(0) if need_edge else 0, width)
    return x.new_empty(x.shape), grad_edge, x.new_empty(x.size(0) if need_gate else 0, width)


_op = register("gather_edge_relu", _reference, _fake, _backward, _setup_context)
register("edge_relu_grad", _grad_reference, _grad_fake, *derivative_of(_grad_reference))
