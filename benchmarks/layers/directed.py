"""Directed layers against PyG's DirGNNConv, and against the kernel calls and products in them.

    python -m benchmarks.layers.directed

The bare side of GCN is what must be done and nothing else: a sum over neighbours and a product a
direction, twice as many of both for the gradient of the features, and the products for that of the
weights; no normalisation, no bias, no share of either direction. Its numbers are others than ours,
and so are PyG's where directions normalise apart: the tests hold the sides to dense formulas.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case, Side
from benchmarks._works import features
from gnnlib import Adjacency, ops
from gnnlib.layers import DirectedConv

Make = Callable[[int], nn.Module]
_LAYERS: dict[str, Make] = {
    "GCNConv": lambda f: pyg.GCNConv(f, f),
    "SAGEConv": lambda f: pyg.SAGEConv(f, f),
    "GATConv(heads=4)": lambda f: pyg.GATConv(f, f // 4, heads=4, add_self_loops=False),
}


def _forward(model: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x, edge_index)
    return out


def _training_step(
    model: nn.Module, x: Tensor, edge_index: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    """The output and the gradient of the features; that of every parameter is computed too."""
    x = x.detach().requires_grad_()
    out = model(x, edge_index)
    learnt = [x, *model.parameters()]
    grads = torch.autograd.grad(out, learnt, grad, materialize_grads=True)
    return out.detach(), grads[0]


def _bare_forward(x: Tensor, weights: tuple[Tensor, ...], ways: tuple[Adjacency, ...]) -> Tensor:
    first, second = (
        ops.gather_reduce(x, way) @ weight for way, weight in zip(ways, weights, strict=True)
    )
    return first.add_(second)


def _bare_training_step(
    x: Tensor, weights: tuple[Tensor, ...], ways: tuple[Adjacency, ...], grad: Tensor
) -> tuple[Tensor, ...]:
    heard = [ops.gather_reduce(x, way) for way in ways]
    first, second = (h @ weight for h, weight in zip(heard, weights, strict=True))
    out = first.add_(second)
    for h in heard:
        h.t() @ grad
    back = [
        ops.gather_reduce(grad @ weight.t(), way.T)
        for weight, way in zip(weights, ways, strict=True)
    ]
    return out, back[0].add_(back[1])


def _sides(name: str, graph: Graph, width: int, backward: bool) -> list[Side]:
    torch.manual_seed(0)
    x, make = features(graph.num_src, width), _LAYERS[name]
    ours = DirectedConv(make(width))
    # GCN has no root in the paper.
    theirs = pyg.DirGNNConv(make(width), root_weight=name != "GCNConv")
    if name.startswith("GATConv"):
        theirs = pyg.DirGNNConv(make(width), root_weight=False)
    grad = torch.randn(graph.num_dst, width)
    sides = []
    for side, model in (("gnnlib", ours), ("PyG DirGNNConv", theirs)):
        call: Any = partial(_training_step, grad=grad) if backward else _forward
        sides.append(Side(side, partial(call, model, x, graph.edge_index)))
    if name == "GCNConv":
        adj = Adjacency.of(graph.edge_index, graph.num_src)
        inputs = (x, tuple(torch.randn(2, width, width) / width**0.5), (adj, adj.T))
        bare: Any = partial(_bare_training_step, grad=grad) if backward else _bare_forward
        sides.insert(1, Side("gather_reduce and products alone", partial(bare, *inputs)))
    return sides


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, narrow ones on tiny graphs."""
    graph, small = large(quick), shapes(quick)["power law"]
    width = 8 if quick else 128
    works = [("large graph", "GCNConv", graph)]
    works += [("small graph", name, small) for name in _LAYERS]
    for where, name, on in works:
        for backward, passes in ((False, "forward"), (True, "forward+backward")):
            yield Case(
                f"{where}: DirectedConv({name}), {passes}",
                partial(_sides, name, on, width, backward),
                tolerance=float("inf"),
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.directed", __doc__, cases, argv)


if __name__ == "__main__":
    raise SystemExit(main())
