"""Normalisation by the degrees of a directed graph, around convs that sum their neighbours."""

import inspect
from dataclasses import replace
from typing import Any, Literal, get_args

import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.lowering import class_of, lowering_of

Norm = Literal["dir", "row", "sym"]
# Of the sources and of the targets; None for ones.
Scales = tuple[Tensor | None, ...]

# Those that normalise by the degrees of an undirected graph, unless told not to.
_NORMALISE = (pyg.GCNConv, pyg.TAGConv, pyg.APPNP)
# Those whose sum, if it is one, is over neighbours as they are.
_SUM = (
    *_NORMALISE,
    pyg.SAGEConv,
    pyg.GraphConv,
    pyg.GINConv,
    pyg.GINEConv,
    pyg.NNConv,
)


def take_norm(conv: Any) -> None:
    """Turn a conv's own normalisation off, and the self loops that belong to it."""
    if class_of(conv) in _NORMALISE:
        conv.normalize = conv.add_self_loops = False


def normalised(conv: nn.Module, edges: Edges, scale: Scales) -> Edges:
    """The edges, their messages multiplied by the factors of both ends."""
    broadcast, listen = scale
    if broadcast is None and listen is None:
        return edges
    takes_weight = "edge_weight" in inspect.signature(conv.forward).parameters
    if lowering_of(conv) is None and takes_weight:
        # PyG's own forward knows weights, and who explains or watches it can do with them.
        factor = Edges(edges.adj, broadcast=broadcast, listen=listen).mask
        weight = factor if edges.weight is None or factor is None else edges.weight * factor
        return replace(edges, weight=weight)
    return edges.masked(broadcast, listen)


def norm_of(conv: Any, norm: Any) -> Norm | None:
    """The normalisation of a conv that somebody asks for, if it can have it."""
    allowed = ("auto", *get_args(Norm), None)
    if norm not in allowed:
        raise ValueError(f"`norm` must be one of {', '.join(map(str, allowed))}, got {norm!r}")
    kind = class_of(conv)
    if norm == "auto":
        return "dir" if kind in _NORMALISE and conv.normalize else None
    sums = kind in _SUM and class_of(conv.aggr_module) is pyg.SumAggregation
    if norm is not None and not sums:
        got = f"{kind.__name__} with aggr={conv.aggr!r}" if kind in _SUM else kind.__name__
        raise ValueError(
            f"`norm`={norm} needs a conv that sums its neighbours as they are, one of "
            f"{', '.join(known.__name__ for known in _SUM)} with aggr='sum'; got {got}, which may "
            "average, compare, weigh or normalise them itself (leave `norm` out to keep it as it "
            "is, or pass normalised weights as `edge_weight`)"
        )
    asked: Norm | None = norm
    return asked
