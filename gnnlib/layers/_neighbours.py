"""Convs that add nothing of the node itself: what they hear from others, and no more."""

import copy
from typing import Any, get_args, get_origin, get_type_hints

import torch_geometric.nn as pyg
from torch import nn

from gnnlib.layers._roots import ROOTS, drop_root
from gnnlib.lowering import Features, class_of

# These leave the node itself out where a target has no features, ...
_SILENT = (pyg.SAGEConv, pyg.GraphConv, pyg.GINConv)
# ... and these say nothing of it, once their root is taken out; self loops are neighbours.
_ALONE = (pyg.GCNConv, pyg.SGConv, pyg.LGConv, pyg.TAGConv)
# Convs that have no message without the features of an edge.
_OF_EDGES = (pyg.GINEConv, pyg.NNConv, pyg.GMMConv, pyg.SplineConv, pyg.PDNConv)


def neighbours_only(conv: nn.Module, *, share: bool = False) -> nn.Module:
    """A copy of a conv without its term for the node itself, and without that term's weights.

    Convs that are not known to have such a term are copied as they are.

    Args:
        conv: a PyG conv or a gnnlib layer.
        share: whether the copy has the same weights; otherwise it has copies of them.
    """
    kind, wrapped = class_of(conv), _wrapped(conv)
    if share and not wrapped and (kind in _SILENT or kind not in ROOTS):
        return conv  # it leaves the term out when it is asked to, or has none
    twin = _same_weights(conv) if share else copy.deepcopy(conv)
    for name, part in wrapped.items():
        setattr(twin, name, neighbours_only(part, share=share))
    known: Any = twin
    if kind is pyg.GINConv and isinstance(known.eps, nn.Parameter):
        eps = known.eps.detach()
        del known.eps
        known.register_buffer("eps", eps)
    drop_root(twin)
    return twin


def features_for(conv: nn.Module, x: Features) -> Features:
    """What a wrapped conv is given of its wrapper's features.

    Args:
        conv: the conv inside.
        x: ``[N, F]``; or a pair of the same nodes as they are heard and as they are now, of which
            a conv of :func:`neighbours_only` hears the first, and may ask the second how to listen.
            They are one tensor where nobody is heard late, so that any conv takes it.
    """
    if not isinstance(x, tuple) or hasattr(conv, "wraps"):
        return x
    heard, now = x
    if class_of(conv) in _SILENT:
        return heard, None
    return heard if heard is now or class_of(conv) in _ALONE else x


def check_far(conv: nn.Module, late: bool) -> None:
    """Raise a ValueError unless a conv can hear nodes to whom there is no edge.

    Args:
        conv: a PyG conv or a gnnlib layer.
        late: whether it hears them as they were some layers ago.
    """
    for part in _wrapped(conv).values():
        check_far(part, late)
    kind = class_of(conv)
    if _hears_edges(conv):
        raise ValueError(
            "`conv` must not be made for edge features, as there are none beyond the first hop, "
            f"got {kind.__name__} that is (make it without, or take one hop; the outputs of a "
            "delayed conv without features and of a conv with them may be added)"
        )
    if late and not (kind in (*_SILENT, *_ALONE) or _takes_pairs(kind)):
        raise ValueError(
            "`conv` must take a pair of features, of others as they were and of the node itself as "
            f"it is, and {kind.__name__} is typed to take one tensor, in which both would be as "
            "they were (hear all as they are with delay=math.inf; or, if it takes both, type `x` "
            "of its forward as `Tensor | tuple[Tensor, Tensor]`)"
        )


def _wrapped(conv: nn.Module) -> dict[str, nn.Module]:
    """The convs inside a layer of ours, by name."""
    parts = {name: getattr(conv, name) for name in getattr(conv, "wraps", ())}
    return {name: part for name, part in parts.items() if part is not None}


def _hears_edges(conv: nn.Module) -> bool:
    """Whether a conv is made for edge features, and fails or has idle parameters without."""
    options = ("edge_dim", "in_edge_channels", "lin_edge")
    return (
        isinstance(conv, _OF_EDGES)
        or any(getattr(conv, name, None) is not None for name in options)
        or (isinstance(conv, pyg.CGConv) and conv.dim > 0)
    )


def _same_weights(conv: nn.Module) -> nn.Module:
    twin = copy.copy(conv)
    for name in ("_parameters", "_buffers", "_modules"):  # so that what is taken out stays in conv
        setattr(twin, name, getattr(conv, name).copy())
    return twin


def _takes_pairs(kind: type) -> bool:
    """Whether a class of convs is typed to take features of sources and of targets apart."""
    call: Any = getattr(kind, "forward_edges", kind.forward)  # type: ignore[attr-defined]
    try:
        hint = get_type_hints(call).get("x")
    except NameError:  # of a type that only a type checker sees
        return False
    return any(get_origin(option) is tuple for option in (hint, *get_args(hint)))
