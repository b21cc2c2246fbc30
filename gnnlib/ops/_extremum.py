"""The derivative of :func:`gather_reduce` for min and max: those that tie for an extremum share it.

These operators are internal and have no derivative of their own.
"""

from typing import Any

import torch
from torch import Tensor

from gnnlib._library import register
from gnnlib.ops._gather_reduce import _factors, _targets


def _message(
    x: Tensor, source: Tensor, perm: Tensor | None, weight: Tensor | None, gate: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The messages along grouped edges, and their factors ``gate * weight``."""
    factor = _factors(source, perm, weight, gate)
    if factor is None:
        factor = x.new_ones(source.numel())
    return x[source] * factor.unsqueeze(-1), factor.unsqueeze(-1)


def _won(message: Tensor, out: Tensor, gate: Tensor | None, source: Tensor) -> Tensor:
    won = (message == out) | (message.isnan() & out.isnan())
    return won if gate is None else won & (gate[source] != 0).unsqueeze(-1)


def _share_reference(
    grad: Tensor, out: Tensor, x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    weight: Tensor | None, gate: Tensor | None,
) -> Tensor:  # fmt: skip
    target = _targets(rowptr, col)
    message, _ = _message(x, col, perm, weight, gate)
    won = _won(message, out[target], gate, col).to(x.dtype)
    return grad / torch.zeros_like(grad).index_add(0, target, won).clamp(min=1)


def _grad_reference(
    share: Tensor, out: Tensor, x: Tensor, t_rowptr: Tensor, t_col: Tensor, t_perm: Tensor | None,
    weight: Tensor | None, gate: Tensor | None,
) -> Tensor:  # fmt: skip
    source = _targets(t_rowptr, t_col)
    message, factor = _message(x, source, t_perm, weight, gate)
    won = _won(message, out[t_col], gate, source)
    return torch.zeros_like(x).index_add(0, source, torch.where(won, share[t_col] * factor, 0))


def _dot_reference(
    share: Tensor, out: Tensor, x: Tensor, rowptr: Tensor, col: Tensor, perm: Tensor | None,
    weight: Tensor, gate: Tensor | None,
) -> Tensor:  # fmt: skip
    target = _targets(rowptr, col)
    message, _ = _message(x, col, perm, weight, gate)
    value = x[col] if gate is None else x[col] * gate[col].unsqueeze(-1)
    won = _won(message, out[target], gate, col)
    dot = torch.where(won, share[target] * value, 0).sum(-1)
    return dot if perm is None else torch.empty_like(dot).index_copy(0, perm, dot)


def _no_second_derivative(ctx: Any, *_: Tensor) -> None:
    raise NotImplementedError(
        "gather_reduce with `reduce`=min or max has no second derivative (sum and mean have)"
    )


def _like(k: int) -> Any:
    return lambda *inputs: torch.empty_like(inputs[k], memory_format=torch.contiguous_format)


extremum_share = register(
    "extremum_share", _share_reference, _like(0), _no_second_derivative, lambda *_, **__: None
)
extremum_grad = register(
    "extremum_grad", _grad_reference, _like(2), _no_second_derivative, lambda *_, **__: None
)
extremum_dot = register(
    "extremum_dot",
    _dot_reference,
    lambda share, out, x, rowptr, col, *_: x.new_empty(col.size(0)),
    _no_second_derivative,
    lambda *_, **__: None,
)
