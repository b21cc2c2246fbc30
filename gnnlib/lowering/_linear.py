"""Linear maps around an aggregation: the narrower messages, the better."""

from collections.abc import Callable
from typing import Any

import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.functional import linear

from gnnlib.lowering._class import class_of


def hooked(module: nn.Module) -> bool:
    """Whether somebody wants to see a module's own call."""
    return any(hooks for name, hooks in vars(module).items() if name.endswith("_hooks"))


def is_plain(lin: Any) -> bool:
    """Whether a module is known to be ``x @ weight.T + bias`` and nothing else."""
    return class_of(lin) in (pyg.Linear, nn.Linear) and not hooked(lin)


def is_lazy(lin: Any) -> bool:
    """Whether a linear map of PyG's will learn its width from its first input."""
    return class_of(lin) is pyg.Linear and hasattr(lin, "_hook")


def projected(lin: Any, x: Tensor, operator: Callable[[Tensor], Tensor]) -> Tensor:
    """``lin(operator(x))`` for an operator that is linear over nodes.

    The projection goes first where that makes the messages narrower.
    """
    if not is_plain(lin) or lin.weight.size(0) >= lin.weight.size(1):
        out: Tensor = lin(operator(x))
        return out
    out = operator(linear(x, lin.weight))
    return out if lin.bias is None else out + lin.bias.to(out.dtype)
