r"""How convs run on our kernels: one table from conv class to a function of ``(conv, x, edges)``.

:func:`run` is the innermost call of every wrapper. A conv in the table runs as node-level
projections around :func:`gnnlib.ops.gather_reduce`; any other takes the general path, PyG's own
``forward`` on the edges that the gates leave. Both give an absent edge the same meaning: it is not
there.

In here edges always point the way messages go, from source to target, whatever the conv's ``flow``.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from torch_geometric.nn.conv import MessagePassing

from gnnlib import ops
from gnnlib.edges import Edges

Features = Tensor | tuple[Tensor, Tensor | None]
Lowering = Callable[[Any, Features, Edges], Tensor]


def run(
    conv: nn.Module, x: Features, edges: Edges, generator: torch.Generator | None = None
) -> Tensor:
    """Apply a conv to edges, on our kernels where we know how.

    Args:
        conv: a gnnlib layer, a PyG conv, or any module called as ``conv(x, edge_index, ...)``.
        x: ``[N, F]``, or ``(x_src, x_dst)`` for a bipartite graph.
        edges: the edges, in the direction of the messages.
        generator: source of randomness for gnnlib layers; PyG's use torch's own.

    Raises:
        ValueError: the edges carry weights or features that ``conv`` has no argument for.
    """
    if hasattr(conv, "forward_edges"):
        layer: Any = conv
        out: Tensor = layer.forward_edges(x, edges, generator)
        return out
    lowered = lowering_of(conv)
    if lowered is not None and _plain(x) and _takes(conv, edges):
        return lowered(conv, x, edges)
    return _general(conv, x, edges)


def lowering_of(conv: nn.Module) -> Lowering | None:
    """The table's function for a conv, or ``None`` if it has to take the general path."""
    lowered = _TABLE.get(type(conv))
    if lowered is None or getattr(conv, "cached", False):
        return None
    if not isinstance(conv.aggr, str) or conv.aggr not in _REDUCE:
        return None
    return None if conv.explain or _hooked(conv) else lowered


def message_edges(conv: nn.Module, edges: Edges) -> Edges:
    """A caller's edges in the direction in which ``conv`` sends messages over them."""
    return edges.T if getattr(conv, "flow", None) == "target_to_source" else edges


_REDUCE = {"add": "sum", "sum": "sum", "mean": "mean", "min": "min", "max": "max"}


def _hooked(conv: nn.Module) -> bool:
    return any(hooks for name, hooks in vars(conv).items() if name.endswith("_hooks"))


def _plain(x: Features) -> bool:
    return all(t is None or t.dim() == 2 for t in (x if isinstance(x, tuple) else (x,)))


def _takes(conv: nn.Module, edges: Edges) -> bool:
    return edges.attr is None and (edges.weight is None or type(conv) in _WEIGHTED)


def aggregate(x: Tensor, edges: Edges, reduce: str) -> Tensor:
    r"""Reduce over the present neighbours of every node, behind both gates.

    .. math::
        \mathrm{out}_i = l_i \bigoplus_{e = (j \to i), \, b_j \neq 0} b_j \, w_e \, x_j

    Args:
        x: ``[N_src, F]`` features of the sources.
        edges: the edges.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.
    """
    out = ops.gather_reduce(x, edges.adj, edges.weight, reduce, edges.broadcast)  # type: ignore[arg-type]
    return out if edges.listen is None else ops.gate_rows(out, edges.listen.to(out.dtype))


def gcn_aggregate(
    x: Tensor, edges: Edges, fill: float = 1.0, add_self_loops: bool = True
) -> Tensor:
    r"""Aggregate with the symmetric normalisation of GCN (Kipf and Welling, 2017, eq. 2).

    .. math::
        \mathrm{out} = \hat D^{-1/2} (A + L) \hat D^{-1/2} x

    where :math:`A` holds the weights of the present edges, :math:`L` one self loop a node (its own
    weight if the graph has one, ``fill`` otherwise), and :math:`\hat D` the row sums of both: a
    degree counts present edges only. Nodes multiply and edges do not, so no normalised weight is
    ever stored.

    Args:
        x: ``[N, F]``.
        edges: the edges, on as many targets as sources.
        fill: weight of an added self loop.
        add_self_loops: whether to add them.
    """
    # Degrees, and sums before they are scaled down, pass the range of float16.
    dtype = x.dtype
    x = x.to(torch.promote_types(dtype, torch.float32))
    loops: Tensor | float = 0.0
    if add_self_loops:
        edges, loops = _split_self_loops(edges, fill, x)
    if edges.weight is None and not edges.gated:
        degree = edges.adj.degree.to(x.dtype)
    else:
        degree = aggregate(x.new_ones(x.size(0), 1), edges, "sum").squeeze(-1)
    degree = degree + loops
    scale = degree.pow(-0.5)
    scale = scale.masked_fill(scale == float("inf"), 0).unsqueeze(-1)
    x = x * scale
    out = aggregate(x, edges, "sum")
    if add_self_loops:
        out = out + (loops.unsqueeze(-1) * x if isinstance(loops, Tensor) else loops * x)
    return (out * scale).to(dtype)


