"""AFRC does what a loop over edges with networkx does, on every graph of a batch."""

import sys

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from gnnlib.rewiring import AFRC  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx_graphs import Edges, data_of, edges_of, small
from sklearn.mixture import GaussianMixture
from torch_geometric.data import Batch, Data

from gnnlib._hash import uniform
from gnnlib.rewiring import _spans
from gnnlib.testing import assert_rewiring


def curvature(graph: nx.Graph, u: int, v: int, cycles: int) -> int:
    near, far = set(graph[u]) - {v}, set(graph[v]) - {u}
    value = 4 - graph.degree(u) - graph.degree(v) + 3 * len(near & far)
    squares = sum(graph.has_edge(a, b) for a in near for b in far if a != b)
    return value + (2 * squares if cycles == 4 else 0)


def thresholds(values: list[int], seed: int) -> tuple[float, float]:
    fit = GaussianMixture(2, random_state=seed).fit(np.array(sorted(values))[:, None])
    (m1, s1), (m2, s2) = sorted(
        zip(fit.means_[:, 0], np.sqrt(fit.covariances_[:, 0, 0]), strict=True)
    )
    return (m1 * s2 + m2 * s1) / (s1 + s2), m2 + s2


def oracle(
    graph: nx.Graph, n_iter: int, cycles: int, seed: int, given: tuple[float, float] | None = None
) -> Edges:
    graph = graph.copy()
    for step in range(n_iter):
        value = {(u, v): curvature(graph, u, v, cycles) for u, v in map(sorted, graph.edges)}
        if step == 0:
            if given is None and len(set(value.values())) < 2:
                break
            lower, upper = given or thresholds(list(value.values()), seed)
        graph.remove_edges_from([edge for edge, c in value.items() if c > upper])
        new = []
        for (u, v), c in value.items():
            if c >= lower:
                continue
            draw = float(uniform(seed, *map(torch.tensor, (step, u, v))))
            for a, b in ((u, v), (v, u)):
                free = sorted(set(graph[a]) - set(graph[b]) - {b})
                if free:
                    new.append((b, free[int(draw * len(free))]))
                    break
        graph.add_edges_from(new)
    return {(min(edge), max(edge)) for edge in graph.edges}


@settings(max_examples=10, deadline=None)
@given(st.lists(small, min_size=1, max_size=3), st.sampled_from([3, 4]), st.integers(0, 9))
def test_fitted(many: list[nx.Graph], cycles: int, seed: int) -> None:
    rewire = AFRC(n_iter=2, cycles=cycles, seed=seed)
    wanted = [oracle(graph, 2, cycles, seed) for graph in many]
    listed = [data_of(graph) for graph in many]
    assert [edges_of(data) for data in rewire(listed)] == wanted
    assert [
        edges_of(data) for data in rewire(Batch.from_data_list(listed)).to_data_list()
    ] == wanted


@settings(max_examples=25, deadline=None)
@given(small, st.sampled_from([3, 4]), st.integers(-6, 3), st.integers(0, 6))
def test_given(graph: nx.Graph, cycles: int, lower: int, more: int) -> None:
    given = lower + 0.5, lower + more + 0.5
    rewired = AFRC(n_iter=3, cycles=cycles, thresholds=given, seed=5)(data_of(graph))
    assert edges_of(rewired) == oracle(graph, 3, cycles, 5, given)


def test_long_lists_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nx.barabasi_albert_graph(60, 3, seed=0)
    wanted = edges_of(AFRC()(data_of(graph)))
    monkeypatch.setattr(_spans.spans, "__defaults__", (7,))
    assert edges_of(AFRC()(data_of(graph))) == wanted == oracle(graph, 3, 3, 0)


def test_any_neighbour_may_be_drawn() -> None:
    # The bridge 0 - 1 of two stars draws one of five leaves of 0; which, the seed says.
    graph = nx.Graph([(0, 1), *((0, i) for i in range(2, 7)), *((1, i) for i in range(7, 12))])
    drawn = set()
    for seed in range(40):
        drawn |= edges_of(AFRC(1, thresholds=(-6, 9), seed=seed)(data_of(graph)))
    assert drawn - set(graph.edges) == {(1, leaf) for leaf in range(2, 7)}


@pytest.mark.parametrize(
    "graph",
    [
        nx.empty_graph(0),
        nx.empty_graph(3),
        nx.path_graph(2),
        nx.cycle_graph(6),
        nx.complete_graph(5),
    ],
)
def test_nothing_to_do(graph: nx.Graph) -> None:
    data = data_of(graph)
    assert torch.equal(AFRC()(data).edge_index, data.edge_index)
    assert torch.equal(AFRC(n_iter=0, thresholds=(9, 9))(data).edge_index, data.edge_index)


def test_node_ids_move_no_thresholds() -> None:
    graph = nx.barabasi_albert_graph(40, 2, seed=1)
    removed: list[Tensor] = []
    for order in (torch.arange(40), torch.randperm(40, generator=torch.Generator().manual_seed(0))):
        data = data_of(graph)
        data.edge_index = order[data.edge_index]
        stayed = AFRC(1)(data).parent_id
        removed.append(torch.isin(torch.arange(data.num_edges), stayed, invert=True))
    assert removed[0].any()
    assert torch.equal(*removed)


def test_same_seed_same_graph() -> None:
    data = data_of(nx.barabasi_albert_graph(40, 3, seed=1))
    first, again, other = (AFRC(seed=seed)(data).edge_index for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_repr() -> None:
    assert repr(AFRC(2, cycles=4, thresholds=(-1, 2), seed=3)).startswith(
        "AFRC(n_iter=2, cycles=4, thresholds=(-1.0, 2.0), "
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_iter": -1}, "n_iter"),
        ({"cycles": 5}, "cycles"),
        ({"cycles": 3.0}, "cycles"),
        ({"thresholds": (2, 1)}, "thresholds"),
        ({"thresholds": (2,)}, "thresholds"),
        ({"thresholds": 2}, "thresholds"),
        ({"thresholds": (0, float("nan"))}, "upper"),
    ],
)
def test_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AFRC(**options)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    data = data_of(nx.path_graph(4))
    assert AFRC(thresholds=(-1, 2))(data).num_edges == 6
    with pytest.raises(ImportError, match=r"gnnlib\[rewire\]"):
        AFRC()(data)


def test_laws() -> None:
    def budget(data: Data) -> tuple[float, float]:
        return 3 * data.num_edges, data.num_edges

    assert_rewiring(AFRC, budget=budget)
