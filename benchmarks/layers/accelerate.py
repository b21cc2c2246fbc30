"""PyG's layers and models as they are, on the other forms of a graph, and accelerated.

Run as ``python -m benchmarks.layers.accelerate``; ``--help`` lists the options.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing, models
from torch_geometric.nn import conv as convs

import gnnlib
from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case, Side
from benchmarks._peers import UnavailableError, sparse_tensor, torch_csr
from benchmarks._works import features

PEERS = ("torch-sparse",)
PNA_OPTIONS: dict[str, Any] = {
    "aggregators": ["mean", "max", "min", "std"],
    "scalers": ["identity", "amplification", "attenuation"],
}
# In three layers of PNA rounding decides so often which of two messages is the largest, and whether
# PyG takes a small standard deviation for zero, that PyG's own gradients differ by 7e-4 when the
# edges come in another order.
_DEEP_PNA = 2e-3
Make = Callable[[Graph, int], nn.Module]


def _pna(graph: Graph, width: int) -> nn.Module:
    return convs.PNAConv(width, width, **PNA_OPTIONS, deg=degrees(graph))


def degrees(graph: Graph) -> Tensor:
    """How many nodes have each in-degree, as PNA wants it."""
    return graph.edge_index[1].bincount(minlength=graph.num_dst).bincount()


def _mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _gine(_: Graph, width: int) -> nn.Module:
    return convs.GINEConv(_mlp(width))


# Those that must be fast are measured on the large graph.
_LARGE: dict[str, Make] = {
    "GCNConv": lambda _, f: convs.GCNConv(f, f),
    "SAGEConv(aggr='max')": lambda _, f: convs.SAGEConv(f, f, aggr="max"),
    "GATConv(heads=4)": lambda _, f: convs.GATConv(f, f // 4, heads=4),
    "PNAConv": _pna,
}
_LAYERS: dict[str, Make] = _LARGE | {
    "SAGEConv": lambda _, f: convs.SAGEConv(f, f),
    "GraphConv": lambda _, f: convs.GraphConv(f, f),
    "GINConv": lambda _, f: convs.GINConv(_mlp(f)),
    "GATv2Conv(heads=4)": lambda _, f: convs.GATv2Conv(f, f // 4, heads=4),
    "TransformerConv(heads=4)": lambda _, f: convs.TransformerConv(f, f // 4, heads=4),
    "SGConv(K=2)": lambda _, f: convs.SGConv(f, f, K=2),
    "TAGConv": lambda _, f: convs.TAGConv(f, f),
    "ARMAConv": lambda _, f: convs.ARMAConv(f, f),
    "ChebConv(K=3)": lambda _, f: convs.ChebConv(f, f, K=3),
    "ClusterGCNConv": lambda _, f: convs.ClusterGCNConv(f, f),
    "APPNP(K=10)": lambda *_: convs.APPNP(K=10, alpha=0.1),
}
_MODELS: dict[str, Make] = {
    "GCN": lambda _, f: models.GCN(f, f, 3),
    "GraphSAGE": lambda _, f: models.GraphSAGE(f, f, 3),
    "GIN": lambda _, f: models.GIN(f, f, 3),
    "GAT": lambda _, f: models.GAT(f, f, 3, heads=4),
    "PNA": lambda graph, f: models.PNA(f, f, 3, **PNA_OPTIONS, deg=degrees(graph)),
}


def _forward(model: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(*inputs)
    return out


def _training_step(model: nn.Module, inputs: tuple[Any, ...], grad: Tensor) -> tuple[Tensor, ...]:
    """The output, and the gradient of the features and of every parameter."""
    x = inputs[0].detach().requires_grad_()
    out = model(x, *inputs[1:])
    learnt = [x, *(p for p in model.parameters() if p.requires_grad)]
    grads = torch.autograd.grad(out, learnt, grad, materialize_grads=True)
    return out.detach(), *grads


def _sides(make: Make, graph: Graph, width: int, edge_width: int, backward: bool) -> list[Side]:
    torch.manual_seed(0)
    written = make(graph, width)
    x = features(graph.num_src, width)
    edge_attr = (features(graph.edge_index.size(1), edge_width),) if edge_width else ()
    grad = torch.randn(_forward(written, (x, graph.edge_index, *edge_attr)).shape)
    forms: list[tuple[str, nn.Module, Callable[[], Any]]] = [
        ("gnnlib.accelerate", gnnlib.accelerate(written), lambda: graph.edge_index),
        ("PyG edge_index", written, lambda: graph.edge_index),
    ]
    # The others make the same messages of a matrix as of edges.
    if any(isinstance(m, MessagePassing) and m.fuse for m in written.modules()):
        forms += [
            ("PyG adj_t (torch_sparse)", written, lambda: sparse_tensor(graph)),
            ("PyG adj_t (torch.sparse CSR)", written, lambda: torch_csr(graph)),
        ]
    sides = []
    for name, model, form in forms:
        try:
            inputs = (x, form(), *edge_attr)
        except UnavailableError as error:
            sides.append(Side(name, None, str(error)))
            continue
        call: Any = partial(_training_step, model, inputs, grad)
        sides.append(Side(name, call if backward else partial(_forward, model, inputs)))
    return sides


def _cases(
    name: str, make: Make, graph: Graph, width: int, *, edge_width: int = 0, tolerance: float = 1e-4
) -> Iterator[Case]:
    for backward in (False, True):
        sides = partial(_sides, make, graph, width, edge_width, backward)
        passes = "forward+backward" if backward else "forward"
        yield Case(f"{name}, {passes}", sides, tolerance=tolerance)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, narrow ones on tiny graphs."""
    graph, small = large(quick), shapes(quick)["power law"]
    width, model_width = (8, 8) if quick else (128, 64)
    for name, make in _LARGE.items():
        yield from _cases(f"large graph: {name}", make, graph, width)
    for name, make in _LAYERS.items():
        yield from _cases(f"small graph: {name}", make, small, width)
    yield from _cases("small graph: GINEConv", _gine, small, width, edge_width=width)
    for name, make in _MODELS.items():
        tolerance = _DEEP_PNA if name == "PNA" else 1e-4
        work = f"small graph: {name}, 3 layers"
        yield from _cases(work, make, small, model_width, tolerance=tolerance)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.accelerate", __doc__, cases, argv, peers=PEERS, seconds=2)


if __name__ == "__main__":
    raise SystemExit(main())