def _split_self_loops(edges: Edges, fill: float, x: Tensor) -> tuple[Edges, Tensor | float]:
    if not edges.adj.has_self_loops:
        return edges, fill
    src, dst = edges.edge_index
    is_loop = src == dst
    weight = x.new_ones(src.numel()) if edges.weight is None else edges.weight
    mask = edges.mask
    kept = is_loop if mask is None else is_loop & (mask != 0)
    # Edges that are no loop write to one slot past the end, so that no shape depends on the data.
    slot = torch.where(kept, dst, x.size(0))
    loops = x.new_full((x.size(0) + 1,), fill).scatter(0, slot, weight.to(x.dtype))[:-1]
    return replace(edges, weight=weight.masked_fill(is_loop, 0)), loops


def _sides(x: Features) -> tuple[Tensor, Tensor | None]:
    return x if isinstance(x, tuple) else (x, x)


def _project(lin: Any, x: Tensor, edges: Edges, reduce: str) -> Tensor:
    """``lin(aggregate(x))``; the projection goes first where that makes the messages narrower."""
    # Only of PyG's own Linear do we know that it is `x @ weight.T + bias`.
    plain = type(lin) is pyg.Linear and reduce in ("sum", "mean") and not _hooked(lin)
    if not plain or not 0 < lin.out_channels < lin.in_channels:
        out: Tensor = lin(aggregate(x, edges, reduce))
        return out
    out = aggregate(linear(x, lin.weight), edges, reduce)
    return out if lin.bias is None else out + lin.bias.to(out.dtype)


def _gcn(conv: Any, x: Features, edges: Edges) -> Tensor:
    if isinstance(x, tuple):
        raise ValueError(
            "GCNConv has no bipartite form, as it normalises by the degrees of both ends; "
            "got `x` as a pair (use SAGEConv or GraphConv)"
        )
    h: Tensor = conv.lin(x)
    if conv.normalize:
        # PyG's: without edge weights, `improved` changes nothing.
        fill = 2.0 if conv.improved and edges.weight is not None else 1.0
        out = gcn_aggregate(h, edges, fill, conv.add_self_loops)
    else:
        out = aggregate(h, edges, "sum")
    return out if conv.bias is None else out + conv.bias


def _sage(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = _sides(x)
    if conv.project:
        x_src = conv.lin(x_src).relu()
    out = _project(conv.lin_l, x_src, edges, _REDUCE[conv.aggr])
    if conv.root_weight and x_dst is not None:
        out = out + conv.lin_r(x_dst)
    return normalize(out, p=2.0, dim=-1) if conv.normalize else out


def _gin(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = _sides(x)
    out = aggregate(x_src, edges, _REDUCE[conv.aggr])
    if x_dst is not None:
        out = out + (1 + conv.eps) * x_dst
    transformed: Tensor = conv.nn(out)
    return transformed


def _graph_conv(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = _sides(x)
    out = _project(conv.lin_rel, x_src, edges, _REDUCE[conv.aggr])
    return out if x_dst is None else out + conv.lin_root(x_dst)


_TABLE: dict[type, Lowering] = {
    pyg.GCNConv: _gcn,
    pyg.SAGEConv: _sage,
    pyg.GINConv: _gin,
    pyg.GraphConv: _graph_conv,
}
_WEIGHTED = {pyg.GCNConv, pyg.GraphConv}


def _general(conv: nn.Module, x: Features, edges: Edges) -> Tensor:
    """PyG's own forward, on the edges that are there, each message times its gate."""
    edge_index, weight, attr = edges.edge_index, edges.weight, edges.attr
    if getattr(conv, "flow", None) == "target_to_source":
        edge_index = edge_index.flip(0)
    gate = edges.mask
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
        if conv.explain:
            raise ValueError(
                f"{type(conv).__name__} is being explained behind gates, and an explainer's mask "
                "of all edges does not fit the open ones: explain the conv itself"
            )
        conv = _gated(conv, edge_index, gate, edges)
    return conv(x, edge_index, **signals)  # type: ignore[no-any-return]


def _gated(conv: MessagePassing, edge_index: Tensor, gate: Tensor, edges: Edges) -> MessagePassing:
    """The conv, its messages multiplied by the gates of their edges, for the gates' gradient."""
    # A twin with the same weights and hooks of its own: other threads run the conv meanwhile.
    twin = copy.copy(conv)
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
    return twin


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
