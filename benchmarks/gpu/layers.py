"""Learned aggregations, and a training step of two layers, against PyG."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import models

import gnnlib
from benchmarks._graphs import Graph
from benchmarks._harness import Case, Side
from benchmarks._works import features
from benchmarks.gpu._graphs import Problem
from benchmarks.gpu._measure import Task
from benchmarks.layers.accelerate import PNA_OPTIONS, degrees
from benchmarks.layers.aggregations import WIDTH, sides

WIDTHS = (128, 128, 64)  # of the input, between the layers, and of the output
_PYG_RUNS = 30  # what LCM is to be faster by


def aggregations(padded: Problem, large: Problem) -> Iterator[Task]:
    """LCM and GRU on groups that PyG can pad, and LCM on the large graph, where it cannot."""
    for name in ("LCM", "GRU"):
        targets = {"PyG": f"ratio {_PYG_RUNS}"} if name == "LCM" else {}
        for backward in (False, True):
            yield _aggregation(name, padded, backward, targets)
    for backward in (False, True):
        yield _aggregation("LCM", large, backward, None)


def _aggregation(
    name: str, problem: Problem, backward: bool, targets: dict[str, str] | None
) -> Task:
    line = f"{problem.name}: {name}, F={WIDTH}, {'forward+backward' if backward else 'forward'}"

    def prepare() -> list[Side]:
        return sides(name, problem.graph(), backward, with_pyg=targets is not None)

    # PyG folds its padding in, so the two differ by definition; the tests compare equal groups.
    return Task(Case(line, prepare, tolerance=float("inf")), targets=targets or {})


# -- training -----------------------------------------------------------------------------------

_MODELS: dict[str, Callable[[Graph], nn.Module]] = {
    "GCN": lambda _: models.GCN(WIDTHS[0], WIDTHS[1], 2, WIDTHS[2]),
    "GraphSAGE": lambda _: models.GraphSAGE(WIDTHS[0], WIDTHS[1], 2, WIDTHS[2]),
    "GAT, 4 heads": lambda _: models.GAT(WIDTHS[0], WIDTHS[1], 2, WIDTHS[2], heads=4),
    "PNA": lambda graph: models.PNA(
        WIDTHS[0], WIDTHS[1], 2, WIDTHS[2], **PNA_OPTIONS, deg=degrees(graph)
    ),
}


def training(problem: Problem) -> Iterator[Task]:
    """Forward, backward and Adam: accelerated, as PyG wrote it, and that compiled."""
    for name, make in _MODELS.items():
        line = f"{problem.name}: {name}, 2 layers, training step"
        # In PNA rounding decides branches: see benchmarks/README.md.
        tolerance = 1e-2 if name == "PNA" else 1e-3
        yield Task(Case(line, partial(_training_sides, make, problem), tolerance=tolerance))


def _training_sides(make: Callable[[Graph], nn.Module], problem: Problem) -> list[Side]:
    graph = problem.graph()
    device = graph.edge_index.device
    # Compiling for a CPU would take minutes and tell nothing of a GPU.
    compiled = partial(torch.compile, backend="inductor" if device.type == "cuda" else "eager")
    torch.compiler.reset()
    torch.manual_seed(0)
    written = make(graph).to(device)
    x = features(graph.num_src, WIDTHS[0]).to(device)
    target = torch.rand(graph.num_dst, WIDTHS[-1], device=device)
    prepared: dict[str, Callable[[Any], Any]] = {
        "gnnlib.accelerate": gnnlib.accelerate,
        "PyG": lambda model: model,
        "PyG, torch.compile": compiled,
    }
    return [
        Side(name, _step(prepare(copy.deepcopy(written)), x, graph.edge_index, target))
        for name, prepare in prepared.items()
    ]


def _step(
    model: nn.Module, x: Tensor, edge_index: Tensor, target: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    """A step of training, which gives the loss and the gradients before it."""
    parameters = list(model.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-3)

    def step() -> tuple[Tensor, ...]:
        adam.zero_grad()
        loss = nn.functional.mse_loss(model(x, edge_index), target)
        loss.backward()
        adam.step()
        return loss.detach(), *(p.grad for p in parameters if p.grad is not None)

    return step
