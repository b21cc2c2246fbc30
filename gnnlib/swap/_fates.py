"""What became of the convs that were swapped, and of their weights."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from gnnlib.layers import CooperativeConv, DelayedConv, DirectedConv
from gnnlib.lowering import class_of
from gnnlib.swap._swapped import SwappedConv

KEPT, COPIED, NEW = "kept", "copied", "new"


@dataclass(frozen=True)
class Swapped:
    """What became of one conv of a model, and of its weights.

    Args:
        name: where it is in the model.
        was: the class of the conv.
        now: what stands in its place, from the outside in.
        kept: names of the parameters that are the conv's own, and how many numbers each is.
        copied: those that begin as copies of the conv's, for another direction or hop.
        new: those that were drawn anew.
        frozen: names of those of all of these that do not learn.
    """

    name: str
    was: str
    now: str
    kept: dict[str, int]
    copied: dict[str, int]
    new: dict[str, int]
    frozen: tuple[str, ...]

    @staticmethod
    def of(name: str, was: str, module: nn.Module, new_aggr: bool) -> "Swapped":
        """Look at what stands in the place of a conv.

        Args:
            name: where it is in the model.
            was: the class of the conv.
            module: what stands there now.
            new_aggr: whether its aggregation was exchanged.
        """
        fates: dict[str, dict[str, int]] = {KEPT: {}, COPIED: {}, NEW: {}}
        frozen = []
        for path, value in module.named_parameters():
            fates[_fate(module, path, new_aggr)][path] = value.numel()
            if not value.requires_grad:
                frozen.append(path)
        return Swapped(
            name,
            was,
            _nested(module, new_aggr),
            fates[KEPT],
            fates[COPIED],
            fates[NEW],
            tuple(frozen),
        )


def _fate(layer: Any, path: str, new_aggr: bool) -> str:
    """What a parameter of a layer is."""
    head, _, rest = path.partition(".")
    if isinstance(layer, (SwappedConv, CooperativeConv)):
        inside = "layer" if isinstance(layer, SwappedConv) else "conv"
        return _fate(getattr(layer, inside), rest, new_aggr) if head == inside else NEW
    if isinstance(layer, DirectedConv):
        if head not in layer.wraps:
            return KEPT if head == "root" else NEW
        fate = _fate(getattr(layer, head), rest, new_aggr)
        again = head == "conv_out" and layer.conv_in is not None
    elif isinstance(layer, DelayedConv):
        if head != "convs":
            return NEW
        hop, _, rest = rest.partition(".")
        fate = _fate(layer.convs[int(hop)], rest, new_aggr)
        again = hop != "0"
    else:
        return NEW if new_aggr and head == "aggr_module" else KEPT
    return COPIED if again and fate == KEPT else fate


def _nested(layer: Any, new_aggr: bool) -> str:
    """The classes of a layer, from the outside in."""
    if isinstance(layer, SwappedConv):
        return _nested(layer.layer, new_aggr)
    name = type(layer).__name__
    if isinstance(layer, CooperativeConv):
        return f"{name}({_nested(layer.conv, new_aggr)})"
    if isinstance(layer, DirectedConv):
        conv = layer.conv_out if layer.conv_in is None else layer.conv_in
        return f"{name}({_nested(conv, new_aggr)})"
    if isinstance(layer, DelayedConv):
        return f"{name}({_nested(layer.convs[0], new_aggr)}, hops={layer.hops})"
    name = class_of(layer).__name__
    return f"{name}(aggr={type(layer.aggr_module).__name__})" if new_aggr else name
