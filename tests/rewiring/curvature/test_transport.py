"""Plans carry what they must, for the least work."""

import networkx as nx
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from transports import NAMED, edges_of, graphs, some_ends, walk

from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature import TransportPlan, ollivier_ricci, transport_plan
from gnnlib.rewiring.curvature import _transport as module


def check(graph: nx.Graph, plan: TransportPlan, alpha: float) -> None:
    """Marginals, distances and cost of the plans of all edges, in the order of ``edges_of``."""
    edges = edges_of(graph)
    weight = nx.get_edge_attributes(graph, "weight")
    given = torch.tensor([*weight.values()] * 2, dtype=torch.float64) if weight else None
    kappa = ollivier_ricci(edges, len(graph), alpha=alpha, edge_weight=given)
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    rows = list(zip(*(part.tolist() for part in plan), strict=True))
    assert rows == sorted(rows, key=lambda row: row[:3])
    assert len({row[:3] for row in rows}) == len(rows)
    for edge, (u, v) in enumerate(edges.t().tolist()):
        left = walk(graph, u, alpha) - walk(graph, v, alpha)
        moved = [row for row in rows if row[0] == edge]
        for _, p, q, amount, far in moved:
            assert amount > 0
            assert far == distance[p][q]
            left[p] -= amount
            left[q] += amount
        assert abs(left).max() < 1e-9
        work = sum(amount * far for *_, amount, far in moved)
        assert work == pytest.approx(1 - float(kappa[edge]), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(graphs(), st.sampled_from([0.0, 0.5, 0.3]), st.booleans(), st.integers(0, 100))
def test_is_optimal(graph: nx.Graph, alpha: float, weighted: bool, seed: int) -> None:
    given = None
    if weighted:
        draw = torch.Generator().manual_seed(seed)
        weight = torch.rand(graph.number_of_edges(), generator=draw, dtype=torch.float64) + 0.1
        for (u, v), w in zip(graph.edges, weight.tolist(), strict=True):
            graph[u][v]["weight"] = w
        given = weight.repeat(2)
    plan = transport_plan(edges_of(graph), len(graph), alpha=alpha, edge_weight=given)
    check(graph, plan, alpha)


@pytest.mark.parametrize("name", NAMED)
def test_is_optimal_on_named_graphs(name: str) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(range(len(NAMED[name])))
    graph.add_edges_from(NAMED[name].edges)
    for alpha in (0.0, 0.5):
        check(graph, transport_plan(edges_of(graph), alpha=alpha), alpha)


@pytest.mark.parametrize("name", NAMED)
def test_the_reference_is_optimal_too(name: str) -> None:
    graph = SimpleGraph.of_edges(edges_of(NAMED[name]))
    ends = some_ends(graph)
    args = (graph.rowptr, graph.col, None, *ends, 0.0)
    work = []
    for op in (module.plans_op, module._reference):
        ptr, pairs, amount, distance = op(*args)
        edge = torch.arange(ends.size(1)).repeat_interleave(ptr.diff())
        assert pairs.shape == (2, amount.numel())
        moved = torch.zeros(ends.size(1), dtype=torch.float64)
        work.append(moved.index_add(0, edge, amount * distance))
    torch.testing.assert_close(*work, rtol=0, atol=1e-9)


def test_of_some_edges_with_loops_and_directions() -> None:
    edges = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 3], [0, 1, 0, 2, 1, 3, 3, 2]])
    plan = transport_plan(edges, edges=torch.tensor([4, 0, 3]))
    assert plan.edge.tolist() == [4, 4, 3, 3]
    assert plan.source.tolist() == [1, 3, 0, 2]
    assert plan.target.tolist() == [0, 2, 1, 3]
    assert plan.amount.tolist() == [0.5] * 4
    assert plan.distance.tolist() == [1] * 4
    nothing = transport_plan(torch.empty(2, 0, dtype=torch.long), 3)
    assert [part.numel() for part in nothing] == [0] * 5
    assert transport_plan(edges, alpha=1.0, edges=torch.tensor([1])).amount.tolist() == [1.0]
    with pytest.raises(ValueError, match="alpha"):
        transport_plan(edges, alpha=2.0)


def test_is_the_same_in_a_batch() -> None:
    alone = SimpleGraph.of_edges(edges_of(NAMED["hubs"]))
    ids = torch.arange(alone.num_edges)
    pairs = module.farthest_transport(alone, ids)
    joined = nx.disjoint_union_all([NAMED["karate"], NAMED["hubs"], NAMED["grid"]])
    batch = SimpleGraph.of_edges(edges_of(joined))
    start = NAMED["karate"].number_of_edges()
    found = module.farthest_transport(batch, ids + start) - len(NAMED["karate"])
    assert torch.equal(found, pairs)
    assert torch.equal(module.farthest_transport(alone, ids[7:9]), pairs[:, 7:9])


def test_the_farthest_is_the_largest_work_of_the_plan() -> None:
    for name, graph in NAMED.items():
        simple = SimpleGraph.of_edges(edges_of(graph))
        ids = torch.arange(simple.num_edges)
        pairs = module.farthest_transport(simple, ids)
        plan = transport_plan(simple.ends, undirected=True)
        for edge in ids.tolist():
            rows = plan.edge == edge
            if not rows.any():
                assert pairs[:, edge].tolist() == [-1, -1], name
                continue
            work = (plan.amount * plan.distance)[rows]
            best = work > work.max() - 1e-9
            ends = zip(
                plan.source[rows][best].tolist(), plan.target[rows][best].tolist(), strict=True
            )
            assert tuple(pairs[:, edge].tolist()) == min(ends), name


def test_where_nothing_moves() -> None:
    # Half of the mass stays, and the two ends of a lone edge swap the other half: equal walks.
    lone = SimpleGraph.of_edges(torch.tensor([[0], [1]]), undirected=True)
    ids = torch.tensor([0])
    assert module.farthest_transport(lone, ids, 0.5).tolist() == [[-1], [-1]]
    assert module.farthest_transport(lone, ids, 0.0).tolist() == [[1], [0]]
    assert module.farthest_transport(lone, ids[:0]).shape == (2, 0)


def test_a_bridge_is_bypassed() -> None:
    barbell = nx.barbell_graph(5, 0)
    graph = SimpleGraph.of_edges(edges_of(barbell))
    bridge = graph.edge_id(torch.tensor([[4], [5]]))
    p, q = module.farthest_transport(graph, bridge).flatten().tolist()
    assert p in range(4)
    assert q in range(6, 10)


def test_opcheck() -> None:
    graph = SimpleGraph.of_edges(edges_of(NAMED["karate"]))
    args = (graph.rowptr, graph.col, None, *graph.ends.contiguous(), 0.5)
    torch.library.opcheck(torch.ops.gnnlib.transport_plans.default, args)
