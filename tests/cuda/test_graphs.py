"""A graph is prepared on a GPU as on the CPU, and a training step on a prepared one captured."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gnnlib  # first: it imports PyG without warnings

# isort: split
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from gnnlib import Adjacency, ops
from gnnlib.ops import join_hops, k_hop, stack_hops, tree_plan

NODES, EDGES = 300, 4000


def edges() -> Tensor:
    return torch.randint(NODES, (2, EDGES), generator=torch.Generator().manual_seed(0))


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=0)


def test_edges_are_grouped_as_on_the_cpu(gpu: torch.device) -> None:
    here, there = (Adjacency.of(edges().to(device), NODES) for device in ("cpu", gpu))
    for ours, theirs in ((there, here), (there.T, here.T)):
        for name in ("rowptr", "col", "perm", "edge_index"):
            assert getattr(ours, name).device == gpu
            assert_same(getattr(ours, name), getattr(theirs, name))


def test_trees_and_hops_are_those_of_the_cpu(gpu: torch.device) -> None:
    here, there = (Adjacency.of(edges().to(device), NODES) for device in ("cpu", gpu))
    for ours, theirs in zip(tree_plan(there), tree_plan(here), strict=True):
        for name in ("pairs", "carried", "finished", "group"):
            assert_same(getattr(ours, name), getattr(theirs, name))
    near, far = k_hop(here, 2), k_hop(there, 2)
    assert far.col.device == gpu
    assert_same(far.hop_ptr, near.hop_ptr)
    assert_same(far.col, near.col)
    assert_same(stack_hops(far, (0, 1)).col, stack_hops(near, (0, 1)).col)
    joined, expected = (join_hops(pairs, (0, 1), norm="mean") for pairs in (far, near))
    assert_same(joined[0].col, expected[0].col)
    assert_same(joined[1], expected[1])


@pytest.mark.parametrize("width", [1, 20])
def test_a_scatter_gives_the_same_bits_again(width: int, gpu: torch.device) -> None:
    index = torch.zeros(100_000, dtype=torch.int64, device=gpu)  # all would meet in one place
    src = torch.randn(100_000, width, device=gpu, requires_grad=True)
    for reduce in ("sum", "mean", "min", "max"):
        runs = []
        for _ in range(3):
            out = ops.scatter(src, index.clone(), 0, dim_size=2, reduce=reduce)
            runs.append((out.detach(), *torch.autograd.grad(out.square().sum(), src)))
        for again in runs[1:]:
            assert all(torch.equal(a, b) for a, b in zip(again, runs[0], strict=True))


CONVS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: GCNConv(16, 16),
    "SAGE": lambda: SAGEConv(16, 16, aggr="max"),
    "GAT": lambda: GATConv(16, 8, heads=2),
    "LCM": lambda: SAGEConv(16, 16, aggr=gnnlib.aggr.LCMAggregation(16, 16, shuffle=False)),
}


def training(name: str, device: torch.device | str) -> tuple[Tensor, Callable[[], list[Tensor]]]:
    """The input of a layer, and a training step of it on a graph that is built once."""
    torch.manual_seed(0)
    conv = gnnlib.accelerate(CONVS[name]().to(device))
    adj = Adjacency.of(edges().to(device), NODES)
    # What runs as PyG wrote it takes no adjacency.
    graph = adj if all(row.fused for row in gnnlib.report(conv)) else adj.edge_index
    x = torch.randn(NODES, 16, device=device)
    weights = list(conv.parameters())

    def step() -> list[Tensor]:
        out = conv(x, graph)
        grads = torch.autograd.grad(out.square().sum(), weights, allow_unused=True)
        return [out.detach(), *(grad for grad in grads if grad is not None)]

    return x, step


@pytest.mark.cpu_only("it tries the step that is captured elsewhere")
@pytest.mark.parametrize("name", CONVS)
def test_a_training_step_gives_the_same_again(name: str) -> None:
    _, step = training(name, "cpu")
    assert all(map(torch.equal, step(), step()))


@pytest.mark.parametrize("name", CONVS)
def test_a_training_step_on_a_built_graph_can_be_captured(name: str, gpu: torch.device) -> None:
    x, step = training(name, gpu)
    stream = torch.cuda.Stream(gpu)
    stream.wait_stream(torch.cuda.current_stream(gpu))
    with torch.cuda.stream(stream):
        for _ in range(3):  # what is kept with the graph is made here
            step()
    torch.cuda.current_stream(gpu).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize(gpu)
    for a, b in zip(captured, step(), strict=True):
        torch.testing.assert_close(a, b)
