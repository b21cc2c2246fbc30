"""The curvature is that of the linear program of its definition, on every kind of graph."""

import networkx as nx
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from transports import NAMED, curvature, edges_of, graphs, some_ends

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature import _ollivier_ricci as module
from gnnlib.rewiring.curvature import jost_liu, ollivier_ricci


def close(found: Tensor, expected: list[float]) -> None:
    both = torch.tensor(expected, dtype=torch.float64).repeat(2)
    torch.testing.assert_close(found, both, rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(graphs(), st.sampled_from([0.0, 0.5, 0.3, 0.9]))
def test_is_the_linear_program(graph: nx.Graph, alpha: float) -> None:
    found = ollivier_ricci(edges_of(graph), len(graph), alpha=alpha)
    close(found, curvature(graph, alpha))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_is_the_linear_program_on_named_graphs(name: str, alpha: float) -> None:
    graph = nx.Graph(NAMED[name].edges)
    close(ollivier_ricci(edges_of(graph), alpha=alpha), curvature(graph, alpha))


@settings(max_examples=20, deadline=None)
@given(graphs(8), st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.3]), st.booleans())
def test_walks_go_by_weight(graph: nx.Graph, seed: int, alpha: float, whole: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.rand(graph.number_of_edges(), generator=draw, dtype=torch.float64) + 0.1
    weight = (weight * 5).ceil() if whole else weight
    for (u, v), w in zip(graph.edges, weight.tolist(), strict=True):
        graph[u][v]["weight"] = w
    found = ollivier_ricci(edges_of(graph), len(graph), alpha=alpha, edge_weight=weight.repeat(2))
    close(found, curvature(graph, alpha))


def test_values_that_are_known() -> None:
    for n in (2, 3, 5, 9):  # all but one of n - 1 neighbours are shared
        found = ollivier_ricci(edges_of(nx.complete_graph(n)))
        torch.testing.assert_close(found, torch.full_like(found, (n - 2) / (n - 1)))
    assert ollivier_ricci(edges_of(nx.cycle_graph(8))).eq(0).all()
    bridge = ollivier_ricci(torch.tensor([[4], [5]]).repeat(1, 1), 10, undirected=True)
    assert bridge.tolist() == [0.0]
    barbell = nx.barbell_graph(20, 0)
    value = dict(zip(barbell.edges, ollivier_ricci(edges_of(barbell)).tolist(), strict=False))
    assert value[19, 20] == pytest.approx(-2 * (1 - 2 / 20))
    tree = nx.balanced_tree(3, 3)
    for (u, v), kappa in zip(tree.edges, ollivier_ricci(edges_of(tree)).tolist(), strict=False):
        apart = max(1 - 1 / tree.degree[u] - 1 / tree.degree[v], 0)
        assert kappa == pytest.approx(-2 * apart)


def test_a_whole_number_is_not_rounded() -> None:
    # 7 * 11 = 77 units of mass: every step is exact, so a sum that is 0 is 0.
    found = ollivier_ricci(edges_of(nx.complete_bipartite_graph(7, 11)))
    assert found.eq(0).all()


@pytest.mark.parametrize("name", NAMED)
def test_a_walk_that_stays_has_no_curvature(name: str) -> None:
    edges = edges_of(NAMED[name])
    assert ollivier_ricci(edges, alpha=1.0).eq(0).all()
    near, nearer = (ollivier_ricci(edges, alpha=alpha) / (1 - alpha) for alpha in (0.9, 0.99))
    # The curvature of Lin, Lu and Yau: the slope at 1, which is reached before.
    torch.testing.assert_close(near, nearer, rtol=0, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_lies_between_the_bounds(graph: nx.Graph) -> None:
    edges = edges_of(graph)
    value = ollivier_ricci(edges, len(graph))
    lower, upper = jost_liu(edges, len(graph))
    assert (lower <= value + 1e-12).all()
    assert (value <= upper + 1e-12).all()


def test_bounds_that_are_attained() -> None:
    for name in ("tree", "path", "star", "barbell"):
        edges = edges_of(NAMED[name])
        value, (lower, _) = ollivier_ricci(edges), jost_liu(edges)
        bridge = torch.tensor([e in set(nx.bridges(NAMED[name])) for e in NAMED[name].edges])
        torch.testing.assert_close(value[: bridge.numel()][bridge], lower[: bridge.numel()][bridge])
    edges = edges_of(NAMED["complete"])
    torch.testing.assert_close(ollivier_ricci(edges), jost_liu(edges)[1])
    lower, upper = jost_liu(torch.tensor([[0, 1, 1, 2], [0, 2, 2, 1]]))
    for bound in (lower, upper):
        assert bound.isnan().tolist() == [True, False, False, False]


def test_loops_repetitions_and_isolated_nodes() -> None:
    graph = nx.Graph(NAMED["hubs"].edges)
    edges = edges_of(graph)
    value = ollivier_ricci(edges)
    loops = torch.tensor([[0, 7], [0, 7]])
    more = torch.cat([loops, edges, edges[:, :5]], 1)
    found = ollivier_ricci(more, 90)
    assert found[:2].isnan().all()
    assert torch.equal(found[2:], torch.cat([value, value[:5]]))
    assert ollivier_ricci(torch.empty(2, 0, dtype=torch.long), 3).shape == (0,)
    assert ollivier_ricci(torch.empty(2, 0, dtype=torch.long)).shape == (0,)
    assert jost_liu(torch.empty(2, 0, dtype=torch.long))[0].shape == (0,)


def test_some_edges() -> None:
    edges = edges_of(NAMED["karate"])
    value = ollivier_ricci(edges)
    some = torch.tensor([5, 3, 100, 3])
    assert torch.equal(ollivier_ricci(edges, edges=some), value[some])
    mask = torch.arange(edges.size(1)) % 3 == 0
    assert torch.equal(ollivier_ricci(edges, edges=mask), value[mask])
    assert torch.equal(jost_liu(edges, edges=some)[0], jost_liu(edges)[0][some])


def test_directed_graphs_are_refused_or_taken_both_ways() -> None:
    one_way = edges_of(NAMED["petersen"])[:, :15]
    with pytest.raises(ValueError, match="undirected=True"):
        ollivier_ricci(one_way)
    both = ollivier_ricci(edges_of(NAMED["petersen"]))
    assert torch.equal(ollivier_ricci(one_way, undirected=True), both[:15])


def test_a_batch_gives_what_its_graphs_give() -> None:
    graphs = [Data(edge_index=edges_of(g), num_nodes=len(g)) for g in NAMED.values()]
    batch = Batch.from_data_list(graphs)
    for alpha in (0.0, 0.3):
        alone = [ollivier_ricci(g.edge_index, alpha=alpha) for g in graphs]
        found = ollivier_ricci(batch.edge_index, batch.num_nodes, alpha=alpha)
        assert torch.equal(found, torch.cat(alone))


def test_threads_do_not_matter() -> None:
    edges = edges_of(nx.barabasi_albert_graph(300, 4, seed=0))
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(ollivier_ricci(edges, alpha=0.3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_order_of_nodes_does_not_matter() -> None:
    graph = nx.barabasi_albert_graph(80, 4, seed=3)
    edges = edges_of(graph)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        ollivier_ricci(edges), ollivier_ricci(order[edges]), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", NAMED)
def test_kernel_and_reference_agree(name: str) -> None:
    graph = SimpleGraph.of_edges(edges_of(NAMED[name]))
    weight = torch.rand(graph.num_edges, dtype=torch.float64).add(0.1)[graph.edge]
    for mass, alpha in ((None, 0.0), (weight, 0.25)):
        args = (graph.rowptr, graph.col, mass, *some_ends(graph), alpha)
        torch.testing.assert_close(module._op(*args), module._reference(*args), rtol=0, atol=1e-9)


def test_opcheck() -> None:
    graph = SimpleGraph.of_edges(edges_of(NAMED["karate"]))
    for mass in (None, torch.ones(graph.col.numel(), dtype=torch.float64)):
        args = (graph.rowptr, graph.col, mass, *graph.ends.contiguous(), 0.5)
        torch.library.opcheck(torch.ops.gnnlib.ollivier_ricci.default, args)


def test_what_is_refused() -> None:
    edges = edges_of(NAMED["square"])
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            ollivier_ricci(edges, alpha=alpha)
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="positive and finite"):
            ollivier_ricci(edges, edge_weight=torch.full((8,), bad))
    with pytest.raises(ValueError, match="both directions"):
        ollivier_ricci(edges, edge_weight=torch.arange(1.0, 9.0))
    with pytest.raises(ValueError, match=r"must be \[8\]"):
        ollivier_ricci(edges, edge_weight=torch.ones(4))
    graph = SimpleGraph.of_edges(edges)
    with pytest.raises(ValueError, match="0 and 2 are not"):
        module._op(graph.rowptr, graph.col, None, torch.tensor([0]), torch.tensor([2]), 0.0)
    with pytest.raises(IndexError):
        module._op(graph.rowptr, graph.col, None, torch.tensor([0]), torch.tensor([4]), 0.0)


def test_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    edges = edges_of(NAMED["square"])
    ollivier_ricci(edges, progress=True)
    assert "ollivier_ricci" in capsys.readouterr().err
