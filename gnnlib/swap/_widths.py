"""How wide a conv's input is, whatever its class calls it."""

from typing import Any

import torch_geometric.nn as pyg
from torch import nn
from torch.nn.parameter import is_lazy

from gnnlib.lowering import class_of

# A network tells the width of these, of which the last hear a pair of nodes side by side.
_BY_NETWORK = {pyg.GINConv: 1, pyg.GINEConv: 1, pyg.EdgeConv: 2, pyg.DynamicEdgeConv: 2}


def width_of(conv: nn.Module) -> int | None:
    """The number of features that a conv expects of every node; ``None`` if it does not tell."""
    known: Any = conv
    nodes = _BY_NETWORK.get(class_of(conv))
    if nodes is not None:
        width = first_width(known.nn)
        return None if width is None else width // nodes
    told = getattr(known, "in_channels", getattr(known, "channels", None))
    if isinstance(told, (tuple, list)):
        told = told[0]
    # Once called, a conv that was not told its width has a linear map of that width.
    return first_width(conv) if told == -1 else told if isinstance(told, int) else None


def first_width(network: nn.Module) -> int | None:
    """The number of features that the first linear map of a network or conv expects."""
    aggr = getattr(network, "aggr_module", None)  # hears messages, which may be of another width
    inside = set() if aggr is None else set(aggr.modules())
    for part in network.modules():
        width = getattr(part, "in_features", getattr(part, "in_channels", None))
        if part not in inside and isinstance(width, int) and width > 0:
            return width
    return None


def is_unmade(conv: nn.Module) -> bool:
    """Whether a conv waits for its first call to learn how wide its input is."""
    return any(is_lazy(parameter) for parameter in conv.parameters())
