"""Open and close rows: a product whose zero means absence."""

from typing import Any

import torch
from torch import Tensor

from gnnlib._library import register


def gate_rows(x: Tensor, gate: Tensor) -> Tensor:
    r"""Multiply each row by its gate; a closed gate gives zero, even for what is not finite.

    .. math::
        \mathrm{out}_i = g_i x_i, \qquad
        \frac{\partial}{\partial g_i} = \Big\langle \frac{\partial}{\partial \mathrm{out}_i}, x_i
        \Big\rangle

    The derivative by a closed gate is that of an open one (straight-through): it learns what
    opening would change.

    Args:
        x: ``[N, F]`` floating point.
        gate: ``[N]`` of the same dtype.

    Returns:
        ``[N, F]``.

    Raises:
        ValueError: sizes disagree.

    Example:
        >>> gate_rows(torch.tensor([[1.0], [float("nan")]]), torch.tensor([0.5, 0.0])).flatten()
        tensor([0.5000, 0.0000])
    """
    if x.dim() != 2 or gate.shape != x.shape[:1]:
        raise ValueError(
            "`gate` must have one value per row of `x` [N, F], got "
            f"{list(gate.shape)} and {list(x.shape)} (use gate.reshape(-1))"
        )
    out: Tensor = _op(x, gate)
    return out


def _reference(x: Tensor, gate: Tensor) -> Tensor:
    gate = gate.unsqueeze(-1)
    return torch.where(gate == 0, 0, x * gate)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, gate = ctx.saved_tensors
    grad_x = gate_rows(grad, gate) if ctx.needs_input_grad[0] else None
    return grad_x, (grad * x).sum(-1) if ctx.needs_input_grad[1] else None


_op = register(
    "gate_rows", _reference, lambda x, gate: x.new_empty(x.shape), _backward, _setup_context
)
