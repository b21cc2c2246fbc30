"""FoSR adds the edges of its paper's definition, found among all pairs in a dense matrix."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.rewiring import FoSR

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx_graphs import data_of

from gnnlib._hash import uniform
from gnnlib.rewiring import _fosr as module
from gnnlib.rewiring._simple_graph import SimpleGraph

Pairs = list[tuple[int, int]]


def new_edges(data: Data) -> Pairs:
    found = data.edge_index[:, data.edge_type == 1].t().tolist()
    assert [edge[::-1] for edge in found[::2]] == found[1::2]
    return [(u, v) for u, v in found[::2]]


def oracle(graph: nx.Graph, num_iterations: int, power_iters: int, seed: int) -> Pairs:
    """The paper's algorithm 1 on numpy's matrices; it knows no isolated nodes."""
    adj = nx.to_numpy_array(graph, nodelist=range(len(graph)))
    x = 2 * uniform(seed, torch.arange(len(graph))).numpy() - 1
    added = []
    for step in range(power_iters + num_iterations):
        degree = adj.sum(1)
        if step >= power_iters:
            y = x / np.sqrt(degree + 1)
            product = np.where((adj > 0) | np.eye(len(x), dtype=bool), np.inf, np.outer(y, y))
            u, v = np.unravel_index(product.argmin(), product.shape)
            if product[u, v] == np.inf:
                break
            added.append((int(min(u, v)), int(max(u, v))))
            adj[u, v] = adj[v, u] = 1
            degree = adj.sum(1)
        root = np.sqrt(degree)
        x = x - x @ root * root / degree.sum()
        x = x + (adj / np.outer(root, root)) @ x
        x = x / np.linalg.norm(x)
    return added


graphs = st.builds(
    lambda size, share, seed: nx.gnp_random_graph(size, share, seed=seed),
    st.integers(0, 20),
    st.floats(0, 1),
    st.integers(0, 10**6),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(graphs, max_size=3), st.integers(0, 8), st.integers(0, 6), st.integers(-5, 5))
def test_the_kernel_is_its_reference(
    parts: list[nx.Graph], num_edges: int, power_iters: int, seed: int
) -> None:
    whole = nx.disjoint_union_all(parts) if parts else nx.Graph()
    ptr = torch.tensor([0, *map(len, parts)]).cumsum(0)
    edge_index = data_of(whole).edge_index
    graph = SimpleGraph.of_edges(edge_index, len(whole), ptr=ptr)
    start = 2 * uniform(seed, torch.arange(len(whole))) - 1
    args = (graph.rowptr, graph.col, ptr, start, num_edges, power_iters)
    assert module._op(*args).tolist() == module._reference(*args).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(1, 20), st.integers(0, 8), st.integers(0, 10**6))
def test_edges_are_those_of_the_paper(size: int, count: int, power_iters: int, seed: int) -> None:
    # A random tree with chords; no two nodes of it are alike by symmetry for long, so no ties.
    graph = nx.random_labeled_tree(size, seed=seed)
    graph.add_edges_from(nx.gnm_random_graph(size, size // 2, seed=seed).edges)
    rewire = FoSR(count, initial_power_iters=power_iters, seed=seed)
    assert new_edges(rewire(data_of(graph))) == oracle(graph, count, power_iters, seed)


def test_ties_go_to_the_smallest_pair() -> None:
    # Where the vector is zero all products are, and every pair is as good as any.
    graph = SimpleGraph.of_edges(data_of(nx.star_graph(5)).edge_index, 6)
    args = (graph.rowptr, graph.col, graph.ptr, torch.zeros(6, dtype=torch.float64), 12, 0)
    expected = [(u, v) for u in range(1, 6) for v in range(u + 1, 6)]
    assert module._op(*args).t().tolist() == [list(edge) for edge in expected]


def test_no_edge_widens_the_gap_of_a_barbell_more() -> None:
    graph = nx.barbell_graph(8, 2)

    def gap(edge: tuple[int, int]) -> float:
        wider = nx.Graph(graph)
        wider.add_edge(*edge)
        return float(np.sort(nx.normalized_laplacian_spectrum(wider))[1])

    (edge,) = new_edges(FoSR(1, initial_power_iters=50)(data_of(graph)))
    assert gap(edge) == pytest.approx(max(map(gap, nx.non_edges(graph))))


def test_the_first_edge_joins_components() -> None:
    parts = [nx.complete_graph(5), nx.cycle_graph(7), nx.path_graph(4), nx.empty_graph(2)]
    for kept in (parts[:2], parts[1:3], parts[2:], parts):
        graph = nx.disjoint_union_all(kept)
        before = nx.number_connected_components(graph)
        graph.add_edges_from(new_edges(FoSR(1, initial_power_iters=50)(data_of(graph))))
        assert nx.number_connected_components(graph) == before - 1


def test_in_the_end_all_components_are_joined() -> None:
    graph = nx.disjoint_union_all([nx.complete_graph(5), nx.cycle_graph(7), nx.empty_graph(2)])
    graph.add_edges_from(new_edges(FoSR(20)(data_of(graph))))
    assert nx.is_connected(graph)


def test_an_isolated_node_is_joined() -> None:
    graph = nx.disjoint_union(nx.cycle_graph(6), nx.empty_graph(1))
    ((_, v),) = new_edges(FoSR(1)(data_of(graph)))
    assert v == 6


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_a_complete_graph_stays(size: int) -> None:
    data = data_of(nx.complete_graph(size))
    assert torch.equal(FoSR(3)(data).edge_index, data.edge_index)


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_graph_without_edges_stays(size: int) -> None:
    assert FoSR(3)(data_of(nx.empty_graph(size))).num_edges == 0


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_budget_beyond_all_pairs_completes_the_graph(size: int) -> None:
    out = FoSR(100)(data_of(nx.path_graph(size)))
    assert out.edge_index.t().unique(dim=0).size(0) == out.num_edges == size * (size - 1)


def test_a_graph_alone_and_in_a_batch() -> None:
    sizes = [30, 1, 12, 200]
    alone = [data_of(nx.gnp_random_graph(n, 0.1, seed=n)) for n in sizes]
    rewire = FoSR(5, seed=3)
    inside = rewire(Batch.from_data_list(alone)).to_data_list()
    for one, other, third in zip(map(rewire, alone), inside, rewire(alone), strict=True):
        assert torch.equal(one.edge_index, other.edge_index)
        assert torch.equal(one.edge_index, third.edge_index)


def large() -> Data:
    # More nodes and neighbours than one thread alone gets.
    ends = torch.randint(10_000, (2, 30_000), generator=torch.Generator().manual_seed(0))
    return Data(edge_index=torch.cat([ends, ends.flip(0)], 1), num_nodes=10_000)


def test_any_number_of_threads() -> None:
    data, before = large(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(FoSR(4)(data).edge_index)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_a_large_graph_gets_what_the_eigenvector_says() -> None:
    data = large()
    graph = SimpleGraph.of_edges(data.edge_index, 10_000)
    ((u, v),) = new_edges(FoSR(1, seed=1)(data))

    def stepped(x: Tensor) -> Tensor:
        root = graph.degree.double().sqrt()
        x = x - (x @ root) * root / graph.degree.sum()
        scaled = torch.where(root > 0, x / root, 0.0)
        near = scaled[graph.ends]
        summed = torch.zeros_like(x).index_add_(0, graph.ends.flatten(), near.flip(0).flatten())
        x = x + torch.where(root > 0, summed / root, x)
        return x / x.norm()

    x = 2 * uniform(1, torch.arange(10_000)) - 1
    for _ in range(5):
        x = stepped(x)
    y = x / (graph.degree + 1).sqrt()
    assert y[u] * y[v] <= y.min() * y.max() * (1 - 1e-8)


def test_another_seed_is_another_graph() -> None:
    data = data_of(nx.cycle_graph(9))
    found = {tuple(new_edges(FoSR(2, seed=seed)(data))) for seed in range(4)}
    assert len(found) > 1


def test_bad_arguments() -> None:
    with pytest.raises(
        ValueError, match="`num_iterations` must be a whole number of at least 0, got -1"
    ):
        FoSR(-1)
    with pytest.raises(ValueError, match="`initial_power_iters` must be a whole number"):
        FoSR(initial_power_iters=0.5)
