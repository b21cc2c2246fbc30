"""Convs that reduce the features of their neighbours: GCN, SAGE, GIN, GINE, GraphConv."""

from typing import Any

import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn.functional import normalize

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import listened
from gnnlib.lowering._aggregation import (
    LINEAR,
    aggregate_as,
    kernels_of,
    why_not_aggregation,
)
from gnnlib.lowering._class import class_of
from gnnlib.lowering._linear import projected
from gnnlib.lowering._propagation import Propagation, gcn_propagation
from gnnlib.lowering._row import Features, Row, one_side, same_dtype, sides


def sums_only(conv: Any) -> str | None:
    """Why a conv whose lowering only sums is left, if it does anything else."""
    summed = class_of(conv.aggr_module) is pyg.SumAggregation
    return None if summed else f"aggr={conv.aggr!r}: fused with 'add' only"


def _gcn(conv: Any, x: Features, edges: Edges) -> Tensor:
    h: Tensor = conv.lin(one_side(conv, x))
    propagate = Propagation(edges)
    if conv.normalize:
        # PyG's: without edge weights, `improved` changes nothing.
        fill = 2.0 if conv.improved and edges.weight is not None else 1.0
        propagate = gcn_propagation(h, edges, fill, conv.add_self_loops)
    out = propagate(h)
    return out if conv.bias is None else out + conv.bias


def _aggregated(conv: Any, lin: Any, x: Tensor, edges: Edges) -> Tensor:
    if class_of(conv.aggr_module) in LINEAR:
        return projected(lin, x, lambda h: aggregate_as(conv.aggr_module, h, edges))
    out: Tensor = lin(aggregate_as(conv.aggr_module, x, edges))
    return out


def _sage(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    if conv.project:
        x_src = conv.lin(x_src).relu()
    out = _aggregated(conv, conv.lin_l, x_src, edges)
    if conv.root_weight and x_dst is not None:
        out = out + conv.lin_r(x_dst)
    return normalize(out, p=2.0, dim=-1) if conv.normalize else out


def _graph_conv(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    out = _aggregated(conv, conv.lin_rel, x_src, edges)
    return out if x_dst is None else out + conv.lin_root(x_dst)


def _gin(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    return _transformed(conv, aggregate_as(conv.aggr_module, x_src, edges), x_dst)


def _gine(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    attr = edges.attr
    if attr is None:
        raise ValueError(
            "GINEConv adds edge features to its messages, got none (pass `edge_attr`, or use "
            "GINConv)"
        )
    if conv.lin is not None:
        attr = conv.lin(attr)
    if attr.shape[1:] != x_src.shape[1:]:
        raise ValueError(
            f"`edge_attr` must be as wide as the node features, {x_src.size(-1)}, got "
            f"{list(attr.shape)} (set `edge_dim` of GINEConv)"
        )
    x_src, attr = same_dtype(x_src, attr)
    out = ops.gather_edge_relu(x_src, attr, edges.adj, edges.broadcast)
    return _transformed(conv, listened(out, edges), x_dst)


def _transformed(conv: Any, out: Tensor, x_dst: Tensor | None) -> Tensor:
    if x_dst is not None:
        out = out + (1 + conv.eps) * x_dst
    transformed: Tensor = conv.nn(out)
    return transformed


def _how(conv: Any) -> str:
    return kernels_of(conv.aggr_module)


def _why_not(conv: Any) -> str | None:
    return why_not_aggregation(conv.aggr_module)


ROWS = {
    pyg.GCNConv: Row(_gcn, _how, sums_only, weight=True),
    pyg.SAGEConv: Row(_sage, _how, _why_not),
    pyg.GraphConv: Row(_graph_conv, _how, _why_not, weight=True),
    pyg.GINConv: Row(_gin, _how, _why_not),
    pyg.GINEConv: Row(_gine, lambda _: "gather_edge_relu", sums_only, attr=True),
}
