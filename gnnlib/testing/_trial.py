"""One call of an op, taken apart so that its tensors can be changed one by one."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from ._report import check_close

Op = Callable[..., Any]


@dataclass(frozen=True)
class Sample:
    """The arguments of one call of an op.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        smooth: False for ties of a maximum, NaN and infinities: `gradcheck`, which takes finite
            differences, and the part of `opcheck` to which a NaN equals nothing are left out.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = True


@dataclass(frozen=True)
class Trial:
    """One sample, taken apart into leaves so that its tensors can be changed one by one."""

    op: Op
    reference: Op
    leaves: list[Any]
    spec: TreeSpec
    wanted: list[bool]  # whether a leaf belongs to a differentiable argument
    smooth: bool
    tolerances: tuple[float | None, float | None]

    @classmethod
    def of(
        cls,
        op: Op,
        reference: Op,
        sample: Sample,
        differentiable: Sequence[int | str],
        tolerances: tuple[float | None, float | None],
    ) -> "Trial":
        by_name = any(isinstance(key, str) for key in differentiable)
        names = list(inspect.signature(reference).parameters) if by_name else []
        wanted: list[bool] = []
        for i, value in enumerate(sample.args):
            chosen = i in differentiable or (i < len(names) and names[i] in differentiable)
            wanted += [chosen] * len(tree_leaves(value))
        for name, value in sample.kwargs.items():
            wanted += [name in differentiable] * len(tree_leaves(value))
        leaves, spec = tree_flatten((sample.args, dict(sample.kwargs)))
        wanted = [w and is_real(leaf) for w, leaf in zip(wanted, leaves, strict=True)]
        return cls(op, reference, leaves, spec, wanted, sample.smooth, tolerances)

    def changed(self, change: Callable[[Tensor], Tensor] = torch.clone) -> list[Any]:
        """The leaves with every tensor changed, which may require a gradient anew."""
        return [
            change(leaf.detach()).requires_grad_(w) if isinstance(leaf, Tensor) else leaf
            for leaf, w in zip(self.leaves, self.wanted, strict=True)
        ]

    def picked(self, leaves: list[Any]) -> list[Tensor]:
        """Those leaves whose gradients are wanted."""
        return [leaf for leaf, w in zip(leaves, self.wanted, strict=True) if w]

    def run(self, function: Op, leaves: list[Any]) -> list[Tensor]:
        """The tensors that a function returns."""
        args, kwargs = tree_unflatten(leaves, self.spec)
        return [out for out in tree_leaves(function(*args, **kwargs)) if isinstance(out, Tensor)]

    def gradients(
        self,
        function: Op,
        leaves: list[Any],
        change: Callable[[Tensor], Tensor] = torch.clone,
    ) -> list[Tensor]:
        """The gradients of a random loss, the incoming ones changed like the leaves."""
        inputs = self.picked(leaves)
        outputs = [out for out in self.run(function, leaves) if out.requires_grad]
        if not outputs or not inputs:
            return [torch.zeros_like(leaf) for leaf in inputs]
        generator = torch.Generator().manual_seed(0)
        incoming = []
        for out in outputs:
            # Drawn in float32 and of few bits, so that every dtype sees the same numbers.
            draw = torch.randint(-8, 9, out.shape, generator=generator, device="cpu") / 4
            incoming.append(change(draw.to(out.device, out.dtype)))
        return list(
            torch.autograd.grad(
                outputs, inputs, incoming, allow_unused=True, materialize_grads=True
            )
        )

    def check(self, actual: list[Tensor], expected: list[Tensor], what: str) -> None:
        """Raise AssertionError unless two lists of results are close."""
        if len(actual) != len(expected):
            raise AssertionError(f"{what}: {len(actual)} tensors, not {len(expected)}")
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            check_close(a, b, f"{what} {i}", *self.tolerances)


def is_real(value: Any) -> bool:
    """Whether a value is a tensor that may have a gradient."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def double(tensor: Tensor) -> Tensor:
    """A copy in double precision, unless the tensor holds integers."""
    if not is_real(tensor):
        return tensor.clone()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64, copy=True)
