"""The derivative of a derivative, taken through its reference.

A training step that asks for second derivatives is rare, and none of it is worth a kernel; it then
writes down what the first derivative did not, one row per edge.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def derivative_of(
    reference: Callable[..., Any],
) -> tuple[Callable[..., tuple[Any, ...]], Callable[..., None]]:
    """``backward`` and ``setup_context`` of an operator, as autograd finds them in its reference.

    Right to any order: what autograd records of the reference has derivatives of its own.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*(t if isinstance(t, Tensor) else None for t in inputs))
        ctx.others = [None if isinstance(t, Tensor) else t for t in inputs]

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        saved = zip(ctx.saved_tensors, ctx.others, ctx.needs_input_grad, strict=True)
        with torch.enable_grad():
            # As views: one input may have been computed from another, which is not ours to follow.
            inputs = [t.view_as(t) if needed else other if t is None else t
                      for t, other, needed in saved]  # fmt: skip
            out = reference(*inputs)
        outs = out if isinstance(out, tuple) else (out,)
        pairs = [(a, b) for a, b in zip(outs, grads, strict=True) if a.requires_grad]
        wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
        found: Any = [None] * len(wanted)
        if pairs:
            found = torch.autograd.grad(
                [a for a, _ in pairs], wanted, [b for _, b in pairs],
                create_graph=torch.is_grad_enabled(), allow_unused=True,
            )  # fmt: skip
        parts = iter(found)
        return tuple(next(parts) if needed else None for needed in ctx.needs_input_grad)

    return backward, setup_context
