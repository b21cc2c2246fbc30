"""The axes of a swap and their subsets, the convs, and a network that nobody wrote for them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch_geometric.nn import (
    ChebConv,
    EdgeConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    GraphConv,
    NNConv,
    PNAConv,
    ResGatedGraphConv,
    SAGEConv,
    SGConv,
    TransformerConv,
)

_CHOICES = {"cooperative": True, "directed": True, "delay": 1, "aggr": "lcm"}
SUBSETS = {
    "+".join(names): {name: _CHOICES[name] for name in names}
    for size in range(1, 5)
    for names in itertools.combinations(_CHOICES, size)
}

NO_FEATURES_FAR = "there are none beyond the first hop"
NO_PAIR = "`conv` must take a pair of features"


@dataclass(frozen=True)
class Conv:
    """A class, or how to make a conv of two widths, and what it takes."""

    make: Callable[..., Any]
    edge_dim: int | None = None  # width of the edge features that it is made for
    pair: bool = True  # whether it takes features of sources and of targets apart
    weight: bool = False  # whether it takes edge weights
    no_delay: str | None = None  # why it cannot hear late


def mlp(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 7), nn.Tanh(), nn.Linear(7, out))


def _pna(width, out, **options):
    degrees = torch.tensor([1, 3, 4, 2, 2])
    scalers = ["identity", "amplification"]
    return PNAConv(width, out, ["mean", "max", "std"], scalers, degrees, **options)


def _pna_of_edges(width, out, **options):
    return _pna(width, out, edge_dim=3, **options)


def _gine(width, out, **options):
    return GINEConv(mlp(width, out), edge_dim=3, **options)


CONVS = {
    "gcn": Conv(GCNConv, pair=False, weight=True),
    "sage": Conv(SAGEConv),
    "gin": Conv(lambda i, o, **k: GINConv(mlp(i, o), train_eps=True, **k)),
    "graph": Conv(GraphConv, weight=True),
    "gat": Conv(lambda i, o, **k: GATConv(i, o // 2, heads=2, **k)),
    "gat-edges": Conv(partial(GATConv, edge_dim=3), 3, no_delay=NO_FEATURES_FAR),
    "gatv2": Conv(GATv2Conv),
    "gine": Conv(_gine, 3, no_delay=NO_FEATURES_FAR),
    "pna": Conv(_pna, pair=False, no_delay=NO_PAIR),
    "pna-edges": Conv(_pna_of_edges, 3, pair=False, no_delay=NO_FEATURES_FAR),
    "transformer": Conv(TransformerConv),
    "cheb": Conv(partial(ChebConv, K=3), pair=False, weight=True, no_delay=NO_PAIR),
    "sg": Conv(partial(SGConv, K=2), pair=False, weight=True),
    "nn": Conv(lambda i, o, **k: NNConv(i, o, mlp(3, i * o), **k), 3, no_delay=NO_FEATURES_FAR),
    "edge": Conv(lambda i, o, **k: EdgeConv(mlp(2 * i, o), **k)),
    "res-gated": Conv(ResGatedGraphConv),
}


class Stack(nn.Module):
    """Convs, one after the other, with a ReLU between them."""

    def __init__(self, convs):
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x, edge_index, edge_weight=None, edge_attr=None):
        signals = {"edge_weight": edge_weight, "edge_attr": edge_attr}
        signals = {name: signal for name, signal in signals.items() if signal is not None}
        for k, conv in enumerate(self.convs):
            x = conv(x if k == 0 else x.relu(), edge_index, **signals)
        return x


def nudge(model: nn.Module, seed: int = 0, share: float = 0.1) -> None:
    """Move all parameters a little, so that no bias and no gate begins at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(1 - share).add_(noise, alpha=share)
