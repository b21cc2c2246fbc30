"""LASER joins the nodes of its paper's definition, found with networkx and dense matrices."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from gnnlib.rewiring import LASER  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx_graphs import data_of

from gnnlib._hash import uniform
from gnnlib.rewiring import _laser as module
from gnnlib.rewiring._simple_graph import SimpleGraph

Found = dict[tuple[int, int], int]


def new_edges(data: Data) -> Found:
    """The type of each new edge, the smaller end first."""
    new = data.parent_id < 0
    ends, types = data.edge_index[:, new].t().tolist(), data.edge_type[new].tolist()
    both = {tuple(pair): kind for pair, kind in zip(ends, types, strict=True)}
    assert len(both) == len(ends)
    assert all(both[v, u] == kind for (u, v), kind in both.items())
    return {(u, v): kind for (u, v), kind in both.items() if u < v}


def oracle(graph: nx.Graph, snapshots: int, factor: float, at_least: int, seed: int) -> Found:
    """Distances by networkx, walks counted in whole numbers."""
    size = len(graph)
    adj = nx.to_numpy_array(graph, nodelist=range(size), dtype=int).astype(object)
    walks = np.linalg.matrix_power(adj + np.eye(size, dtype=int), 8) if size else adj
    found = {}
    for i, distances in nx.all_pairs_shortest_path_length(graph):
        for hop in range(2, snapshots + 1):
            orbit = [j for j, distance in distances.items() if distance == hop]
            draws = uniform(seed, torch.tensor(i), torch.tensor(orbit, dtype=torch.long)).tolist()
            ranked = sorted((walks[i, j], u, j) for u, j in zip(draws, orbit, strict=True))
            count = max(at_least, math.ceil(round(factor * len(orbit), 6)))
            found |= {(min(i, j), max(i, j)): hop - 1 for *_, j in ranked[:count]}
    return found


# Of up to 25 nodes: numbers of walks are below 2^30 up to degree 12, and exact.
graphs = st.builds(
    lambda size, per_node, seed: nx.gnm_random_graph(size, int(size * per_node), seed=seed),
    st.integers(0, 25),
    st.floats(0, 2),
    st.integers(0, 10**6),
)
options = st.tuples(
    st.integers(1, 6), st.sampled_from([0, 0.1, 0.3, 0.5, 1]), st.integers(0, 3), st.integers(-9, 9)
)


@settings(max_examples=30, deadline=None)
@given(graphs, options)
def test_edges_are_those_of_the_paper(graph: nx.Graph, option: tuple[int, float, int, int]) -> None:
    *own, seed = option
    assert new_edges(LASER(*own, seed=seed)(data_of(graph))) == oracle(graph, *option)


@settings(max_examples=30, deadline=None)
@given(st.lists(graphs, max_size=3), options)
def test_the_kernel_is_its_reference(
    parts: list[nx.Graph], option: tuple[int, float, int, int]
) -> None:
    whole = nx.disjoint_union_all(parts) if parts else nx.Graph()
    ptr = torch.tensor([0, *map(len, parts)]).cumsum(0)
    graph = SimpleGraph.of_edges(data_of(whole).edge_index, len(whole), ptr=ptr)
    args = (graph.rowptr, graph.col, ptr, *option)
    for ours, reference in zip(module._op(*args), module._reference(*args), strict=True):
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("snapshots", [2, 3, 8, 9, 12])
def test_where_walks_are_too_short(snapshots: int) -> None:
    # In a long path no walk of eight steps leads to nodes nine steps away, which are all alike.
    graph = nx.path_graph(30)
    rewire = LASER(snapshots, 0.5, seed=1)
    assert new_edges(rewire(data_of(graph))) == oracle(graph, snapshots, 0.5, 1, 1)


@pytest.mark.parametrize("make", [nx.star_graph, nx.complete_graph, nx.wheel_graph])
def test_around_a_hub_numbers_of_walks_are_large(make) -> None:
    graph = make(100)
    graph.add_edges_from([(len(graph), 1), (len(graph) + 1, 2)])
    simple = SimpleGraph.of_edges(data_of(graph).edge_index)
    args = (simple.rowptr, simple.col, simple.ptr, 3, 0.2, 1, 0)
    for ours, reference in zip(module._op(*args), module._reference(*args), strict=True):
        assert torch.equal(ours, reference)


def test_equals_are_taken_at_random() -> None:
    # To each leaf of a star as many walks lead from every other.
    star = SimpleGraph.of_edges(data_of(nx.star_graph(12)).edge_index)
    counts = torch.zeros(13)
    for seed in range(300):
        added, _ = module._op(star.rowptr, star.col, star.ptr, 2, 0.0, 1, seed)
        counts += added.flatten().bincount(minlength=13)
    assert counts[0] == 0
    assert counts[1:].max() < 1.3 * counts[1:].min()


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (nx.complete_graph(5), {}),
        (nx.empty_graph(4), {}),
        (nx.path_graph(3), {(0, 2): 1}),
        (nx.path_graph(4), {(0, 2): 1, (0, 3): 2, (1, 3): 1}),
        (nx.disjoint_union(nx.path_graph(3), nx.empty_graph(2)), {(0, 2): 1}),
        (nx.disjoint_union(nx.path_graph(3), nx.path_graph(3)), {(0, 2): 1, (3, 5): 1}),
    ],
)
def test_small_graphs(graph: nx.Graph, expected: Found) -> None:
    # Components stay apart; more snapshots than there are distances, and more edges than pairs.
    assert new_edges(LASER(6, 1, 100)(data_of(graph))) == expected


def test_one_snapshot_is_the_graph() -> None:
    data = data_of(nx.cycle_graph(6))
    assert torch.equal(LASER(1)(data).edge_index, data.edge_index)


def test_types_count_from_the_relation() -> None:
    out = LASER(3, relation=4)(data_of(nx.path_graph(4)))
    assert new_edges(out) == {(0, 2): 4, (0, 3): 5, (1, 3): 4}


def test_a_share_is_rounded_up() -> None:
    # Each leaf of a star has as many at two hops as there are other leaves.
    for leaves, factor, count in ((11, 0.1, 1), (12, 0.1, 2), (101, 0.07, 7), (11, 0, 1)):
        data = data_of(nx.star_graph(leaves))
        graph = SimpleGraph.of_edges(data.edge_index, leaves + 1)
        chosen = len(new_edges(LASER(2, factor)(data)))
        assert graph.num_edges * count / 2 <= chosen <= graph.num_edges * count
        assert (chosen == 0) == (count == 0)


def test_a_graph_alone_and_in_a_batch() -> None:
    alone = [data_of(nx.gnp_random_graph(n, 3 / n, seed=n)) for n in (30, 1, 12, 200, 64)]
    rewire = LASER(3, 0.3, seed=3)
    inside = rewire(Batch.from_data_list(alone)).to_data_list()
    for one, other in zip(map(rewire, alone), inside, strict=True):
        assert torch.equal(one.edge_index, other.edge_index)
        assert torch.equal(one.edge_type, other.edge_type)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`num_snapshots` must be a whole number of at least 1"):
        LASER(0)
    with pytest.raises(
        ValueError, match=r"`additions_factor` must be a number from 0 to 1, got 1\.5"
    ):
        LASER(additions_factor=1.5)
    with pytest.raises(ValueError, match="`additions_factor` must be a number from 0 to 1"):
        LASER(additions_factor=math.nan)
    with pytest.raises(
        ValueError, match="`minimum_additions` must be a whole number of at least 0"
    ):
        LASER(minimum_additions=-1)
