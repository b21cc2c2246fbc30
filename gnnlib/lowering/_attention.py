"""Convs that weigh their neighbours by a softmax: GAT, GATv2, Transformer."""

import math
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor
from torch.nn.functional import dropout, leaky_relu, linear, pad

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import listened
from gnnlib.lowering._convolution import sums_only
from gnnlib.lowering._linear import is_lazy, is_plain
from gnnlib.lowering._row import Features, Row, same_dtype, sides


def _gat(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    adj = edges.adj
    value = _heads(conv, conv.lin or conv.lin_src, x_src)
    if x_dst is x_src and conv.lin is not None:
        sent, heard = _products(value, conv.att_src, conv.att_dst)
    else:
        (sent,) = _products(value, conv.att_src)
        heard = sent.new_zeros(adj.num_dst, conv.heads)
        if x_dst is not None:
            target = _heads(conv, conv.lin or conv.lin_dst, x_dst)
            (heard,) = _products(target, conv.att_dst)
    scores = ops.edge_add(sent, heard, adj)
    own = _paired(sent, adj.num_dst) + heard if conv.add_self_loops else None
    if edges.attr is not None and conv.lin_edge is not None:
        attr = edges.attr if edges.attr.dim() > 1 else edges.attr.unsqueeze(-1)
        fold = _edge_fold(conv, attr)
        of_edges = linear(attr, fold)
        scores = scores + of_edges
        own = None if own is None else own + _of_loops(conv, of_edges, fold, edges)
    own = None if own is None else leaky_relu(own, conv.negative_slope)
    out = _attend(conv, value, leaky_relu(scores, conv.negative_slope), own, edges)
    return _finished(conv, out, x_dst)


def _gatv2(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    if x_dst is None:
        raise ValueError("GATv2Conv needs features of the targets, got `x` with None for them")
    slope = conv.negative_slope
    value = _heads(conv, conv.lin_l, x_src)
    shared = x_dst is x_src and conv.share_weights
    target = value if shared else _heads(conv, conv.lin_r, x_dst)
    value, target, att = same_dtype(value, target, conv.att)
    scores = ops.additive_score(value, target, att.squeeze(0), edges.adj, slope)
    own = None
    if conv.add_self_loops:
        both = leaky_relu(_paired(value, edges.adj.num_dst) + target, slope)
        own = (both * att).sum(-1)
    return _finished(conv, _attend(conv, value, scores, own, edges), x_dst)


def _transformer(conv: Any, x: Features, edges: Edges) -> Tensor:
    x_src, x_dst = sides(x)
    if x_dst is None:
        raise ValueError("TransformerConv needs features of the targets, got `x` with None")
    heads = conv.heads
    query = _heads(conv, conv.lin_query, x_dst) / math.sqrt(conv.out_channels)
    key, value = (_heads(conv, lin, x_src) for lin in (conv.lin_key, conv.lin_value))
    scores = ops.edge_dot(key, query, edges.adj, heads).view(-1, heads)
    out = _attend(conv, value, scores, None, edges)
    out = out.flatten(1) if conv.concat else out.mean(dim=1)
    if not conv.root_weight:
        return out
    root: Tensor = conv.lin_skip(x_dst)
    if conv.lin_beta is None:
        return out + root
    beta: Tensor = conv.lin_beta(torch.cat([out, root, out - root], dim=-1)).sigmoid()
    return beta * root + (1 - beta) * out


def _heads(conv: Any, lin: Any, x: Tensor) -> Tensor:
    out: Tensor = lin(x)
    return out.view(-1, conv.heads, conv.out_channels)


def _products(value: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """``[N, H]`` for each ``[1, H, C]``: what heads and their vectors make, in one pass."""
    eye = torch.eye(value.size(1), dtype=value.dtype, device=value.device)
    heads = torch.cat(vectors).to(value.dtype)
    diagonal = torch.einsum("khc,hg->hckg", heads, eye).flatten(0, 1).flatten(1)
    return (value.flatten(1) @ diagonal).chunk(len(vectors), dim=1)


def _paired(source: Tensor, num_dst: int) -> Tensor:
    """The source that has the number of each target; zeros where there is none."""
    missing = num_dst - source.size(0)
    if missing <= 0:
        return source[:num_dst]
    return pad(source, [0, 0] * (source.dim() - 1) + [0, missing])


def _attend(conv: Any, value: Tensor, scores: Tensor, own: Tensor | None, edges: Edges) -> Tensor:
    r"""Average values ``[N_src, H, C]`` by the softmax of scores ``[E, H]``.

    With ``own [N_dst, H]``, PyG's added self loops: every node hears itself too, whatever the
    gates say, and existing loops are no edges. A softmax over the neighbours and the node itself
    is the average of both by :math:`\sigma(\mathrm{own} - \mathrm{logsumexp}(\mathrm{scores}))`,
    so that no graph with other edges is ever built.
    """
    adj, p = edges.adj, conv.dropout if conv.training else 0.0
    value, scores = same_dtype(value, scores)
    absent = _absent(edges, own is not None)
    if absent is not None:
        scores = scores.masked_fill(absent.unsqueeze(-1), _never(scores))
    if own is None:
        if not p:
            return listened(ops.gather_attend(value, scores, adj, edges.broadcast), edges)
        weight = dropout(ops.segment_softmax(scores, adj), p)
        return listened(ops.gather_reduce(value, adj, weight, "sum", edges.broadcast), edges)
    if adj.num_dst > value.size(0):
        own = pad(own[: value.size(0)], [0, 0, 0, adj.num_dst - value.size(0)], value=_never(own))
    of_self = (own.to(value.dtype) - ops.segment_logsumexp(scores, adj)).sigmoid().unsqueeze(-1)
    itself = _paired(value, adj.num_dst)
    if not p:
        heard = ops.gather_attend(value, scores, adj, edges.broadcast)
        return torch.lerp(listened(heard, edges), itself, of_self)
    # One draw, in PyG's order.
    drawn = dropout(torch.cat([ops.segment_softmax(scores, adj), of_self.squeeze(-1)]), p)
    weight, kept = drawn[: adj.num_edges], drawn[adj.num_edges :].unsqueeze(-1)
    heard = listened(ops.gather_reduce(value, adj, weight, "sum", edges.broadcast), edges)
    return (1 - of_self) * heard + kept * itself


def _absent(edges: Edges, without_loops: bool) -> Tensor | None:
    """``[E]``: which edges no softmax may see; ``None`` if it sees all."""
    mask = edges.mask
    absent = None if mask is None else mask == 0
    if without_loops and edges.adj.has_self_loops:
        src, dst = edges.edge_index
        absent = src == dst if absent is None else absent | (src == dst)
    return absent


def _never(scores: Tensor) -> float:
    # Finite, so that a node that hears nobody has a softmax; no score comes near.
    return torch.finfo(scores.dtype).min / 2


def _edge_fold(conv: Any, attr: Tensor) -> Tensor:
    """``[H, D]``: edge features and their attention are both linear, and meet in one matrix."""
    if is_lazy(conv.lin_edge):
        conv.lin_edge(attr[:1])
    weight = conv.lin_edge.weight.view(conv.heads, conv.out_channels, -1)
    fold: Tensor = (weight * conv.att_edge.view(conv.heads, -1, 1)).sum(1)
    return fold


def _of_loops(conv: Any, of_edges: Tensor, fold: Tensor, edges: Edges) -> Tensor:
    """What the features that PyG gives to added self loops add to their scores: ``[N_dst, H]``."""
    fill = conv.fill_value
    if not isinstance(fill, str):
        filled = torch.as_tensor(fill, dtype=fold.dtype, device=fold.device)
        return linear(filled.expand(fold.size(1)), fold)
    # PyG asks the edges into the second node of each, whichever way messages go.
    edges = edges if conv.flow == "source_to_target" else edges.T
    absent = _absent(edges, without_loops=True)
    present = torch.ones_like(of_edges[:, :1])
    if absent is not None:
        of_edges, present = (t.masked_fill(absent.unsqueeze(-1), 0) for t in (of_edges, present))
    total = _incoming(of_edges, edges)
    return total / _incoming(present, edges).clamp(min=1) if fill == "mean" else total


def _incoming(edge: Tensor, edges: Edges) -> Tensor:
    """``[N_dst, H]``: the sum of numbers ``[E, H]`` over the edges that point to each node."""
    ones = edge.new_ones(edges.adj.num_src, edge.size(1), 1)
    return ops.gather_reduce(ones, edges.adj, edge, "sum").squeeze(-1)


def _finished(conv: Any, out: Tensor, x_dst: Tensor | None) -> Tensor:
    out = out.flatten(1) if conv.concat else out.mean(dim=1)
    if conv.res is not None and x_dst is not None:
        out = out + conv.res(x_dst)
    return out if conv.bias is None else out + conv.bias


def _gat_why_not(conv: Any) -> str | None:
    fill = conv.fill_value
    if conv.lin_edge is not None:
        if isinstance(fill, str) and fill not in ("add", "sum", "mean"):
            return f"fill_value={fill!r} of edge features, which is not linear in them"
        plain = is_plain(conv.lin_edge) or is_lazy(conv.lin_edge)
        if not plain or conv.lin_edge.bias is not None:
            return "its lin_edge is no plain linear map"
    return sums_only(conv)


def _transformer_why_not(conv: Any) -> str | None:
    return f"edge_dim={conv.edge_dim}" if conv.edge_dim is not None else sums_only(conv)


def _how(score: str) -> Any:
    def how(conv: Any) -> str:
        return f"{score} + gather_attend" + (" (dropout: gather_reduce)" if conv.dropout else "")

    return how


ROWS = {
    pyg.GATConv: Row(_gat, _how("edge_add"), _gat_why_not, attr=True),
    pyg.GATv2Conv: Row(_gatv2, _how("additive_score"), sums_only),
    pyg.TransformerConv: Row(_transformer, _how("edge_dot"), _transformer_why_not),
}
