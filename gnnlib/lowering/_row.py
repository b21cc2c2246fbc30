"""One line of the lowering table: how a class of convs runs on our kernels."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnlib.edges import Edges

Features = Tensor | tuple[Tensor, Tensor | None]
Lowering = Callable[[Any, Features, Edges], Tensor]


@dataclass(frozen=True)
class Row:
    """How one class of PyG convs runs on our kernels.

    Args:
        lower: the conv, its features and its edges (in the direction of the messages) to what
            PyG's own ``forward`` returns.
        how: names the kernels that a conv runs on.
        why_not: names the option of a conv that ``lower`` does not serve; ``None`` if it serves
            all.
        weight: whether it takes edge weights.
        attr: whether it takes edge features.
        gates: whether it honours gates, as every lowering should that can.
    """

    lower: Lowering
    how: Callable[[Any], str]
    why_not: Callable[[Any], str | None]
    weight: bool = False
    attr: bool = False
    gates: bool = True


def sides(x: Features) -> tuple[Tensor, Tensor | None]:
    """Features of the sources and of the targets."""
    return x if isinstance(x, tuple) else (x, x)


def one_side(conv: Any, x: Features) -> Tensor:
    """The features of a graph whose sources are its targets."""
    if isinstance(x, tuple):
        raise ValueError(
            f"{type(conv).__name__} has no bipartite form, as it normalises by the degrees of both "
            "ends; got `x` as a pair (use SAGEConv or GraphConv)"
        )
    return x


def same_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of different types, as autocasting leaves them, in the widest of its types."""
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in tensors))
    return tuple(t.to(dtype) for t in tensors)
