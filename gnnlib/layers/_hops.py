"""What is heard over all hops but the first, in one pass where the conv allows it."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.functional import linear
from torch_geometric.nn import aggr

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.layers._neighbours import features_for
from gnnlib.lowering import (
    aggregate,
    aggregate_as,
    class_of,
    is_plain,
    lowering_of,
    run,
)
from gnnlib.ops._join_hops import Norm


def hear(
    convs: Sequence[nn.Module],
    x: Tensor,
    states: Sequence[Tensor],
    edges: Edges,
    scales: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Sum :math:`\alpha_k \, \mathrm{conv}_k` over the second hop and all further.

    Args:
        convs: one for each hop; the same ones, or copies of one.
        x: ``[N, F]``, the targets as they are now.
        states: ``[N, F]`` for each hop, the sources as they are heard.
        edges: the graph, its gates, and in ``k_hop`` the pairs further apart.
        scales: ``[K]``, :math:`\alpha`; ones by default.
        generator: source of randomness of gnnlib layers.
    """
    if all(_sums(conv, edges) for conv in convs):
        return _summed(convs, states, edges, scales)
    if all(_reduces(conv) for conv in convs):
        return _reduced(convs, states, edges, scales)
    _check_not_explained(convs)
    heard = [
        run(conv, features_for(conv, (state, x)), edges.hop(hop), generator)
        for hop, (conv, state) in enumerate(zip(convs, states, strict=True), start=2)
    ]
    return _sum(heard, scales)


def _check_not_explained(convs: Sequence[nn.Module]) -> None:
    if torch.compiler.is_compiling():
        return
    if any(getattr(part, "explain", False) for conv in convs for part in conv.modules()):
        raise ValueError(
            "a delayed conv cannot be explained by its edges, as it also hears pairs of nodes "
            "further apart, which are no edges of an explainer's mask (explain by the features of "
            "nodes alone: edge_mask_type=None)"
        )


# Bytes of projected features that are summed at once: more would not stay in the cache.
_TABLE = 2**23

# Convs that sum what their neighbours' features are projected to, and the map that projects.
_LIN = {pyg.GCNConv: "lin", pyg.SAGEConv: "lin_l", pyg.GraphConv: "lin_rel"}


def _lin(conv: Any) -> Any:
    return getattr(conv, _LIN[class_of(conv)])


def _is_projected(conv: Any) -> bool:
    if lowering_of(conv) is None or class_of(conv) not in _LIN or not is_plain(_lin(conv)):
        return False
    return class_of(conv) is not pyg.SAGEConv or not (conv.project or conv.normalize)


def _sums(conv: Any, edges: Edges) -> bool:
    """Whether a conv is a sum over neighbours whose weights are known beforehand."""
    if not _is_projected(conv):
        return False
    # A gate takes neighbours away, and so changes what a sum is divided by.
    return _norm(conv) == "none" or (_norm(conv) is not None and not edges.gated)


def _norm(conv: Any) -> Norm | None:
    """What the sum is divided by, ``None`` where the conv does not sum."""
    if class_of(conv) is pyg.GCNConv:
        return "sym" if conv.normalize else "none"
    norms: dict[type, Norm] = {aggr.SumAggregation: "none", aggr.MeanAggregation: "mean"}
    return norms.get(class_of(conv.aggr_module))


def _reduces(conv: Any) -> bool:
    """Whether a conv is a function of what it reduces its neighbours' features to."""
    if lowering_of(conv) is None or class_of(conv) is pyg.GCNConv:
        return False
    return class_of(conv) is pyg.GINConv or _is_projected(conv)


def _summed(
    convs: Sequence[Any], states: Sequence[Tensor], edges: Edges, scales: Tensor | None
) -> Tensor:
    """Project every state, then sum several hops in one pass over a table of what comes out."""
    conv, lins = convs[0], [_lin(conv) for conv in convs]
    shared = all(lin is lins[0] for lin in lins)
    at_once = _hops_at_once(states[0], lins[0].weight.size(0), len(states))
    total: list[Tensor] = []
    for first in range(0, len(states), at_once):
        block = slice(first, first + at_once)
        scale = None if scales is None else scales[block]
        if shared:
            heard = _scaled(states[block], scale)
        else:
            weights = _scaled([lin.weight for lin in lins[block]], scale)
            heard = [linear(x, weight) for x, weight in zip(states[block], weights, strict=True)]
        part = _sum_of_hops(conv, heard, edges, 2 + first)
        total = [part if not total else total[0] + part]
    out = linear(total[0], lins[0].weight) if shared else total[0]
    if class_of(conv) is pyg.GCNConv:
        biases = [conv.bias for conv in convs]
    else:
        biases = [lin.bias for lin in lins]
    return out if biases[0] is None else out + _sum(biases, scales)


def _hops_at_once(state: Tensor, width: int, num_hops: int) -> int:
    if torch.compiler.is_compiling():  # a compiled graph must not depend on the number of nodes
        return num_hops
    return max(_TABLE // max(state.size(0) * width * state.element_size(), 1), 1)


def _sum_of_hops(conv: Any, heard: Sequence[Tensor], edges: Edges, first: int) -> Tensor:
    """Sum over some hops, of which each is heard as rows of its own, in one pass."""
    table, slots = _distinct(heard)
    norm = _norm(conv)
    assert edges.k_hop is not None
    assert norm is not None
    adj, weight = ops.join_hops(
        edges.k_hop,
        slots,
        first,
        norm=norm,
        loops=norm == "sym" and conv.add_self_loops,
        dtype=torch.promote_types(table[0].dtype, torch.float32),
    )
    weight = None if weight is None else weight.to(table[0].dtype)
    broadcast = None if edges.broadcast is None else edges.broadcast.repeat(len(table))
    present = Edges(adj, weight, broadcast=broadcast, listen=edges.listen)
    return aggregate(table[0] if len(table) == 1 else torch.cat(table), present, "sum")


def _reduced(
    convs: Sequence[Any], states: Sequence[Tensor], edges: Edges, scales: Tensor | None
) -> Tensor:
    """Reduce each hop to a row, all in one pass over a table of the states, then transform."""
    table, slots = _distinct(states)
    assert edges.k_hop is not None
    heard = Edges(
        ops.stack_hops(edges.k_hop, slots, first=2),
        broadcast=None if edges.broadcast is None else edges.broadcast.repeat(len(table)),
        listen=None if edges.listen is None else edges.listen.repeat_interleave(len(states)),
    )
    rows = table[0] if len(table) == 1 else torch.cat(table)
    z = aggregate_as(convs[0].aggr_module, rows, heard)
    z = z.view(-1, len(states), z.size(1))
    maps = [conv.nn if class_of(conv) is pyg.GINConv else _lin(conv) for conv in convs]
    return _sum([transform(z[:, k]) for k, transform in enumerate(maps)], scales)


def _distinct(states: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The states, each once, and which of them every hop hears."""
    table: list[Tensor] = []
    slots = []
    for state in states:
        if not table or table[-1] is not state:
            table.append(state)
        slots.append(len(table) - 1)
    return table, slots


def _scaled(parts: Sequence[Tensor], scales: Tensor | None) -> Sequence[Tensor]:
    if scales is None:
        return parts
    return [scale * part for scale, part in zip(scales, parts, strict=True)]


def _sum(parts: Sequence[Tensor], scales: Tensor | None) -> Tensor:
    return functools.reduce(torch.add, _scaled(parts, scales))
