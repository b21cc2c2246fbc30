"""Convs that propagate several times: SG, TAG, ARMA, Cheb, APPNP, ClusterGCN."""

from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn.functional import dropout

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import aggregate
from gnnlib.lowering._convolution import sums_only
from gnnlib.lowering._linear import projected
from gnnlib.lowering._propagation import (
    Propagation,
    gcn_propagation,
    inverse_root,
    weighted_degrees,
    without_self_loops,
)
from gnnlib.lowering._row import Features, Row, one_side


def _sg(conv: Any, x: Features, edges: Edges) -> Tensor:
    x = one_side(conv, x)
    propagate = gcn_propagation(x, edges, add_self_loops=conv.add_self_loops)

    def repeatedly(h: Tensor) -> Tensor:
        for _ in range(conv.K):
            h = propagate(h)
        return h

    return projected(conv.lin, x, repeatedly)


def _tag(conv: Any, x: Features, edges: Edges) -> Tensor:
    x = one_side(conv, x)
    propagate = Propagation(edges)
    if conv.normalize:
        propagate = gcn_propagation(x, edges, add_self_loops=False)
    out: Tensor = conv.lins[0](x)
    for lin in conv.lins[1:]:
        x = propagate(x)
        out = out + lin(x)
    return out if conv.bias is None else out + conv.bias


def _arma(conv: Any, x: Features, edges: Edges) -> Tensor:
    x = one_side(conv, x).unsqueeze(-3)
    propagate = gcn_propagation(x, edges, add_self_loops=False)
    out = x
    for t in range(conv.num_layers):
        of_layer = 0 if conv.shared_weights else t
        weight = conv.init_weight if t == 0 else conv.weight[max(of_layer - 1, 0)]
        # All stacks travel together.
        sent = (out @ weight).transpose(0, 1)
        out = propagate(sent.flatten(1)).view(sent.shape).transpose(0, 1)
        root = dropout(x, p=conv.dropout, training=conv.training)
        out = out + root @ conv.root_weight[of_layer]
        if conv.bias is not None:
            out = out + conv.bias[of_layer]
        if conv.act is not None:
            out = conv.act(out)
    return out.mean(dim=-3)


def _appnp(conv: Any, x: Features, edges: Edges) -> Tensor:
    alpha: float = conv.alpha
    out = h = one_side(conv, x)
    propagate = Propagation(edges)
    if conv.normalize:
        propagate = gcn_propagation(h, edges, add_self_loops=conv.add_self_loops)
    for _ in range(conv.K):
        if conv.training and conv.dropout > 0:
            # PyG's: what one step has lost stays lost in the next.
            propagate = propagate.dropped(conv.dropout, h.dtype)
        out = propagate(out) * (1 - alpha) + alpha * h
    return out


def _cluster_gcn(conv: Any, x: Features, edges: Edges) -> Tensor:
    x = one_side(conv, x)
    wide = torch.promote_types(x.dtype, torch.float32)
    edges = without_self_loops(edges, wide)
    # Every node hears itself once, and then some.
    degree = (weighted_degrees(edges, wide) + 1).unsqueeze(-1)
    own: float = 1 + conv.diag_lambda

    def average(h: Tensor) -> Tensor:
        total = aggregate(h, edges, "sum") + own * h
        return (total / degree).to(h.dtype)

    root: Tensor = conv.lin_root(x)
    return projected(conv.lin_out, x, average) + root


def _cheb(conv: Any, x: Features, edges: Edges) -> Tensor:
    x = one_side(conv, x)
    out: Tensor = conv.lins[0](x)
    if len(conv.lins) > 1:
        laplacian = _scaled_laplacian(conv, x, edges)
        before, now = x, laplacian(x)
        out = out + conv.lins[1](now)
        for lin in conv.lins[2:]:
            before, now = now, 2.0 * laplacian(now) - before
            out = out + lin(now)
    return out if conv.bias is None else out + conv.bias


def _scaled_laplacian(conv: Any, x: Tensor, edges: Edges) -> Any:
    """``2 L / lambda_max - I``, where PyG takes twice the largest entry of ``L`` for its bound."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    edges = without_self_loops(edges, dtype)
    # PyG sums the rows of its `edge_index`, whichever way messages go.
    rows = edges.T if conv.flow == "source_to_target" else edges
    degree = weighted_degrees(rows, dtype).unsqueeze(-1)
    if conv.normalization is None:
        diagonal, left, right = degree, None, None
    elif conv.normalization == "sym":
        diagonal, left = torch.ones_like(degree), inverse_root(degree.squeeze(-1))
        right = left
    else:
        inverse = 1 / degree
        inverse = inverse.masked_fill(inverse == float("inf"), 0)
        diagonal = torch.ones_like(degree)
        left, right = (None, inverse) if rows is not edges else (inverse, None)
    bound = 2.0 * _largest(diagonal, left, right, edges)

    def apply(h: Tensor) -> Tensor:
        wide = h.to(dtype)
        sent = wide if right is None else wide * right
        heard = aggregate(sent, edges, "sum")
        heard = heard if left is None else heard * left
        return (2.0 * (diagonal * wide - heard) / bound - wide).to(h.dtype)

    return apply


def _largest(diagonal: Tensor, left: Tensor | None, right: Tensor | None, edges: Edges) -> Tensor:
    largest = diagonal.max()
    if edges.weight is None or edges.adj.num_edges == 0:
        return largest
    ones = torch.ones_like(diagonal)
    left, right = ones if left is None else left, ones if right is None else right
    entries = -edges.weight * ops.edge_dot(right, left, edges.adj)
    src, dst = edges.edge_index
    absent = src == dst if edges.mask is None else (src == dst) | (edges.mask == 0)
    return torch.maximum(largest, entries.masked_fill(absent, -float("inf")).max())


def _cluster_why_not(conv: Any) -> str | None:
    if not conv.add_self_loops:
        return "add_self_loops=False"
    if conv.flow != "source_to_target":
        return "flow='target_to_source', where PyG divides by the degree of the other end"
    return sums_only(conv)


def _how(conv: Any) -> str:
    times = getattr(conv, "K", getattr(conv, "num_layers", None))
    if isinstance(conv, pyg.ChebConv):
        times = len(conv.lins) - 1
    return "gather_reduce sum" if times in (None, 1) else f"gather_reduce sum, {times} times"


ROWS = {
    pyg.SGConv: Row(_sg, _how, sums_only, weight=True),
    pyg.TAGConv: Row(_tag, _how, sums_only, weight=True),
    pyg.ARMAConv: Row(_arma, _how, sums_only, weight=True),
    pyg.APPNP: Row(_appnp, _how, sums_only, weight=True),
    pyg.ClusterGCNConv: Row(_cluster_gcn, _how, _cluster_why_not),
    pyg.ChebConv: Row(_cheb, _how, sums_only, weight=True),
}
