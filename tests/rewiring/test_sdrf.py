"""SDRF is the paper's algorithm, step by step, whatever it keeps between steps."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gnnlib.rewiring import SDRF  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric import transforms
from torch_geometric.utils import to_undirected

from gnnlib.rewiring import _sdrf as module
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature import balanced_forman
from gnnlib.testing import Sample, assert_op

INF = float("inf")
HALF = Fraction(1, 2)


# -- the oracle ---------------------------------------------------------------------------------


def curvature(graph: nx.Graph, i: int, j: int) -> Fraction:
    """Definition 1 of the paper, in exact numbers."""
    n_i, n_j = set(graph[i]), set(graph[j])
    if min(len(n_i), len(n_j)) == 1:
        return Fraction(0)
    gammas = []
    for own, other, end in ((n_i, n_j, i), (n_j, n_i, j)):
        gammas += [len((set(graph[k]) & other) - own - {end}) for k in own - other - {i, j}]
    most, d_i, d_j = max(len(n_i), len(n_j)), len(n_i), len(n_j)
    triangles = len(n_i & n_j)
    found = Fraction(2, d_i) + Fraction(2, d_j) - 2
    found += 2 * Fraction(triangles, most) + Fraction(triangles, min(d_i, d_j))
    boxes = sum(gamma > 0 for gamma in gammas)
    return found + (Fraction(boxes, max(gammas) * most) if boxes else 0)


def edges_of(graph: nx.Graph) -> list[tuple[int, int]]:
    return sorted((min(edge), max(edge)) for edge in graph.edges)


def gains(graph: nx.Graph, i: int, j: int) -> dict[tuple[int, int], Fraction]:
    """Of all pairs that may be added for an edge."""
    found = {}
    for k, m in itertools.product({i, *graph[i]}, {j, *graph[j]}):
        if k != m and not graph.has_edge(k, m):
            more = graph.copy()
            more.add_edge(k, m)
            found[min(k, m), max(k, m)] = curvature(more, i, j) - curvature(graph, i, j)
    return found


def oracle(graph: nx.Graph, steps: int, bound: Fraction, remove: bool = True) -> nx.Graph:
    """Algorithm 1 of the paper where tau is infinite."""
    graph = graph.copy()
    for _ in range(steps if graph.number_of_edges() else 0):
        edge = min(edges_of(graph), key=lambda e: (curvature(graph, *e), e))
        offers = gains(graph, *edge)
        if offers:
            graph.add_edge(*min(offers, key=lambda pair: (-offers[pair], pair)))
        top = min(edges_of(graph), key=lambda e: (-curvature(graph, *e), e))
        if remove and curvature(graph, *top) > bound:
            graph.remove_edge(*top)
        if graph.number_of_edges() == 0:
            break
    return graph


# -- graphs -------------------------------------------------------------------------------------


def data_of(graph: nx.Graph) -> Data:
    edges = torch.tensor(edges_of(graph), dtype=torch.long).reshape(-1, 2).t()
    size = graph.number_of_nodes()
    return Data(edge_index=to_undirected(edges, num_nodes=size), num_nodes=size)


def rewired(graph: nx.Graph, *args: object, **options: object) -> list[tuple[int, int]]:
    out = SDRF(*args, **options)(data_of(graph))  # type: ignore[arg-type]
    ends = SimpleGraph.of_edges(out.edge_index, out.num_nodes).ends
    return [tuple(pair) for pair in ends.T.tolist()]


def drawn_graphs(most: int) -> st.SearchStrategy[nx.Graph]:
    sizes, shares = st.integers(0, most), st.sampled_from([0.2, 0.4, 0.7, 1.0])
    return st.builds(nx.gnp_random_graph, sizes, shares, seed=st.integers(0, 1000))


def seeded_graph(size: int, num_edges: int, seed: int) -> nx.Graph:
    return nx.gnm_random_graph(size, num_edges, seed=seed)


# -- the method ---------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    drawn_graphs(8),
    st.integers(0, 4),
    st.sampled_from([Fraction(-1), Fraction(0), HALF, Fraction(1)]),
    st.booleans(),
)
def test_it_is_the_paper(graph: nx.Graph, steps: int, bound: Fraction, remove: bool) -> None:
    found = rewired(graph, steps, tau=INF, removal_bound=float(bound), remove_edges=remove)
    assert found == edges_of(oracle(graph, steps, bound, remove))


@pytest.mark.parametrize("seed", range(4))
def test_many_steps(seed: int) -> None:
    graph = seeded_graph(14, 24 + 6 * seed, seed)
    assert rewired(graph, 15, tau=INF) == edges_of(oracle(graph, 15, HALF))


def arrays(graphs: list[nx.Graph], *options: object) -> Sample:
    """What the operator is called with."""
    batch = Batch.from_data_list([data_of(graph) for graph in graphs])
    simple = SimpleGraph.of_edges(batch.edge_index, batch.num_nodes, ptr=batch.ptr)
    return Sample((simple.rowptr, simple.col, simple.ptr, *options))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(drawn_graphs(7), min_size=1, max_size=3),
    st.integers(0, 6),
    st.sampled_from([0.0, 1.0, 30.0, 1e300, INF]),
    st.sampled_from([-1.0, 0.5]),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 5]),
)
def test_the_kernel_is_its_reference(
    graphs: list[nx.Graph],
    steps: int,
    tau: float,
    bound: float,
    remove: bool,
    seed: int,
    first: int,
) -> None:
    args = arrays(graphs, first, first + steps, tau, bound, remove, seed).args
    assert torch.equal(module._op(*args), module._reference(*args))


# The reference finds every curvature anew in every step: these are the same only if none is stale.
@pytest.mark.parametrize("tau", [0.0, 5.0, INF])
@pytest.mark.parametrize("kind", ["random", "hubs", "grid", "clusters"])
def test_no_curvature_is_stale(kind: str, tau: float) -> None:
    graph = {
        "random": lambda: seeded_graph(40, 80, 1),
        "hubs": lambda: nx.barabasi_albert_graph(40, 3, seed=1),
        "grid": lambda: nx.convert_node_labels_to_integers(nx.grid_2d_graph(6, 6)),
        "clusters": lambda: nx.connected_caveman_graph(6, 6),
    }[kind]()
    args = arrays([graph], 0, 12, tau, 0.5, True, 3).args
    assert torch.equal(module._op(*args), module._reference(*args))


def operator(rowptr: Tensor, col: Tensor, ptr: Tensor, *options: object) -> Tensor:
    found: Tensor = module._op(*(t.contiguous() for t in (rowptr, col, ptr)), *options)
    return found


def test_the_operator() -> None:
    sample = arrays([seeded_graph(8, 12, 0), nx.path_graph(4)], 0, 3, 2.0, 0.5, True, 1)
    assert_op(operator, module._reference, [sample], opcheck=[torch.ops.gnnlib.sdrf.default])


@pytest.mark.parametrize("tau", [0.0, 2.0, INF])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_steps_at_once_change_nothing(
    size: int, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = [seeded_graph(30, 60, 1), nx.complete_graph(6), nx.path_graph(4), nx.empty_graph(2)]
    data = [data_of(graph) for graph in graphs]
    for removal_bound in (-1.0, 0.5):
        flow = SDRF(20, tau=tau, removal_bound=removal_bound, seed=3)
        expected = [found.edge_index for found in flow(data)]
        with monkeypatch.context() as patch:
            patch.setattr(module, "_AT_ONCE", size)
            for found, wanted in zip(flow(data), expected, strict=True):
                assert torch.equal(found.edge_index, wanted)


def test_a_step_that_undoes_itself_is_the_last() -> None:
    # A flow that went on for so many steps would not end in a day.
    rowptr, col, ptr = arrays([nx.complete_graph(6)]).args
    ends = module._op(rowptr, col, ptr, 0, 2**62, INF, 0.5, True, 0)
    assert torch.equal(ends, module._reference(rowptr, col, ptr, 0, 50, INF, 0.5, True, 0))
    assert ends.size(1) == 14


def test_it_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: object) -> Tensor:
        calls.append(args[3:5])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return op(*args)

    op = module._op
    monkeypatch.setattr(module, "_op", counted)
    with pytest.raises(KeyboardInterrupt):
        SDRF(10**12)(data_of(nx.path_graph(2)))
    assert calls == [(0, 2**16), (2**16, 2**17), (2**17, 3 * 2**16)]


def test_the_first_edge_supported_is_the_least_curved() -> None:
    graph = nx.barbell_graph(5, 0)  # the bridge 4-5
    ends = data_of(graph).edge_index
    values = balanced_forman(ends)
    assert ends[:, values.argmin()].tolist() in ([4, 5], [5, 4])
    (new,) = set(rewired(graph, 1, tau=INF, remove_edges=False)) - set(edges_of(graph))
    offers = gains(graph, 4, 5)
    assert offers[new] == max(offers.values())


def test_pairs_are_drawn_by_what_they_gain() -> None:
    graph = nx.Graph([(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 4), (3, 6), (5, 7)])
    edge = min(edges_of(graph), key=lambda e: (curvature(graph, *e), e))
    offers, tau, draws = gains(graph, *edge), 3.0, 3000
    weight = {pair: math.exp(tau * float(gain)) for pair, gain in offers.items()}
    total, before = sum(weight.values()), set(edges_of(graph))
    rowptr, col, ptr = arrays([graph]).args
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(draws):
        ends = module._op(rowptr, col, ptr, 0, 1, tau, 0.5, False, seed)
        seen.update({tuple(pair) for pair in ends.T.tolist()} - before)
    assert set(seen) <= set(offers)
    for pair, own in weight.items():
        share = own / total
        assert abs(seen[pair] / draws - share) < 5 * math.sqrt(share * (1 - share) / draws)


def test_a_huge_tau_takes_a_best_pair() -> None:
    graph = seeded_graph(12, 20, 5)
    edge = min(edges_of(graph), key=lambda e: (curvature(graph, *e), e))
    offers = gains(graph, *edge)
    for seed in range(5):
        found = rewired(graph, 1, tau=1e308, remove_edges=False, seed=seed)
        (new,) = set(found) - set(edges_of(graph))
        assert offers[new] == max(offers.values())


@settings(max_examples=15, deadline=None)
@given(drawn_graphs(12), st.integers(0, 3))
def test_no_component_is_left_in_two(graph: nx.Graph, seed: int) -> None:
    after = nx.Graph(rewired(graph, 20, removal_bound=0.0, seed=seed))
    after.add_nodes_from(graph)
    components = [sorted(nx.connected_components(one), key=min) for one in (after, graph)]
    assert components[0] == components[1]


def test_edges_that_hold_a_component_together_can_be_kept() -> None:
    graph = nx.from_edgelist([(0, 1), (2, 3), (4, 5)])
    assert rewired(graph, 2, removal_bound=-1.0) == [(4, 5)]
    assert rewired(graph, 2, removal_bound=-1.0, protect_connectivity=True) == edges_of(graph)


# -- graphs with little to do -------------------------------------------------------------------


def test_a_complete_graph_has_nothing_to_add() -> None:
    graph = nx.complete_graph(5)
    assert rewired(graph, 3, remove_edges=False) == edges_of(graph)
    assert rewired(graph, 3, removal_bound=1.25) == edges_of(graph)  # n / (n - 1), no more
    assert rewired(graph, 1) == edges_of(graph)[1:]


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_graph_without_edges_stays(size: int) -> None:
    assert rewired(nx.empty_graph(size), 10) == []


def test_a_single_edge_has_nothing_to_add() -> None:
    assert rewired(nx.path_graph(2), 10) == [(0, 1)]
    # Its curvature is 0, as of all edges to a node of degree 1.
    assert rewired(nx.path_graph(2), 10, removal_bound=-1.0) == []


def test_ends_of_degree_one() -> None:
    # All edges of a star are equal: the first, 0-1, gets a triangle.
    star = nx.star_graph(4)
    assert rewired(star, 1, tau=INF, remove_edges=False) == sorted([*edges_of(star), (1, 2)])
    # The new edge has a curvature of 1.5, the largest, and goes again.
    assert rewired(star, 1, tau=INF) == edges_of(star)


def test_isolated_nodes_and_components_stay_apart() -> None:
    graph = nx.disjoint_union(nx.cycle_graph(6), nx.cycle_graph(5))
    graph.add_nodes_from([11, 12])
    after = nx.Graph(rewired(graph, 8))
    assert not any(u < 6 <= v for u, v in edges_of(after))
    assert not {11, 12} & set(after)


def test_no_steps_change_nothing() -> None:
    data = data_of(seeded_graph(10, 20, 0))
    out = SDRF(0)(data)
    assert torch.equal(out.edge_index, data.edge_index)
    assert out.parent_id.tolist() == list(range(data.num_edges))
    assert out.edge_type.unique().tolist() == [0]


# -- as a transform -----------------------------------------------------------------------------


def test_a_batch_is_its_graphs() -> None:
    graphs = [data_of(seeded_graph(n, 2 * n, n)) for n in (9, 5, 12)]
    graphs.insert(1, data_of(nx.empty_graph(2)))
    rewire = SDRF(6, tau=2.0, seed=4)
    alone = [rewire(graph).edge_index for graph in graphs]
    batch = rewire(Batch.from_data_list(graphs)).to_data_list()
    for one, in_batch, in_list in zip(alone, batch, rewire(graphs), strict=True):
        assert torch.equal(one, in_batch.edge_index)
        assert torch.equal(one, in_list.edge_index)


def test_threads_and_seeds() -> None:
    data, before = data_of(seeded_graph(400, 2000, 0)), torch.get_num_threads()

    def found(seed: int) -> Tensor:
        return SDRF(10, tau=2.0, seed=seed)(data).edge_index

    first = found(0)
    try:
        torch.set_num_threads(1)
        assert torch.equal(found(0), first)
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(found(1), first)
    assert torch.equal(found(2**64), first)  # seeds count modulo 2^64


def test_it_is_a_transform() -> None:
    rewire = SDRF(3, tau=2)
    assert repr(rewire) == (
        "SDRF(max_steps=3, tau=2.0, removal_bound=0.5, remove_edges=True, undirected=None, "
        "protect_connectivity=False, fill=None, relation=1, seed=0)"
    )
    out = transforms.Compose([rewire, SDRF(1, relation=2)])(data_of(nx.barbell_graph(5, 2)))
    assert set(out.edge_type.tolist()) == {0, 1, 2}
    assert out.is_undirected()


@pytest.mark.parametrize("steps", [-1, 1.5, True, "2"])
def test_a_number_of_steps_is_whole(steps: object) -> None:
    with pytest.raises(ValueError, match="`max_steps` must be a whole number of at least 0, got"):
        SDRF(steps)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    for tau in (-1.0, float("nan"), -INF):
        with pytest.raises(ValueError, match=r"`tau` must be a number from 0 to inf"):
            SDRF(1, tau=tau)
    with pytest.raises(
        ValueError, match="`removal_bound` must be a number from -inf to inf, got nan"
    ):
        SDRF(1, removal_bound=float("nan"))
    with pytest.raises(ValueError, match="`remove_edges` must be True or False, got 1"):
        SDRF(1, remove_edges=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SDRF is defined on undirected graphs"):
        SDRF(1)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
