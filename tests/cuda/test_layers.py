"""Accelerated layers on a GPU: PyG's numbers and gradients, in the same bits every time."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gnnlib import accelerate, report  # first: it imports PyG without warnings

# isort: split
from torch_geometric.nn import GATConv, GCNConv, PNAConv, SAGEConv

NODES, WIDTH = 60, 24
DEGREES = torch.tensor([1, 6, 9, 12, 9, 6, 3])
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: GCNConv(WIDTH, 16),
    "SAGE": lambda: SAGEConv(WIDTH, 16),
    "SAGE max": lambda: SAGEConv(WIDTH, 16, aggr="max"),
    "GAT": lambda: GATConv(WIDTH, 8, heads=3),
    "PNA": lambda: PNAConv(
        WIDTH, 16, ["mean", "min", "max", "std"],
        ["identity", "amplification", "attenuation"], DEGREES, towers=2,
    ),
}  # fmt: skip


def made(name: str, gpu: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    """A layer of PyG with its input, drawn on the CPU."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(NODES, WIDTH, generator=draw, dtype=torch.float64)
    edge_index = torch.randint(NODES, (2, 400), generator=draw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = LAYERS[name]()
    return layer.to(gpu, dtype), x.to(gpu, dtype), edge_index.to(gpu)


def results(layer: nn.Module, x: Tensor, edge_index: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of every parameter."""
    x = x.detach().clone().requires_grad_()
    out = layer(x, edge_index)
    leaves = [x, *layer.parameters()]
    return [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out).cumsum(1))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_agrees_with_pyg(name: str, dtype: torch.dtype, gpu: torch.device) -> None:
    layer, x, edge_index = made(name, gpu, dtype)
    fast = accelerate(layer)
    assert all(row.fused for row in report(fast))
    exact = results(copy.deepcopy(layer).double(), x.double(), edge_index)
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    for a, b in zip(results(fast, x, edge_index), exact, strict=True):
        scale = max(1.0, b.abs().max().item())
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", LAYERS)
def test_a_second_run_gives_the_same_bits(name: str, gpu: torch.device) -> None:
    layer, x, edge_index = made(name, gpu, torch.float32)
    fast = accelerate(layer)
    first = results(fast, x, edge_index)
    assert all(map(torch.equal, first, results(fast, x, edge_index)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_under_autocast(name: str, dtype: torch.dtype, gpu: torch.device) -> None:
    layer, x, edge_index = made(name, gpu, torch.float32)
    exact = results(copy.deepcopy(layer).double(), x.double(), edge_index)
    with torch.autocast("cuda", dtype):
        found = results(accelerate(layer), x, edge_index)
    for a, b in zip(found, exact, strict=True):
        assert a.isfinite().all()
        assert (a.double() - b).norm() <= 0.1 * b.norm() + 1e-3
