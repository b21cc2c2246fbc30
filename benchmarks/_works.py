"""A work of the kernel benchmarks: what goes in, and the sides that do it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import Case, Side, tensors_of
from benchmarks._peers import UnavailableError

WIDTHS = (1, 16, 64, 128, 512)
# From inputs to results. What makes one, given the graph, prepares what a user keeps between calls.
Forward = Callable[..., Any]
Prepare = Callable[[Any], Forward]


@dataclass(frozen=True)
class Work:
    """``inputs(problem, width)`` are differentiated; ``sides`` are by name, ours first.

    ``tolerance`` is that of the cases, see :class:`~benchmarks._harness.Case`.
    """

    name: str
    inputs: Callable[[Any, int], tuple[Tensor, ...]]
    sides: Mapping[str, Prepare]
    tolerance: float = 1e-4

    def cases(
        self, problem: Any, width: int, name: str | None = None, cell: str | None = None
    ) -> Iterator[Case]:
        """The two cases of the work on a graph: forward, and forward and backward.

        Args:
            problem: what the sides are prepared for.
            width: of the inputs.
            name: of the cases, without the pass; by default the work's, and the width.
            cell: the column of the cases in a sweep, whose line is the case's name.
        """
        name = name or f"{self.name}, F={width}"
        for backward in (False, True):
            line = f"{name}, {'forward+backward' if backward else 'forward'}"
            sides = partial(self.prepared, problem, width, backward)
            if cell is None:
                yield Case(line, sides, tolerance=self.tolerance)
            else:
                yield Case(f"{line}, {cell}", sides, (line, cell), self.tolerance)

    def prepared(self, problem: Any, width: int, backward: bool) -> list[Side]:
        """The sides of one case, with what each keeps between calls."""
        inputs = self.inputs(problem, width)

        # One for all sides, made when it is known what comes out.
        @functools.cache
        def grad_of(shape: torch.Size) -> Tensor:
            return torch.randn(shape, dtype=inputs[0].dtype, device=inputs[0].device)

        sides = []
        for name, prepare in self.sides.items():
            try:
                forward = prepare(problem)
            except UnavailableError as error:
                sides.append(Side(name, None, str(error)))
                continue
            call = partial(training_step, forward, inputs, grad_of) if backward else None
            sides.append(Side(name, call or partial(forward, *inputs)))
        return sides


def training_step(
    forward: Forward, inputs: Iterable[Tensor], grad_of: Callable[[torch.Size], Tensor]
) -> tuple[Tensor, ...]:
    """A forward pass, and the gradient of all inputs."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = tensors_of(forward(*leaves))
    learnt = [t for t in out if t.requires_grad]
    grads = torch.autograd.grad(learnt, leaves, [grad_of(t.shape) for t in learnt])
    return *(t.detach() for t in out), *grads


def sweep(
    works: Iterable[Work], shapes: Mapping[str, Any], widths: Iterable[int] = WIDTHS
) -> Iterator[Case]:
    """Every work on every shape at every width: a line a work and shape, a column a width.

    Forward and backward up to 128 columns: at 512 some peers take seconds and gigabytes.
    """
    works = list(works)
    for shape, problem in shapes.items():
        for width in widths:
            for work in works:
                forward, both = work.cases(problem, width, f"{shape}: {work.name}", f"F={width}")
                yield forward
                if width <= 128:
                    yield both


def features(rows: int, width: int) -> Tensor:
    """Distinct values in ``[-1, 1)`` in every column, none of them zero.

    Libraries differ on the gradient of ties, and torch's ``scatter_reduce(include_self=False)``
    gets it wrong where an extremum is zero: it counts the zero it started from as one more tie.
    """
    column = torch.randperm(rows).float().add_(0.25).mul_(2 / rows).sub_(1)
    # Every column is the first one, moved on: drawing each anew would take longer than the work.
    return column.repeat(2 + width // rows).unfold(0, width, 1)[:rows].contiguous()


def factors(rows: int, width: int) -> Tensor:
    """Values near one, whose product over a hub is near one."""
    return features(rows, width).mul_(1e-3).add_(1)
