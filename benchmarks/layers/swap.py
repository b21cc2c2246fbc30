"""Networks that were swapped against the same networks written by hand with gnnlib's layers.

    python -m benchmarks.layers.swap

A network of three layers is written with plain PyG and swapped, along each axis alone and along all
at once. By hand it is written with the layers that the swap puts there, a history, and PyG's own
arguments; both have the same weights and, in training, the same noise. What is left between them is
the price of not writing it: a ratio of 0.87 and more is a swap that adds at most 15 %. On a single
molecule there is next to no work, so that the difference of the times is that of the calls.

``forward`` is evaluation without gradients, ``forward+backward`` a step of training.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

import gnnlib
from benchmarks._command import command
from benchmarks._graphs import grid, molecules, power_law
from benchmarks._harness import Case, Side
from benchmarks._works import features
from gnnlib import Edges, History
from gnnlib.layers import ActionNet, CooperativeConv, DelayedConv, DirectedConv
from gnnlib.ops import k_hop

LAYERS = 3
Axes = Mapping[str, Any]
_ALONE: dict[str, Axes] = {
    "cooperative": {"cooperative": True},
    "directed": {"directed": True},
    "delayed": {"delay": 1},
    "max": {"aggr": "max"},
}
_AXES = _ALONE | {"all": {name: asked for axes in _ALONE.values() for name, asked in axes.items()}}
_CONVS: dict[str, Callable[..., nn.Module]] = {
    "GCN": lambda f, **aggr: pyg.GCNConv(f, f, **aggr),
    "SAGE": lambda f, **aggr: pyg.SAGEConv(f, f, **aggr),
    "GATv2": lambda f, **aggr: pyg.GATv2Conv(f, f // 4, heads=4, **aggr),
}


class _Plain(nn.Module):
    """What a user of PyG has."""

    def __init__(self, make: Callable[..., nn.Module], width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(make(width) for _ in range(LAYERS))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return x


class _ByHand(nn.Module):
    """What a user of gnnlib would write instead."""

    def __init__(self, make: Callable[..., nn.Module], width: int, axes: Axes) -> None:
        super().__init__()
        self.delayed = "delay" in axes
        actor = ActionNet(width)
        aggr = {"aggr": axes["aggr"]} if "aggr" in axes else {}
        self.convs = nn.ModuleList()
        for k in range(LAYERS):
            layer = make(width, **aggr)
            if self.delayed:
                layer = DelayedConv(layer, hops=k + 1)
            if "directed" in axes:
                layer = DirectedConv(layer)
            if "cooperative" in axes:
                layer = CooperativeConv(layer, actor)
            self.convs.append(layer)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self._with_delay(x, edge_index) if self.delayed else self._at_once(x, edge_index)

    def _at_once(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return x

    def _with_delay(self, x: Tensor, edge_index: Tensor) -> Tensor:
        edges, history = Edges.of(edge_index, size=x.size(0)), History(depth=LAYERS - 1)
        edges = replace(edges, k_hop=k_hop(edges.adj, LAYERS))
        for conv in self.convs:
            out = conv(x, replace(edges, history=history)).relu()
            x, history = out, history.push(x)
        return x


def _evaluate(model: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x, edge_index)
    return out


def _train(model: nn.Module, x: Tensor, edge_index: Tensor) -> tuple[Tensor, ...]:
    """The output, and the gradient of the features; that of every parameter is computed too."""
    torch.manual_seed(0)
    x = x.detach().requires_grad_()
    out = model(x, edge_index)
    learnt = [x, *model.parameters()]
    grads = torch.autograd.grad(out.square().sum(), learnt, materialize_grads=True)
    return out.detach(), grads[0]


def _sides(
    conv: str, axes: Axes, edge_index: Tensor, num_nodes: int, width: int, backward: bool
) -> list[Side]:
    torch.manual_seed(0)
    swapped = gnnlib.swap(_Plain(_CONVS[conv], width), **axes)
    by_hand = gnnlib.accelerate(_ByHand(_CONVS[conv], width, axes))
    weights = {name.replace(".layer.", "."): w for name, w in swapped.state_dict().items()}
    by_hand.load_state_dict(weights)
    call: Any = partial(
        _train if backward else _evaluate, x=features(num_nodes, width), edge_index=edge_index
    )
    return [
        Side("gnnlib.swap", partial(call, swapped.train(backward))),
        Side("gnnlib by hand", partial(call, by_hand.train(backward))),
    ]


def _graphs(quick: bool) -> dict[str, tuple[Tensor, int]]:
    one = {"one molecule": molecules(1)}
    if quick:
        return one
    side = 177
    return one | {
        "batch of 128 molecules": molecules(128),
        "power law as large as Cora": (power_law(2_708, 10_556), 2_708),
        # Of the medium graphs that whose nodes three hops away are not nearly all.
        "grid": (grid(side), side**2),
    }


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, narrow ones on one molecule."""
    width = 8 if quick else 64
    for where, graph in _graphs(quick).items():
        for conv in _CONVS:
            for name, axes in _AXES.items():
                for backward, passes in ((False, "forward"), (True, "forward+backward")):
                    yield Case(
                        f"{where}: {conv}, {name}, {passes}",
                        partial(_sides, conv, axes, *graph, width, backward),
                    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.swap", __doc__, cases, argv, seconds=2)


if __name__ == "__main__":
    raise SystemExit(main())
