"""The one table from conv class to how it runs on our kernels."""

from typing import Any

from torch import nn

from gnnlib.lowering import _attention, _convolution, _pna, _spectral
from gnnlib.lowering._class import class_of
from gnnlib.lowering._linear import hooked, is_lazy
from gnnlib.lowering._row import Lowering, Row

TABLE: dict[type, Row] = {
    **_convolution.ROWS,
    **_spectral.ROWS,
    **_attention.ROWS,
    **_pna.ROWS,
}

# Dictionaries of PyG's own hooks, and the parts of a conv that a user may replace on an instance.
_MESSAGE_HOOKS = tuple(
    f"_{what}_forward{when}_hooks"
    for what in ("propagate", "message", "aggregate", "message_and_aggregate", "edge_update")
    for when in ("", "_pre")
)
_PARTS = frozenset(
    {"propagate", "message", "aggregate", "update", "message_and_aggregate"}
    | {"edge_updater", "edge_update"}
)


def row_of(conv: nn.Module) -> Row | None:
    """The table's row for a conv, whatever its options; ``None`` if it has none."""
    return TABLE.get(class_of(conv))


def why_not(conv: nn.Module) -> str | None:
    """What about a conv, its class and options, has no fused form; ``None`` if nothing."""
    row = row_of(conv)
    if row is None:
        of = next((known.__name__ for known in TABLE if isinstance(conv, known)), None)
        return f"a subclass of {of}, which may compute something else" if of else "no fused form"
    known: Any = conv
    if getattr(known, "cached", False):
        return "cached=True: it keeps a graph of its own"
    if known.node_dim not in (-2, 0):
        return f"node_dim={known.node_dim}"
    if known.decomposed_layers != 1:
        return f"decomposed_layers={known.decomposed_layers}"
    return row.why_not(conv)


def watched(conv: Any) -> str | None:
    """What makes a conv need its messages at present; ``None`` if nothing."""
    if conv.explain:
        return "it is being explained"
    for name in _MESSAGE_HOOKS:
        if getattr(conv, name):
            return f"a hook: {name.strip('_').removesuffix('s')}"
    replaced = {name for name in _PARTS & vars(conv).keys() if not _is_put_back(conv, name)}
    if replaced:
        return f"its {min(replaced)} was replaced"
    # A lowering may do the work of what is inside the conv without calling it.
    for name, part in conv.named_modules():
        if part is conv or is_lazy(part):
            continue
        if hooked(part):
            return f"a hook on its {name}"
        if "forward" in vars(part):
            return f"the forward of its {name} was replaced"
    return None


def _is_put_back(conv: Any, name: str) -> bool:
    """Whether a part is that of the conv's class, which PyG sets after an explanation."""
    part = getattr(vars(conv)[name], "__func__", None)
    own = (getattr(type(conv), f"_{how}_{name}", None) for how in ("jinja", "orig"))
    return part is not None and part in own


def lowering_of(conv: nn.Module) -> Lowering | None:
    """The table's function for a conv, or ``None`` if it has to take the general path."""
    row = row_of(conv)
    if row is None or why_not(conv) or watched(conv) or hooked(conv):
        return None
    return row.lower
