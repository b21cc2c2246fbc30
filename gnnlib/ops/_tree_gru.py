"""The binary tree of a symmetrised gated recurrent unit, without the gates of all its pairs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gnnlib._library import kernels, register
from gnnlib.ops._gru import gru_pair, gru_pair_grad
from gnnlib.ops._reduce import accumulated_in
from gnnlib.ops._tree import Round, TreePlan, planned

# Values of gates that are worked on at a time, so that memory stays that of x. A CPU keeps them in
# its cache; a GPU starts few large products, not many small ones.
_GATES, _GATES_ON_GPU = 1 << 19, 1 << 24


def tree_gru(x: Tensor, ptr: Tensor, perm: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    r"""Reduce every segment of rows over a balanced tree by the mean of both orders of a GRU.

    .. math::
        x \circ y = \tfrac12 \big(\mathrm{GRU}(x, y) + \mathrm{GRU}(y, x)\big)

    Every element is projected once for both orders: its gates as an input and as a state are one
    row of ``weight``, ``[6 F, F]``, and ``bias``, ``[6 F]``. They are made again in the backward
    pass. Segments without rows are 0. The products are torch's own, whose last bits may depend on
    the number of threads.
    """
    wide = accumulated_in(x.dtype)
    out: Tensor = _op(x.to(wide), ptr, perm, weight.to(wide), bias.to(wide))[0]
    return out.to(x.dtype)


def _states(x: Tensor) -> int:
    # What is left after every round of n rows is at most 11 for 9 rows, in all.
    return (5 * x.size(0) + 3) // 4


def _reference(
    x: Tensor, ptr: Tensor, perm: Tensor | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    plan = planned(ptr, perm, x.size(0))
    states, work = x.new_empty(_states(x), x.size(1)), _Workspace(x, weight)
    out = x.new_zeros(plan.num_groups, x.size(1))
    for level, left, combined in _levels(plan, x, states):
        out.index_copy_(0, level.group, left.index_select(0, level.finished))
        for part, pairs in work.parts(level):
            h, gates = work.project(left, pairs)
            combined[part] = gru_pair(gates, bias, h)
        combined[level.pairs.numel() // 2 :] = left.index_select(0, level.carried)
    states[plan.num_left :] = 0
    return out, states


def _backward_reference(
    grad: Tensor, x: Tensor, ptr: Tensor, perm: Tensor | None, weight: Tensor, bias: Tensor,
    states: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    plan, work = planned(ptr, perm, x.size(0)), _Workspace(x, weight)
    grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    grad_left = grad.new_empty(0, x.size(1))
    for level, left, _ in reversed(_levels(plan, x, states)):
        # Every element has one parent, or is the last of its group, or in none: written once.
        grad_combined, grad_left = grad_left, torch.zeros_like(left)
        grad_left.index_copy_(0, level.finished, grad.index_select(0, level.group))
        for part, pairs in work.parts(level):
            h, gates = work.project(left, pairs)
            grad_gates, grad_h = gru_pair_grad(grad_combined[part], gates, bias, h)
            grad_left.index_copy_(0, pairs, grad_h.addmm_(grad_gates, weight))
            grad_weight.addmm_(grad_gates.t(), h)
            grad_bias += grad_gates.sum(0)
        grad_left.index_copy_(0, level.carried, grad_combined[level.pairs.numel() // 2 :])
    return (grad_left if plan.rounds else torch.zeros_like(x)), grad_weight, grad_bias


class _Workspace:
    """Room for the rows of some pairs and their gates, taken once for all."""

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self.weight_t = weight.t()
        # All pairs at once where they are few.
        gates = _GATES if x.device.type == "cpu" else _GATES_ON_GPU
        self.step = min(max(gates // max(2 * weight.size(0), 1), 1), x.size(0) // 2)
        self.rows = x.new_empty(2 * self.step, x.size(1))
        self.gates = x.new_empty(2 * self.step, weight.size(0))

    def parts(self, level: Round) -> Iterator[tuple[slice, Tensor]]:
        """Some pairs of a level at a time: which they are, and the places of their rows."""
        end = level.pairs.numel() // 2
        for start in range(0, end, max(self.step, 1)):
            part = slice(start, min(start + self.step, end))
            yield part, level.pairs[2 * part.start : 2 * part.stop]

    def project(self, left: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Rows, and their gates but for the bias; both until the next call."""
        rows, gates = self.rows[: places.numel()], self.gates[: places.numel()]
        torch.index_select(left, 0, places, out=rows)
        torch.mm(rows, self.weight_t, out=gates)
        return rows, gates


def _levels(plan: TreePlan, x: Tensor, states: Tensor) -> list[tuple[Round, Tensor, Tensor]]:
    """Every round with the elements before it, and room for, or in, those after it."""
    found, left, begin = [], x, 0
    for level in plan:
        end = begin + level.pairs.numel() // 2 + level.carried.numel()
        found.append((level, left, states[begin:end]))
        left, begin = states[begin:end], end
    return found


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


@once_differentiable
def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    grad_x, grad_weight, grad_bias = kernels.tree_gru_grad(grad, *ctx.saved_tensors)
    return grad_x, None, None, grad_weight, grad_bias


_op = register(
    "tree_gru",
    _reference,
    lambda x, ptr, perm, weight, bias: (
        x.new_empty(ptr.size(0) - 1, x.size(1)),
        x.new_empty(_states(x), x.size(1)),
    ),
    _backward,
    _setup_context,
)
_grad = register(
    "tree_gru_grad",
    _backward_reference,
    lambda grad, x, ptr, perm, weight, bias, states: (
        torch.empty_like(x),
        torch.empty_like(weight),
        torch.empty_like(bias),
    ),
)
