"""The derivatives of reductions that are not linear in their messages: min, max, mul and variance.

Each message's derivative is a function of the message and of two tables of its target: ``out``, and
``share``, what the target's gradient comes to for one message (see ``csrc/ops/gain.h``). Those that
tie for an extremum share its gradient; where a product holds one zero, that zero gets the product
of the others. These operators are internal and have no derivative of their own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnlib._library import register
from gnnlib.ops._reduce import MUL, VAR, factors, targets


def _message(
    x: Tensor, source: Tensor, perm: Tensor | None, weight: Tensor | None, gate: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The messages along grouped edges, and their factors ``gate * weight``."""
    factor = factors(source, perm, weight, gate)
    if factor is None:
        factor = x.new_ones(source.numel())
    return x[source] * factor.unsqueeze(-1), factor.unsqueeze(-1)


def _won(message: Tensor, out: Tensor) -> Tensor:
    return (message == out) | (message.isnan() & out.isnan())


def _gain(message: Tensor, out: Tensor, share: Tensor, reduce: int) -> Tensor:
    """The derivative of a target's value by one of its messages."""
    if reduce == VAR:
        return share * (message - out)
    if reduce == MUL:
        return torch.where(message == 0, share, torch.where(out == 0, 0, share / message))
    return torch.where(_won(message, out), share, 0)


def _open(gain: Tensor, gate: Tensor | None, source: Tensor) -> Tensor:
    return gain if gate is None else gain.masked_fill((gate[source] == 0).unsqueeze(-1), 0)


def _share_reference(
    grad: Tensor, out: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, perm: Tensor | None,
    weight: Tensor | None, gate: Tensor | None, reduce: int,
) -> Tensor:  # fmt: skip
    target, kept = targets(rowptr, col)
    source = kept if col is None else col
    message, _ = _message(x, source, perm, weight, gate)
    absent = None if gate is None else (gate[source] == 0).unsqueeze(-1)
    if reduce != MUL:
        won = _won(message, out[target])
        won = won if absent is None else won & ~absent
        return grad / torch.zeros_like(grad).index_add(0, target, won.to(x.dtype)).clamp(min=1)
    message = message if absent is None else message.masked_fill(absent, 1)
    zero = message == 0
    index = target.unsqueeze(-1).expand_as(message)
    rest = torch.ones_like(grad).scatter_reduce(0, index, message.masked_fill(zero, 1), "prod")
    zeros = torch.zeros_like(grad).index_add(0, target, zero.to(x.dtype))
    return torch.where(zeros > 1, 0, grad * rest)


def _grad_reference(
    share: Tensor, out: Tensor, x: Tensor, t_rowptr: Tensor, t_col: Tensor, t_perm: Tensor | None,
    weight: Tensor | None, gate: Tensor | None, reduce: int,
) -> Tensor:  # fmt: skip
    source, _ = targets(t_rowptr, t_col)
    message, factor = _message(x, source, t_perm, weight, gate)
    gain = _open(_gain(message, out[t_col], share[t_col], reduce) * factor, gate, source)
    return torch.zeros_like(x).index_add(0, source, gain)


def _dot_reference(
    share: Tensor, out: Tensor, x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    weight: Tensor, gate: Tensor | None, reduce: int,
) -> Tensor:  # fmt: skip
    target, _ = targets(rowptr, col)
    message, _ = _message(x, col, perm, weight, gate)
    value = x[col] if gate is None else x[col] * gate[col].unsqueeze(-1)
    gain = _open(_gain(message, out[target], share[target], reduce), gate, col)
    dot = torch.where(gain == 0, 0, gain * value).sum(-1)
    return dot if perm is None else torch.empty_like(dot).index_copy(0, perm, dot)


def _segment_reference(share: Tensor, out: Tensor, x: Tensor, index: Tensor, reduce: int) -> Tensor:
    if index.numel() and int(index.max()) >= out.size(0):
        raise IndexError(f"`index` must lie in [0, {out.size(0)}), got {int(index.max())}")
    gain = torch.zeros_like(x)
    kept = (index >= 0).nonzero().flatten()
    group = index[kept]
    return gain.index_copy(0, kept, _gain(x[kept], out[group], share[group], reduce))


def backward(
    share: Tensor, out: Tensor, x: Tensor, graph: Sequence[Tensor], weight: Tensor | None,
    gate: Tensor | None, reduce: int, needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """The gradients by x, weight and gate that are needed; ``graph`` holds both directions."""
    grad_x = grad_weight = grad_gate = None
    if needs[0] or needs[2]:
        grad_x = message_grad(share, out, x, *graph[3:6], weight, gate, reduce)
    if needs[2] and grad_x is not None and gate is not None:
        # A message is linear in its gate: d/dg <share, g w x> = <dx, x> / g.
        # Messages that do not matter count for nothing, even where x is not finite.
        heard = (x * grad_x).masked_fill(grad_x == 0, 0).sum(-1)
        grad_gate = (heard / gate).masked_fill(gate == 0, 0)
    if needs[1]:
        grad_weight = message_dot(share, out, x, *graph[0:3], weight, gate, reduce)
    return grad_x, grad_weight, grad_gate


def _no_second_derivative(ctx: Any, *_: Tensor) -> None:
    raise NotImplementedError(
        "min, max, mul, var and std have no second derivative (sum, mean and softmax have)"
    )


def _like(k: int) -> Any:
    return lambda *inputs: torch.empty_like(inputs[k], memory_format=torch.contiguous_format)


def _register(name: str, reference: Any, fake: Any) -> Any:
    return register(name, reference, fake, _no_second_derivative, lambda *_, **__: None)


message_share = _register("message_share", _share_reference, _like(0))
message_grad = _register("message_grad", _grad_reference, _like(2))
message_dot = _register(
    "message_dot",
    _dot_reference,
    lambda share, out, x, rowptr, col, *_: x.new_empty(col.size(0)),
)
segment_grad = _register("segment_grad", _segment_reference, _like(2))
