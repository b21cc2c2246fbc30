"""One call of a conv on two nodes, to see what it does."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from gnnlib.lowering import class_of
from gnnlib.swap._widths import first_width, width_of


@dataclass(frozen=True)
class Trial:
    """What a conv did.

    Args:
        propagates: whether it looked at the edges.
        messages: ``[E, *, F]``, those that it aggregated; ``None`` if it aggregated none.
        index: ``[E]``, their targets.
        width: of what they were aggregated to.
    """

    propagates: bool
    messages: Tensor | None
    index: Tensor | None
    width: int

    @staticmethod
    def of(conv: Any) -> "Trial | None":
        """Call a copy of a conv; ``None`` if it is not clear how it is called."""
        width = width_heard(conv)
        # A conv without a map of the features takes any.
        return _tried(conv, 4 if width is None else width)


def width_heard(conv: Any) -> int | None:
    """The number of features that a conv expects of every node, told or tried; ``None`` if any."""
    told = width_of(conv)
    if told is not None:
        return told
    first = first_width(conv)
    if first is None or _tried(conv, first) is None or _tried(conv, first + 1) is not None:
        return None
    return first


def _tried(conv: Any, width: int) -> Trial | None:
    twin, seen = copy.deepcopy(conv).eval(), _Seen()
    like = next(twin.parameters(), torch.empty(0))
    x = torch.ones(2, width, dtype=like.dtype, device=like.device)
    signals, features = {}, edge_width_of(conv, width)
    if features is not None:
        signals["edge_attr"] = x.new_ones(2, features)
    edge_index = torch.tensor([[0, 1], [1, 0]], device=like.device)
    for part in (twin, *twin.modules()):
        if isinstance(part, pyg.MessagePassing):
            part.register_propagate_forward_pre_hook(seen.propagate)
    twin.aggr_module.register_forward_hook(seen.aggregate, with_kwargs=True)
    try:
        with torch.no_grad():
            twin(x, edge_index, **signals)
    except Exception:  # whatever a conv that nobody knows may raise
        return None
    return Trial(seen.propagates, seen.messages, seen.index, seen.width)


class _Seen:
    propagates = False
    messages: Tensor | None = None
    index: Tensor | None = None
    width = 0

    def propagate(self, *_: Any) -> None:
        self.propagates = True

    def aggregate(self, _: Any, args: Any, kwargs: Any, out: Tensor) -> None:
        self.messages = args[0]
        self.index = args[1] if len(args) > 1 else kwargs["index"]
        self.width = out.size(-1)


def edge_width_of(conv: Any, width: int) -> int | None:
    """The number of features that a conv expects of every edge; ``None`` if it expects none."""
    kind = class_of(conv)
    if kind is pyg.GINEConv:
        return width if conv.lin is None else conv.lin.in_channels
    if kind is pyg.NNConv:
        return first_width(conv.nn)
    if kind in (pyg.GMMConv, pyg.SplineConv, pyg.CGConv):
        return conv.dim or None
    if kind is pyg.PDNConv:
        return first_width(conv.mlp)
    return getattr(conv, "edge_dim", None)
