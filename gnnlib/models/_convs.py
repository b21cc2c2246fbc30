"""The convs that :class:`GNN` knows by name, made as PyG's own models make theirs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch_geometric.nn.conv import (
    ARMAConv,
    ChebConv,
    GINEConv,
    GraphConv,
    PNAConv,
    ResGatedGraphConv,
    SGConv,
    TAGConv,
    TransformerConv,
)
from torch_geometric.nn.models import GAT, GCN, GIN, EdgeCNN, GraphSAGE


def _plainly(kind: Any) -> Callable[..., Any]:
    """A conv without regard to the model that it is made for."""
    return lambda _, *sizes, **options: kind(*sizes, **options)


def _gine(model: Any, in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    conv: nn.Module = GINEConv(GIN.init_conv(model, in_channels, out_channels).nn, **options)
    return conv


def _pna(_: Any, *sizes: Any, deg: Any, **options: Any) -> nn.Module:
    conv: nn.Module = PNAConv(*sizes, deg=torch.as_tensor(deg), **options)
    return conv


def _transformer(
    model: Any,
    in_channels: Any,
    out_channels: int,
    heads: int = 1,
    concat: bool = True,
    **options: Any,
) -> nn.Module:
    """As PyG's GAT makes its attention: heads share the width, and the last layer takes means."""
    concat = concat and not getattr(model, "_is_conv_to_out", False)
    if concat and out_channels % heads != 0:
        raise ValueError(
            f"`hidden_channels` must be divisible by the number of heads, got {out_channels} and "
            f"{heads} (or pass concat=False)"
        )
    width = out_channels // heads if concat else out_channels
    options = {"dropout": model.dropout.p} | options
    conv: nn.Module = TransformerConv(in_channels, width, heads, concat, **options)
    return conv


# How a conv is made for a model, given its widths.
CONVS: dict[str, Callable[..., Any]] = {
    "gcn": GCN.init_conv,
    "sage": GraphSAGE.init_conv,
    "gin": GIN.init_conv,
    "graph": _plainly(GraphConv),
    "gat": GAT.init_conv,
    "gatv2": partial(GAT.init_conv, v2=True),
    "gine": _gine,
    "pna": _pna,
    "transformer": _transformer,
    "cheb": _plainly(ChebConv),
    "sg": _plainly(SGConv),
    "tag": _plainly(TAGConv),
    "arma": _plainly(ARMAConv),
    "edge": EdgeCNN.init_conv,
    "resgated": _plainly(ResGatedGraphConv),
}
