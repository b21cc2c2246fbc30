"""What is heard over all hops but the first, in one pass where the conv allows it."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.functional import linear

from gnnlib import ops
from gnnlib._cache import TensorCache
from gnnlib.adjacency import Adjacency
from gnnlib.edges import Edges
from gnnlib.layers._neighbours import features_for
from gnnlib.lowering import (
    aggregate,
    aggregate_as,
    class_of,
    inverse_root,
    is_plain,
    lowering_of,
    run,
)

_cache = TensorCache()


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
    if all(_reduces(conv, edges) for conv in convs):
        return _at_once(convs, states, edges, scales)
    heard = [
        run(conv, features_for(conv, state, x), edges.hop(hop), generator)
        for hop, (conv, state) in enumerate(zip(convs, states, strict=True), start=2)
    ]
    return _sum(heard, scales)


def _reduces(conv: Any, edges: Edges) -> bool:
    """Whether a conv is a function of what it reduces its neighbours' features to."""
    if lowering_of(conv) is None:
        return False
    if class_of(conv) is pyg.GCNConv:
        return not edges.gated or not conv.normalize
    if class_of(conv) is pyg.SAGEConv:
        return not conv.project and not conv.normalize
    return class_of(conv) in (pyg.GraphConv, pyg.GINConv)


def _at_once(
    convs: Sequence[Any], states: Sequence[Tensor], edges: Edges, scales: Tensor | None
) -> Tensor:
    """All hops in one pass over a table of the states, then one matrix product."""
    table: list[Tensor] = []
    slots = []
    for state in states:
        if not table or table[-1] is not state:
            table.append(state)
        slots.append(len(table) - 1)
    assert edges.k_hop is not None
    stacked = ops.stack_hops(edges.k_hop, slots, first=2)
    heard = Edges(
        stacked,
        broadcast=None if edges.broadcast is None else edges.broadcast.repeat(len(table)),
        listen=None if edges.listen is None else edges.listen.repeat_interleave(len(states)),
    )
    rows = table[0] if len(table) == 1 else torch.cat(table)
    if class_of(convs[0]) is pyg.GCNConv:
        z = _normalised_sum(convs[0], rows, heard, states)
    else:
        z = aggregate_as(convs[0].aggr_module, rows, heard).view(-1, len(states), rows.size(1))
    return _transformed(convs, z, scales)


def _normalised_sum(conv: Any, rows: Tensor, edges: Edges, states: Sequence[Tensor]) -> Tensor:
    """``[N, K, F]``: what GCN makes of each hop before its projection."""
    if not conv.normalize:
        return aggregate(rows, edges, "sum").view(-1, len(states), rows.size(1))
    loops = 1.0 if conv.add_self_loops else 0.0
    dtype = torch.promote_types(rows.dtype, torch.float32)
    weight, own = _normalisation(edges.adj, len(states), loops, dtype)
    z = aggregate(rows, replace(edges, weight=weight.to(rows.dtype)), "sum")
    z = z.view(-1, len(states), rows.size(1))
    if not loops:
        return z
    return torch.addcmul(z, own.to(rows.dtype).unsqueeze(-1), torch.stack(list(states), 1))


def _normalisation(
    adj: Adjacency, num_hops: int, loops: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of every pair ``[P]`` and of every node's own loop ``[N, K]``, kept with the pairs."""
    if torch.compiler.is_compiling():
        return _normalise(adj, num_hops, loops, dtype)
    found: tuple[Tensor, Tensor] = _cache.find(
        adj.rowptr,
        (num_hops, loops, dtype),
        lambda: _normalise(adj, num_hops, loops, dtype),
    )
    return found


def _normalise(
    adj: Adjacency, num_hops: int, loops: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    r"""Every hop is a graph of its own: :math:`(d^k_i d^k_j)^{-1/2}`."""
    scale = inverse_root(adj.degree.to(dtype) + loops).view(-1, num_hops)
    rows = torch.arange(adj.num_dst, device=adj.device)
    rows = rows.repeat_interleave(adj.degree, output_size=adj.num_edges)
    flat = scale.flatten()
    source = adj.col % scale.size(0) * num_hops + rows % num_hops
    return flat[rows] * flat[source], loops * scale.square()


def _transformed(convs: Sequence[Any], z: Tensor, scales: Tensor | None) -> Tensor:
    """Project what each hop was reduced to ``[N, K, F]``, and sum."""
    if class_of(convs[0]) is pyg.GINConv:
        return _sum([conv.nn(z[:, k]) for k, conv in enumerate(convs)], scales)
    out = _projected([getattr(conv, _LIN[class_of(conv)]) for conv in convs], z, scales)
    if class_of(convs[0]) is pyg.GCNConv and convs[0].bias is not None:
        out = out + _sum([conv.bias for conv in convs], scales)
    return out


_LIN = {pyg.GCNConv: "lin", pyg.SAGEConv: "lin_l", pyg.GraphConv: "lin_rel"}


def _projected(lins: Sequence[Any], z: Tensor, scales: Tensor | None) -> Tensor:
    if not all(is_plain(lin) for lin in lins):
        return _sum([lin(z[:, k]) for k, lin in enumerate(lins)], scales)
    if all(lin is lins[0] for lin in lins):
        out = linear(_sum(z.unbind(1), scales), lins[0].weight)
    else:
        weights = [lin.weight for lin in lins]
        if scales is not None:
            weights = [scale * weight for scale, weight in zip(scales, weights, strict=True)]
        out = linear(z.flatten(1), torch.cat(weights, dim=1))
    return out if lins[0].bias is None else out + _sum([lin.bias for lin in lins], scales)


def _sum(parts: Sequence[Tensor], scales: Tensor | None) -> Tensor:
    if scales is not None:
        parts = [scale * part for scale, part in zip(scales, parts, strict=True)]
    return functools.reduce(torch.add, parts)
