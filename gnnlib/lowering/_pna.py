"""Principal neighbourhood aggregation, without a message and without a scaled copy."""

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn.functional import linear
from torch_geometric.nn import aggr

from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import degrees
from gnnlib.lowering._aggregation import (
    aggregate_each,
    degree_scales,
    kernels_of,
    why_not_aggregation,
)
from gnnlib.lowering._class import class_of
from gnnlib.lowering._linear import is_plain
from gnnlib.lowering._row import Features, Row, one_side

# How each statistic of c + b_j follows from that of b_j, for a c of the target's own.
_SHIFTED = (
    aggr.MeanAggregation,
    aggr.MinAggregation,
    aggr.MaxAggregation,
    aggr.SoftmaxAggregation,
)
_UNCHANGED = (aggr.VarAggregation, aggr.StdAggregation)


def _pna(conv: Any, x: Features, edges: Edges) -> Tensor:
    r"""The pre-transform of one layer is a sum of two, of the target and of the source,

    .. math::
        W [x_i ; x_j] + b = c_i + b_j,

    so that statistics are needed of :math:`b_j` only. Scalers multiply rows and the first layer of
    the post-transform columns, so that each scaler multiplies what is left of the columns.
    """
    x = one_side(conv, x)
    scaler, width = conv.aggr_module, conv.F_in
    weight = [nn[0].weight for nn in conv.pre_nns]
    own = _by_tower(conv, x, [w[:, :width] for w in weight], [nn[0].bias for nn in conv.pre_nns])
    sent = _by_tower(conv, x, [w[:, width:] for w in weight], [None for _ in weight])
    found = _shifted(_parts(scaler), own, sent, edges)
    scales = degree_scales(scaler, edges, x)
    outs = []
    for t, (first, *rest) in enumerate(conv.post_nns):
        of_tower = torch.cat([part.view(-1, conv.towers, width)[:, t] for part in found], -1)
        columns = torch.cat(first.weight[:, width:].chunk(len(scales), dim=1))
        mixed = linear(of_tower, columns).chunk(len(scales), dim=1)
        out = linear(_own_part(conv, x, t), first.weight[:, :width], first.bias)
        for part, scale in zip(mixed, scales, strict=True):
            out = torch.addcmul(out, part, scale.unsqueeze(-1))
        for layer in rest:
            out = layer(out)
        outs.append(out)
    transformed: Tensor = conv.lin(torch.cat(outs, dim=1))
    return transformed


def _own_part(conv: Any, x: Tensor, tower: int) -> Tensor:
    """The features that a tower sees."""
    return x[:, tower * conv.F_in :][:, : conv.F_in] if conv.divide_input else x


def _by_tower(conv: Any, x: Tensor, weights: list[Tensor], biases: list[Any]) -> Tensor:
    """Each tower's linear map of the features that it sees: ``[N, T * F]``."""
    if not conv.divide_input:
        return linear(x, torch.cat(weights), None if biases[0] is None else torch.cat(biases))
    towers = enumerate(zip(weights, biases, strict=True))
    return torch.cat([linear(_own_part(conv, x, t), w, b) for t, (w, b) in towers], dim=1)


def _shifted(parts: list[Any], own: Tensor, sent: Tensor, edges: Edges) -> list[Tensor]:
    """What each aggregation makes of the messages ``own_i + sent_j``."""
    count = degrees(edges, sent.dtype).unsqueeze(-1)
    shift = own * (count > 0)  # who hears nobody has 0 for every statistic
    found = []
    for part, statistic in zip(parts, aggregate_each(parts, sent, edges), strict=True):
        kind = class_of(part)
        if kind is aggr.SumAggregation:
            statistic = torch.addcmul(statistic, own, count)
        elif kind in _SHIFTED:
            statistic = statistic + shift
        found.append(statistic)
    return found


def _parts(scaler: Any) -> list[Any]:
    inner = scaler.aggr
    return list(inner.aggrs) if class_of(inner) is aggr.MultiAggregation else [inner]


def _why_not(conv: Any) -> str | None:
    scaler = conv.aggr_module
    if class_of(scaler) is not aggr.DegreeScalerAggregation:
        return f"{class_of(scaler).__name__} for its DegreeScalerAggregation"
    if conv.edge_dim is not None:
        return f"edge_dim={conv.edge_dim}"
    if any(len(nn) > 1 for nn in conv.pre_nns):
        return f"pre_layers={len(conv.pre_nns[0]) // 2 + 1}: fused with one"
    if not all(is_plain(nn[0]) for nns in (conv.pre_nns, conv.post_nns) for nn in nns):
        return "one of its first layers is no plain linear map"
    if getattr(scaler.aggr, "mode", "cat") != "cat":
        return f"mode={scaler.aggr.mode!r}"
    kinds = (aggr.SumAggregation, *_SHIFTED, *_UNCHANGED)
    other = [part for part in _parts(scaler) if class_of(part) not in kinds]
    if other:
        return f"no fused form of {type(other[0]).__name__} of messages with two ends"
    return why_not_aggregation(scaler)


def _how(conv: Any) -> str:
    return kernels_of(conv.aggr_module)


# A gate multiplies a whole message, of which only the source's part travels here.
ROWS = {pyg.PNAConv: Row(_pna, _how, _why_not, gates=False)}
