"""Several statistics of the neighbours of every node, in one pass over the edges."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gnnlib._library import kernels, register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._gate_rows import gate_rows
from gnnlib.ops._gather_reduce import _adjacency, _factor, _matrix, _transpose
from gnnlib.ops._message_grad import backward
from gnnlib.ops._reduce import MAX, MIN, SUM, VAR, accumulated_in, factors, scattered, targets

Statistic = Literal["sum", "mean", "min", "max", "var", "std", "count"]
STATISTICS = ("sum", "mean", "min", "max", "var", "std", "count")
# What the operator is asked for.
_SUM, _VAR, _EXTREMA = 1, 2, 4


def gather_statistics(
    x: Tensor,
    adj: Any,
    statistics: Sequence[Statistic] = ("mean", "min", "max", "std"),
    weight: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, ...]:
    r"""Compute statistics of the messages :math:`m_e = g_j \, w_e \, x_j` that reach every node.

    .. math::
        \mathrm{var}_i = \frac{1}{n_i} \sum_{e = (j \to i)} (m_e - \bar m_i)^2, \qquad
        \mathrm{std}_i = \sqrt{\mathrm{var}_i}

    over the :math:`n_i` present edges, and sum, mean, min and max as :func:`gather_reduce` has
    them. These are the aggregators of PNA (Corso et al., 2020, section 3.1). Squares are summed
    relative to the first message, so that a common offset of the features costs no precision.

    Args:
        x: ``[N_src, *]`` floating point features.
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes.
        statistics: any of ``"sum"``, ``"mean"``, ``"min"``, ``"max"``, ``"var"``, ``"std"`` and
            ``"count"``, in any order.
        weight: ``[E]``, in the caller's order of edges; default ones.
        gate: ``[N_src]`` in ``[0, 1]``; the edges of a source with gate zero are absent.

    Returns:
        The statistics in the order asked for, each ``[N_dst, *]`` of the dtype of ``x``, and
        ``"count"``, the number of present edges, ``[N_dst]`` int64. All are 0 for a node without
        present edges. The gradient of ``"std"`` is 0 where it is 0. Sum and mean have a second
        derivative.

    Raises:
        IndexError: the graph holds a node that ``x`` does not have.
        ValueError: a statistic is unknown, ``x`` is not floating point, or sizes disagree.

    Example:
        >>> x = torch.tensor([[1.0], [3.0], [5.0]])
        >>> edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
        >>> mean, std, count = gather_statistics(x, edge_index, ("mean", "std", "count"))
        >>> mean.flatten(), std.flatten(), count
        (tensor([2., 5., 0.]), tensor([1., 0., 0.]), tensor([2, 1, 0]))
    """
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown or isinstance(statistics, str):
        raise ValueError(
            f"`statistics` must be a list of {', '.join(STATISTICS)}, got "
            f"{(statistics if isinstance(statistics, str) else unknown[0])!r}"
        )
    if not x.is_floating_point():
        raise ValueError(f"`x` must be floating point, got {x.dtype} (use x.float())")
    adj = _adjacency(adj, x)
    if weight is not None:
        weight = _factor(weight, "weight", adj.num_edges, "edge", x)
    if gate is not None:
        gate = _factor(gate, "gate", adj.num_src, "source node", x)
    wide = accumulated_in(x.dtype)  # squares and products need the precision they are summed in
    weight, gate = (None if t is None else t.to(wide) for t in (weight, gate))
    found = _found(_matrix(x).to(wide), adj, weight, gate, set(statistics))
    shape = (adj.num_dst, *x.shape[1:])
    return tuple(
        found[name] if name == "count" else found[name].to(x.dtype).reshape(shape)
        for name in statistics
    )


def _found(
    x: Tensor, adj: Adjacency, weight: Tensor | None, gate: Tensor | None, wanted: set[Statistic]
) -> dict[Statistic, Tensor]:
    which = _SUM * bool(wanted & {"sum", "mean"}) | _VAR * bool(wanted & {"var", "std"})
    which |= _EXTREMA * bool(wanted & {"min", "max"})
    found: dict[Statistic, Tensor] = {}
    if which:
        graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x, gate))
        found["sum"], found["var"], found["min"], found["max"] = _op(x, *graph, weight, gate, which)
    if "count" in wanted:
        found["count"] = _count(adj.rowptr, adj.col, adj.perm, gate)
    # In place where nothing else reads them: a fresh [N_dst, F] costs as much as a pass over it.
    if "mean" in wanted:
        total, present = found["sum"], _gate_sum(x, adj, gate)
        kept = "sum" in wanted or total.requires_grad or present.requires_grad
        found["mean"] = total / present if kept else total.div_(present)
    if "std" in wanted:
        kept = "var" in wanted or found["var"].requires_grad
        found["std"] = _root(found["var"]) if kept else found["var"].sqrt_()
    return found


def _root(var: Tensor) -> Tensor:
    """The square root, whose derivative at 0, infinite, is taken for 0."""
    zero = var == 0
    return torch.where(zero, 1, var).sqrt().masked_fill(zero, 0)


def _count(rowptr: Tensor, col: Tensor, perm: Tensor | None, gate: Tensor | None) -> Tensor:
    if gate is None:
        return rowptr.diff()
    present = (gate.detach() != 0).to(torch.int64).unsqueeze(-1)
    count: Tensor = kernels.gather_reduce(
        present, rowptr, col, perm, None, None, None, None, None, SUM
    )
    return count.squeeze(-1)


def _gate_sum(x: Tensor, adj: Adjacency, gate: Tensor | None) -> Tensor:
    """What a mean divides by: the number of edges, or the sum of their gates."""
    if gate is None:
        return adj.rowptr.diff().clamp(min=1).to(x.dtype).unsqueeze(-1)
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, gate))
    total: Tensor = kernels.gather_reduce(
        torch.ones_like(gate).unsqueeze(-1), *graph, None, gate, SUM
    )
    return torch.where(total == 0, 1, total)


def _reference(
    x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None, t_rowptr: Tensor | None,
    t_col: Tensor | None, t_perm: Tensor | None, weight: Tensor | None, gate: Tensor | None,
    which: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    (index, _), message = targets(rowptr, col), x[col]
    factor = factors(col, perm, weight, gate)
    if factor is not None:
        message = message * factor.unsqueeze(-1)
    if gate is not None:
        present = gate[col] != 0
        index, message = index[present], message[present]
    size, out = rowptr.numel() - 1, [x.new_empty(0) for _ in range(4)]
    if which & (_SUM | _VAR):
        out[0] = scattered(message, index, size, SUM)
    if which & _VAR:
        count = torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(-1)
        offset = message - (out[0] / count)[index]
        out[1] = scattered(offset * offset, index, size, SUM) / count
    if which & _EXTREMA:
        out[2], out[3] = (scattered(message, index, size, how) for how in (MIN, MAX))
    return out[0], out[1], out[2], out[3]


def _fake(x: Tensor, rowptr: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    which: int = rest[-1]
    shape = (rowptr.size(0) - 1, x.size(1))
    parts = (_SUM | _VAR, _VAR, _EXTREMA, _EXTREMA)
    return tuple(x.new_empty(shape if which & part else (0,)) for part in parts)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:9], *output)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    x, *graph, weight, gate, total, _, low, high = ctx.saved_tensors
    needs = tuple(ctx.needs_input_grad[k] for k in (0, 7, 8))
    parts = []
    # What was not asked for is empty, and so is its gradient.
    asked = [None if grad is None or grad.dim() < 2 else grad for grad in grads]
    if asked[0] is not None:
        parts.append(_backward_sum(asked[0], x, graph, weight, gate, needs))
    if asked[1] is not None:
        count = _count(graph[0], graph[1], graph[2], gate).clamp(min=1).to(x.dtype).unsqueeze(-1)
        share = asked[1] * (2 / count)
        parts.append(backward(share, total / count, x, graph, weight, gate, VAR, needs))
    for grad, out, reduce in ((asked[2], low, MIN), (asked[3], high, MAX)):
        if grad is not None:
            share = kernels.message_share(grad, out, x, *graph[0:3], weight, gate, reduce)
            parts.append(backward(share, out, x, graph, weight, gate, reduce, needs))
    sums = (
        functools.reduce(torch.add, part) if need else None
        for need, part in zip(needs, zip(*parts, strict=True), strict=True)
    )
    grad_x, grad_weight, grad_gate = sums if parts else (None, None, None)
    return grad_x, *[None] * 6, grad_weight, grad_gate, None


def _backward_sum(
    grad: Tensor, x: Tensor, graph: list[Tensor], weight: Tensor | None, gate: Tensor | None,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    forward, transpose = graph[0:3], graph[3:6]
    grad_x = grad_weight = grad_gate = None
    if needs[0] or needs[2]:
        # Without its gate: a closed source learns what opening it would have changed.
        heard = kernels.gather_reduce(grad, *transpose, *forward, weight, None, SUM)
        grad_x = heard if gate is None else gate_rows(heard, gate)
        grad_gate = (x * heard).sum(-1) if needs[2] else None
    if needs[1]:
        sent = x if gate is None else gate_rows(x, gate)
        grad_weight = kernels.edge_dot(sent, grad, *forward, *transpose, 1)
    return grad_x, grad_weight, grad_gate


_op = register("gather_statistics", _reference, _fake, _backward, _setup_context)
