"""The general path: PyG's own forward, on the edges that the gates leave."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing

from gnnlib.edges import Edges
from gnnlib.lowering._row import Features


def general(conv: nn.Module, x: Features, edges: Edges) -> Tensor:
    """PyG's own forward, on the edges that are there, each message times its gate."""
    edge_index, weight, attr = edges.edge_index, edges.weight, edges.attr
    if getattr(conv, "flow", None) == "target_to_source":
        edge_index = edge_index.flip(0)
    gate, kept = edges.mask, None
    if gate is not None:
        kept = gate != 0
        edge_index, gate = edge_index[:, kept], gate[kept]
        weight = None if weight is None else weight[kept]
        attr = None if attr is None else attr[kept]
    signals = {"edge_weight": weight, "edge_attr": attr}
    signals = {name: signal for name, signal in signals.items() if signal is not None}
    for name in signals:
        if name not in inspect.signature(conv.forward).parameters:
            raise ValueError(
                f"{type(conv).__name__}.forward takes no `{name}`, so it would be ignored; "
                "leave it out, or choose a conv that uses it"
            )
    if gate is not None and isinstance(conv, MessagePassing):
        twin = _gated(conv, edge_index, gate, edges)
        if conv.explain:
            _take_masks(twin, kept)
        conv = twin
    return conv(x, edge_index, **signals)  # type: ignore[no-any-return]


def _gated(conv: MessagePassing, edge_index: Tensor, gate: Tensor, edges: Edges) -> MessagePassing:
    """The conv, its messages multiplied by the gates of their edges, for the gates' gradient."""
    # A twin with the same weights and hooks of its own: other threads run the conv meanwhile.
    twin: Any = copy.copy(conv)
    for name, part in vars(conv).items():
        if getattr(part, "__self__", None) is conv:  # a method that was replaced
            setattr(twin, name, part.__func__.__get__(twin))
    current = gate

    def before_propagate(module: Any, inputs: Any) -> None:
        nonlocal current
        used = inputs[0]
        current = gate if used is edge_index else _gate_of(used, module, edges)

    def after_message(module: Any, _: Any, message: Tensor) -> Tensor:
        shape = [1] * message.dim()
        shape[module.node_dim] = -1
        return message * current.to(message.dtype).view(shape)

    for name in ("_propagate_forward_pre_hooks", "_message_forward_hooks"):
        setattr(twin, name, getattr(conv, name).copy())
    twin.register_propagate_forward_pre_hook(before_propagate)
    twin.register_message_forward_hook(after_message)
    gated: MessagePassing = twin
    return gated


def _take_masks(twin: Any, kept: Tensor | None) -> None:
    """Leave an explainer's masks of all edges with those that are kept."""
    mask, loops = twin._edge_mask[kept], twin._loop_mask[kept]
    twin._parameters = twin._parameters.copy()
    twin._parameters.pop("_edge_mask", None)
    twin._edge_mask, twin._loop_mask = mask, loops


def _gate_of(edge_index: Tensor, conv: Any, edges: Edges) -> Tensor:
    # The conv has changed its edges. It can only have added self loops to what it was given, and a
    # node always hears itself.
    src, dst = edge_index if conv.flow == "source_to_target" else edge_index.flip(0)
    gate = edges.adj.rowptr.new_ones(src.numel(), dtype=torch.get_default_dtype())
    if edges.broadcast is not None:
        gate = gate * edges.broadcast[src]
    if edges.listen is not None:
        gate = gate * edges.listen[dst]
    return torch.where(src == dst, 1, gate)
