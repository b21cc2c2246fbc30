"""The kernels that count short cycles find what their references do, on any number of threads."""

import itertools

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.rewiring.curvature import _cycles, _triangles
from gnnlib.testing import Sample, assert_op

KERNELS = {
    "cycle_counts": (_cycles._op, _cycles._reference),
    "triangle_counts": (_triangles._op, _triangles._reference),
}
both = pytest.mark.parametrize("name", KERNELS)


def random_graph(num_nodes: int, num_edges: int, seed: int) -> SimpleGraph:
    """With hubs, as ends are squared."""
    draw = torch.Generator().manual_seed(seed)
    ends = (torch.rand(2, num_edges, generator=draw).square() * num_nodes).long()
    return SimpleGraph.of_edges(ends, num_nodes, undirected=True)


def arrays(graph: SimpleGraph, edges: Tensor | None = None) -> tuple[Tensor, ...]:
    ends = graph.ends if edges is None else graph.ends[:, edges]
    return graph.rowptr, graph.col, ends[0].contiguous(), ends[1].contiguous()


@both
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(0, 150), st.integers(0, 1000))
def test_the_kernel_is_its_reference(name: str, num_nodes: int, num_edges: int, seed: int) -> None:
    kernel, reference = KERNELS[name]
    given_arrays = arrays(random_graph(num_nodes, num_edges, seed))
    assert torch.equal(kernel(*given_arrays), reference(*given_arrays))


@both
def test_any_pairs(name: str) -> None:
    kernel, reference = KERNELS[name]
    graph = random_graph(12, 30, 0)
    source, target = torch.tensor(list(itertools.permutations(range(12), 2)) * 3).T.contiguous()
    given_arrays = (graph.rowptr, graph.col, source, target)
    assert torch.equal(kernel(*given_arrays), reference(*given_arrays))


@both
def test_of_hubs(name: str) -> None:
    # Both ways to leave out diagonals, and hubs whose edges several threads share.
    kernel, reference = KERNELS[name]
    graph = random_graph(700, 6000, 1)
    given_arrays = arrays(graph, torch.arange(0, graph.num_edges, 7))
    assert graph.degree.max() > 256
    assert torch.equal(kernel(*given_arrays), reference(*given_arrays))


@both
def test_on_any_number_of_threads(name: str) -> None:
    kernel, _ = KERNELS[name]
    graph = random_graph(700, 6000, 2)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(kernel(*arrays(graph)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@both
def test_a_batch_is_its_graphs(name: str) -> None:
    kernel, _ = KERNELS[name]
    graphs = [random_graph(size, 4 * size, size) for size in (5, 1, 40, 12)]
    starts = torch.tensor([0, *(graph.num_nodes for graph in graphs)]).cumsum(0)
    parts = [graph.ends + start for graph, start in zip(graphs, starts[:-1], strict=True)]
    batch = SimpleGraph.of_edges(torch.cat(parts, 1), int(starts[-1]), undirected=True)
    alone = torch.cat([kernel(*arrays(graph)) for graph in graphs], -1)
    assert torch.equal(kernel(*arrays(batch)), alone)


@both
def test_as_an_operator(name: str) -> None:
    kernel, reference = KERNELS[name]
    graphs = [random_graph(20, 60, 0), random_graph(3, 0, 0), random_graph(1, 0, 0)]
    samples = [Sample(arrays(graph)) for graph in graphs]
    operator = getattr(torch.ops.gnnlib, name).default

    def contiguous(rowptr: Tensor, col: Tensor, source: Tensor, target: Tensor) -> Tensor:
        found: Tensor = kernel(*(t.contiguous() for t in (rowptr, col, source, target)))
        return found

    assert_op(contiguous, reference, samples, opcheck=[operator])


@both
def test_bad_pairs_are_refused(name: str) -> None:
    kernel, _ = KERNELS[name]
    graph = random_graph(5, 9, 0)
    for bad in (-1, 5):
        with pytest.raises(IndexError, match=r"\[0, 5\)"):
            kernel(graph.rowptr, graph.col, torch.tensor([0]), torch.tensor([bad]))
    with pytest.raises(ValueError, match="one node per pair"):
        kernel(graph.rowptr, graph.col, torch.tensor([0]), torch.tensor([1, 2]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 25), st.integers(0, 1000))
def test_triangles_and_squares_are_all_cycles(num_nodes: int, num_edges: int, seed: int) -> None:
    graph = random_graph(num_nodes, num_edges, seed)
    cycles = list(nx.simple_cycles(nx.Graph(graph.ends.T.tolist()), length_bound=4))
    counts = {3: [0] * graph.num_edges, 4: [0] * graph.num_edges}
    for cycle in cycles:
        ends = torch.tensor([cycle, cycle[1:] + cycle[:1]])
        for edge in graph.edge_id(ends).tolist():
            counts[len(cycle)][edge] += 1
    triangles, _, _, _, squares = _cycles._op(*arrays(graph))
    assert triangles.tolist() == counts[3] == _triangles._op(*arrays(graph)).tolist()
    assert squares.tolist() == counts[4]
