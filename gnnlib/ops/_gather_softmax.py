"""Average the neighbours of every node with a softmax of their own features, channel by channel."""

from typing import Any

from torch import Tensor

from gnnlib._check import same_device
from gnnlib._library import kernels, register
from gnnlib.ops._by_reference import derivative_of
from gnnlib.ops._column_sums import column_sums
from gnnlib.ops._gather_reduce import _adjacency, _factor, _transpose
from gnnlib.ops._reduce import MAX, accumulated_in, added, factors, scattered, targets


def gather_softmax(
    x: Tensor,
    adj: Any,
    t: float | Tensor = 1.0,
    weight: Tensor | None = None,
    gate: Tensor | None = None,
    semi_grad: bool = False,
) -> Tensor:
    r"""Average every node's messages, each channel weighted by a softmax of the messages.

    .. math::
        \mathrm{out}_i = \sum_{e = (j \to i)} \alpha_e \, m_e, \qquad
        \alpha_e = \frac{\exp(t \, m_e)}{\sum_{e' \to i} \exp(t \, m_{e'})}, \qquad
        m_e = g_j \, w_e \, x_j

    The aggregation of GENConv (Li et al., 2020, "DeeperGCN", eq. 6; PyG's
    :class:`~torch_geometric.nn.aggr.SoftmaxAggregation`) on messages that are the source's own
    features: the mean for :math:`t = 0`, the maximum for :math:`t \to \infty`. One pass over the
    graph with a running softmax; no ``[E, F]`` tensor is written, forward or backward.

    A source whose gate is zero is *absent*: the softmax does not see it, and its gate gets no
    gradient.

    Args:
        x: ``[N_src, F]`` features; float32, float64, bfloat16 or float16 (accumulated in float32).
        adj: the graph, an :class:`~gnnlib.Adjacency` or whatever :meth:`gnnlib.Adjacency.of` takes
            (then on as many targets as sources).
        t: the inverse temperature: a number, or a tensor of the dtype of ``x`` with one element or
            ``[F]``, one per channel; default 1.
        weight: ``[E]``, in the caller's order of edges; default ones.
        gate: ``[N_src]`` in ``[0, 1]``; default ones.
        semi_grad: whether the gradient takes :math:`\alpha` for constant, as PyG's argument of that
            name; default False.

    Returns:
        ``[N_dst, F]``; 0 for nodes without present edges. NaN propagates, and an infinite message
        gives NaN, as in :func:`torch.softmax`. The bits do not depend on the number of threads.

    Raises:
        IndexError: the graph holds a node that ``x`` does not have.
        ValueError: sizes, dtypes or devices disagree, or ``semi_grad`` meets a ``t`` to be learnt.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [5.0]])
        >>> edge_index = torch.tensor([[0, 1, 2], [2, 2, 0]])
        >>> gather_softmax(x, edge_index).flatten()
        tensor([5.0000, 0.0000, 0.7311])
        >>> gather_softmax(x, edge_index, t=0.0).flatten()
        tensor([5.0000, 0.0000, 0.5000])
    """
    if not x.is_floating_point():
        raise ValueError(f"`x` must be floating point, got {x.dtype} (use x.float())")
    adj = _adjacency(adj, x)
    if x.dim() != 2:
        raise ValueError(f"`x` must be a matrix [N_src, F], got {list(x.shape)} (use x.flatten(1))")
    if weight is not None:
        weight = _factor(weight, "weight", adj.num_edges, "edge", x)
    if gate is not None:
        gate = _factor(gate, "gate", adj.num_src, "source node", x)
    if semi_grad and isinstance(t, Tensor) and t.requires_grad:
        raise ValueError(
            "`semi_grad` must be False where `t` is learnt, as `t` acts through the softmax alone"
        )
    temperature = _temperature(t, x)
    graph = (adj.rowptr, adj.col, adj.perm, *_transpose(adj, x, weight, gate, temperature))
    out: Tensor = _op(x, *graph, weight, gate, temperature, semi_grad)[0]
    return out


def _temperature(t: float | Tensor, x: Tensor) -> Tensor:
    """One per channel, in the precision of the exponents."""
    wide = accumulated_in(x.dtype)
    if not isinstance(t, Tensor):
        return x.new_full((x.size(1),), t, dtype=wide)
    same_device("`t`", t.device, x)
    if t.dtype != x.dtype:
        raise ValueError(f"`x` and `t` must share a dtype, got {x.dtype} and {t.dtype}")
    if t.numel() != 1 and t.shape != x.shape[1:]:
        raise ValueError(
            f"`t` must have one element or one per channel, {x.size(1)}, got {list(t.shape)}"
        )
    return t.to(wide).reshape(-1).expand(x.size(1))


