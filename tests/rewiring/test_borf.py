"""BORF does what a loop over linear programs does, on every graph of a batch, with less work."""

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from gnnlib.rewiring import BORF  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx_graphs import Edges, data_of, edges_of, small
from scipy.optimize import linprog
from torch_geometric.data import Batch

from gnnlib.rewiring import _borf as module
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._ollivier_ricci import ollivier_ricci_of
from gnnlib.rewiring.curvature._transport import farthest_transport
from gnnlib.testing import assert_rewiring

Curvatures = Callable[[nx.Graph, list[tuple[int, int]], float], list[float]]


def by_linear_programs(graph: nx.Graph, edges: list[tuple[int, int]], alpha: float) -> list[float]:
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    found = []
    for ends in edges:
        give, take = (
            {end: alpha} | dict.fromkeys(graph[end], (1 - alpha) / graph.degree(end))
            for end in ends
        )
        cost = [[distance[p][q] for q in take] for p in give]
        leaves = np.kron(np.eye(len(give)), np.ones(len(take)))
        arrives = np.kron(np.ones(len(give)), np.eye(len(take)))
        solved = linprog(
            np.ravel(cost),
            A_eq=np.vstack([leaves, arrives]),
            b_eq=[*give.values(), *take.values()],
        )
        found.append(1 - solved.fun)
    return found


def by_kernel(graph: nx.Graph, edges: list[tuple[int, int]], alpha: float) -> list[float]:
    simple = simple_of(graph)
    return ollivier_ricci_of(simple, torch.arange(len(edges)), alpha).tolist()


def simple_of(graph: nx.Graph) -> SimpleGraph:
    return SimpleGraph.of_edges(data_of(graph).edge_index, len(graph))


def oracle(
    graph: nx.Graph, n_iter: int, add: int, remove: int, alpha: float, curvatures: Curvatures
) -> Edges:
    """All curvatures in every iteration; only the farthest pair is taken from the kernel."""
    graph = graph.copy()
    for _ in range(n_iter):
        edges = sorted((min(edge), max(edge)) for edge in graph.edges)
        rounded = [round(value * 1e7) for value in curvatures(graph, edges, alpha)]
        value = dict(zip(edges, rounded, strict=True))
        lowest = sorted(edges, key=lambda edge: (value[edge], edge))[:add]
        highest = sorted(edges, key=lambda edge: (-value[edge], edge))[:remove]
        simple = simple_of(graph)
        chosen = simple.edge_id(torch.tensor(lowest, dtype=torch.long).reshape(-1, 2).t())
        pairs = farthest_transport(simple, chosen, alpha).t().tolist()
        graph.add_edges_from((p, q) for p, q in pairs if p != q)
        graph.remove_edges_from(highest)
    return {(min(edge), max(edge)) for edge in graph.edges}


counts = st.integers(0, 3)


@settings(max_examples=8, deadline=None)
@given(st.lists(small, min_size=1, max_size=2), counts, counts, st.sampled_from([0, 0.25, 0.5]))
def test_by_linear_programs(many: list[nx.Graph], add: int, remove: int, alpha: float) -> None:
    rewire = BORF(2, add, remove, alpha=alpha)
    wanted = [oracle(graph, 2, add, remove, alpha, by_linear_programs) for graph in many]
    listed = [data_of(graph) for graph in many]
    assert [edges_of(data) for data in rewire(listed)] == wanted
    batch = Batch.from_data_list(listed)
    assert [edges_of(data) for data in rewire(batch).to_data_list()] == wanted


LARGER = {
    "hubs": nx.barabasi_albert_graph(40, 3, seed=1),
    "sparse": nx.gnm_random_graph(40, 48, seed=1),
    "dense": nx.gnp_random_graph(25, 0.4, seed=2),
    "tree": nx.balanced_tree(2, 4),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(6, 6)),
    "hypercube": nx.convert_node_labels_to_integers(nx.hypercube_graph(4)),
}


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("graph", LARGER.values(), ids=LARGER)
def test_what_is_left_out_changes_nothing(graph: nx.Graph, alpha: float) -> None:
    rewired = BORF(3, 5, 3, alpha=alpha)(data_of(graph))
    assert edges_of(rewired) == oracle(graph, 3, 5, 3, alpha, by_kernel)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("graph", LARGER.values(), ids=LARGER)
def test_bounds_hold(graph: nx.Graph, alpha: float) -> None:
    simple = simple_of(graph)
    every = torch.arange(simple.num_edges)
    least, value = BORF(alpha=alpha)._bounds(simple, every), ollivier_ricci_of(simple, every, alpha)
    key = value.mul(1e9).round()
    assert (least[0] <= key).all()
    assert (-least[1] >= key).all()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many edges the curvature was computed, call by call."""
    counts: list[int] = []

    def counted(graph: SimpleGraph, edges: Tensor, alpha: float) -> Tensor:
        counts.append(edges.numel())
        return ollivier_ricci_of(graph, edges, alpha)

    monkeypatch.setattr(module, "ollivier_ricci_of", counted)
    return counts


def test_bounds_leave_most_curvatures_out(computed: list[int]) -> None:
    graph = nx.barabasi_albert_graph(300, 2, seed=0)
    BORF(1, 4, 0)(data_of(graph))
    assert 4 <= sum(computed) < graph.number_of_edges() / 2


def test_what_did_not_change_is_not_computed_again(computed: list[int]) -> None:
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(20, 20))
    BORF(1, 1, 1)(data_of(graph))
    once = sum(computed)
    BORF(3, 1, 1)(data_of(graph))
    assert once < sum(computed) - once < 1.5 * once


def test_nothing_is_removed_where_nothing_should_be() -> None:
    data = data_of(LARGER["hubs"])
    rewired = BORF(2, 3, 0)(data)
    assert torch.equal(rewired.edge_index[:, : data.num_edges], data.edge_index)
    assert data.num_edges < rewired.num_edges <= data.num_edges + 12


def test_a_complete_graph_only_loses() -> None:
    assert edges_of(BORF(1, 4, 2)(data_of(nx.complete_graph(5)))) == {
        edge for edge in nx.complete_graph(5).edges if edge not in [(0, 1), (0, 2)]
    }


def test_more_than_there_is() -> None:
    data = data_of(nx.barbell_graph(3, 1))
    assert edges_of(BORF(1, 99, 0)(data)) == edges_of(BORF(1, data.num_edges // 2, 0)(data))
    assert edges_of(BORF(1, 0, 99)(data)) == set()


@pytest.mark.parametrize("graph", [nx.empty_graph(0), nx.empty_graph(3)])
def test_nothing_to_do(graph: nx.Graph) -> None:
    data = data_of(graph)
    assert torch.equal(BORF()(data).edge_index, data.edge_index)


def test_repr() -> None:
    assert repr(BORF(2, 5, 1, alpha=0.5)).startswith(
        "BORF(n_iter=2, batch_add=5, batch_remove=1, alpha=0.5, "
    )


@pytest.mark.parametrize(
    "options",
    [{"n_iter": -1}, {"batch_add": -1}, {"batch_remove": -2}, {"alpha": 1}, {"alpha": -1}],
)
def test_out_of_range(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        BORF(**options)


def test_laws() -> None:
    assert_rewiring(BORF, budget=lambda _: (3 * 4, 3 * 2))
