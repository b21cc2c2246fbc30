"""Convs that are one affine map of a sum or a mean over neighbours, several of them at once."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.lowering import (
    LINEAR,
    Way,
    class_of,
    heard_both_ways,
    is_plain,
    lowering_of,
    row_of,
    serves,
    sum_of_both_ways,
)


@dataclass(frozen=True)
class Affine:
    """What a conv is: ``W`` times the sum, or the mean, over the neighbours, and a bias.

    Args:
        weight: ``[F_out, F_in]``.
        bias: ``[F_out]``, or none.
        mean: whether it is the mean.
    """

    weight: Tensor
    bias: Tensor | None
    mean: bool


# The map of a conv's class, where there is nothing else in it, and its bias.
_PARTS: dict[type, Callable[[Any], tuple[Any, Tensor | None] | None]] = {
    pyg.GCNConv: lambda conv: None if conv.normalize else (conv.lin, conv.bias),
    pyg.SAGEConv: lambda conv: (
        None
        if conv.project or conv.root_weight or conv.normalize
        else (conv.lin_l, conv.lin_l.bias)
    ),
    pyg.GraphConv: lambda conv: (conv.lin_rel, conv.lin_rel.bias),
}


def affine_of(conv: nn.Module, x: Tensor, edges: Edges) -> Affine | None:
    """What a conv is that hears neighbours only; ``None`` if it is more than that.

    Also if somebody watches its parts, which then have to be called.
    """
    row, known = row_of(conv), _PARTS.get(class_of(conv))
    if row is None or known is None or lowering_of(conv) is None or not serves(row, x, edges):
        return None
    parts, aggr = known(conv), class_of(conv.aggr_module)
    if parts is None or aggr not in LINEAR or not is_plain(parts[0]):
        return None
    # Under autocast, or with types that do not match, torch knows better what to do, or to say.
    if torch.is_autocast_enabled(x.device.type) or x.dtype != parts[0].weight.dtype:
        return None
    return Affine(parts[0].weight, parts[1], aggr is pyg.MeanAggregation)


def combine(
    x: Tensor,
    ways: Sequence[tuple[Affine, Edges, Any]],
    edges: Edges,
    root: Any = None,
) -> Tensor:
    r"""The weighted sum of what several convs make of the same features.

    .. math::
        \sum_k c_k (A_k x W_k^\top + b_k) + x W_{\mathrm{root}}^\top

    The factors go into the small matrices, the sums into the products. What is narrower travels.

    Args:
        x: ``[N, F_in]``.
        ways: for each conv, what it is, its edges, and its factor :math:`c_k`.
        edges: the edges as the caller has them, of which those of the ways are directions.
        root: a plain linear map of a node's own features, or ``None``.
    """
    weights = [factor * affine.weight for affine, _, factor in ways]
    biases = [factor * a.bias for a, _, factor in ways if a.bias is not None]
    biases += [root.bias] if root is not None and root.bias is not None else []
    bias = functools.reduce(torch.add, biases) if biases else None
    operators = [Way(directed, affine.mean) for affine, directed, _ in ways]
    out_channels, in_channels = weights[0].shape
    if out_channels < in_channels:
        out = sum_of_both_ways([x @ weight.t() for weight in weights], operators, edges)
        out = out if bias is None else out.add_(bias)
    else:
        first, *others = heard_both_ways(x, operators, edges)
        out = nn.functional.linear(first, weights[0], bias)
        for heard, weight in zip(others, weights[1:], strict=True):
            out = out.addmm_(heard, weight.t())
    return out if root is None else out.addmm_(x, root.weight.t())