def _softmax(
    x: Tensor, source: Tensor, target: Tensor, place: Tensor | None, num_dst: int,
    weight: Tensor | None, gate: Tensor | None, t: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Per edge: factor, message, share; per target: result, largest exponent, sum of powers."""
    weight, gate = (None if f is None else f.to(t.dtype) for f in (weight, gate))
    factor = factors(source, place, weight, gate)
    factor = t.new_ones(source.numel(), 1) if factor is None else factor.unsqueeze(-1)
    message = x[source].to(t.dtype) * factor
    top = scattered((message * t).detach(), target, num_dst, MAX)
    power = (message * t - top[target]).exp()
    total = added(power, target, num_dst)
    share = power / total[target]
    out = added(share * message, target, num_dst)
    return factor, message, share, out, top, total


def _reference(
    x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None, t_rowptr: Tensor | None,
    t_col: Tensor | None, t_perm: Tensor | None, weight: Tensor | None, gate: Tensor | None,
    t: Tensor, semi_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    target, number = targets(rowptr, col)
    place = number if perm is None else perm
    if gate is not None:
        present = gate[col] != 0
        col, target, place = col[present], target[present], place[present]
    *_, out, top, total = _softmax(x, col, target, place, rowptr.size(0) - 1, weight, gate, t)
    return out.to(x.dtype), top, total.masked_fill(total == 0, 1)


def _fake(x: Tensor, rowptr: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    shape, wide = (rowptr.size(0) - 1, x.size(1)), accumulated_in(x.dtype)
    return x.new_empty(shape), x.new_empty(shape, dtype=wide), x.new_empty(shape, dtype=wide)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.semi_grad = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 11
    x, *graph, weight, gate, t, out, top, total = ctx.saved_tensors
    needs_x, needs_weight, needs_gate, needs_t = (ctx.needs_input_grad[k] for k in (0, 7, 8, 9))
    known = (grad, out.detach(), top, total, x)
    grad_x = grad_weight = grad_gate = grad_t = None
    if needs_x or needs_gate or needs_t:
        grad_x, spread = kernels.softmax_grad(
            *known, *graph[3:6], weight, gate, t, ctx.semi_grad, needs_t
        )
        grad_t = column_sums(spread) if needs_t else None
    if needs_gate:
        # A message is linear in its gate: d/dg <share, g w x> = <dx, x> / g.
        heard = (x * grad_x).masked_fill(grad_x == 0, 0).sum(-1)
        grad_gate = (heard / gate).masked_fill(gate == 0, 0)
    if needs_weight:
        grad_weight = kernels.softmax_dot(*known, *graph[0:3], weight, gate, t, ctx.semi_grad)
    return grad_x, *[None] * 6, grad_weight, grad_gate, grad_t, None


def _gain(
    grad: Tensor, x: Tensor, source: Tensor, target: Tensor, place: Tensor,
    weight: Tensor | None, gate: Tensor | None, t: Tensor, semi_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Per edge: the derivative by its message, its factor, and what it tells of ``t``."""
    factor, message, share, out, *_ = _softmax(
        x, source, target, place, grad.size(0), weight, gate, t
    )
    if semi_grad:
        share = share.detach()
    gain, offset = share * grad[target], message - out[target]
    return gain if semi_grad else gain * (1 + t * offset), factor, gain * offset * offset


def _grad_reference(
    grad: Tensor, out: Tensor, top: Tensor, total: Tensor, x: Tensor, t_rowptr: Tensor,
    t_col: Tensor, t_perm: Tensor | None, weight: Tensor | None, gate: Tensor | None, t: Tensor,
    semi_grad: bool, need_t: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """By ``x``, and what each source adds to the derivative by ``t``.

    What the forward pass left in ``out``, ``top`` and ``total`` is computed anew, so that this has
    the right derivative in its turn.
    """
    source, number = targets(t_rowptr, t_col)
    target, place = t_col, number if t_perm is None else t_perm
    if gate is not None:
        present = gate[source] != 0
        source, target, place = source[present], target[present], place[present]
    gain, factor, spread = _gain(grad, x, source, target, place, weight, gate, t, semi_grad)
    none = gain.new_zeros(x.shape)
    grad_x = none.index_add(0, source, gain * factor).to(x.dtype)
    return grad_x, none.index_add(0, source, spread) if need_t else none[:0]


def _grad_fake(grad: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    x, need_t = rest[3], rest[-1]
    rows = x.size(0) if need_t else 0
    return x.new_empty(x.shape), x.new_empty((rows, x.size(1)), dtype=accumulated_in(x.dtype))


def _dot_reference(
    grad: Tensor, out: Tensor, top: Tensor, total: Tensor, x: Tensor, rowptr: Tensor,
    col: Tensor, perm: Tensor | None, weight: Tensor, gate: Tensor | None, t: Tensor,
    semi_grad: bool,
) -> Tensor:  # fmt: skip
    """By ``weight``; computes anew what is known, as above."""
    (target, number), value = targets(rowptr, col), x if gate is None else x * gate.unsqueeze(-1)
    place, size = number if perm is None else perm, col.size(0)
    if gate is not None:
        present = gate[col] != 0
        col, target, place = col[present], target[present], place[present]
    gain, *_ = _gain(grad, x, col, target, place, weight, gate, t, semi_grad)
    return x.new_zeros(size).index_copy(0, place, (gain * value[col]).sum(-1).to(x.dtype))


_op = register("gather_softmax", _reference, _fake, _backward, _setup_context)
register("softmax_grad", _grad_reference, _grad_fake, *derivative_of(_grad_reference))
register(
    "softmax_dot",
    _dot_reference,
    lambda *inputs: inputs[4].new_empty(inputs[6].size(0)),
    *derivative_of(_dot_reference),
)
