"""Resistances are those of the pseudo-inverse, and estimates are near them."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch, Data
from transports import NAMED, edges_of, graphs

from gnnlib.rewiring.curvature import _laplacian, effective_resistance, total_effective_resistance
from gnnlib.rewiring.curvature._laplacian import Solver

named = pytest.mark.parametrize("name", NAMED)


def resistances(graph: nx.Graph) -> np.ndarray:
    """Of all pairs of nodes, by the attribute ``weight`` if there is one."""
    inverse = np.linalg.pinv(nx.laplacian_matrix(graph).toarray().astype(float))
    return np.add.outer(inverse.diagonal(), inverse.diagonal()) - 2 * inverse


def expected(graph: nx.Graph) -> Tensor:
    matrix = resistances(graph)
    found = torch.tensor([matrix[u, v] for u, v in graph.edges], dtype=torch.float64)
    return found.repeat(2)


def total(graph: nx.Graph) -> float:
    parts = [graph.subgraph(sorted(part)) for part in nx.connected_components(graph)]
    return sum(float(resistances(part).sum() / 2) for part in parts)


@settings(max_examples=30, deadline=None)
@given(graphs(), st.integers(0, 1000), st.booleans())
def test_are_those_of_the_pseudo_inverse(graph: nx.Graph, seed: int, weighted: bool) -> None:
    edge_weight = None
    if weighted:
        draw = torch.Generator().manual_seed(seed)
        weight = 10 ** (torch.rand(graph.number_of_edges(), generator=draw).double() * 4 - 2)
        for ends, w in zip(graph.edges, weight.tolist(), strict=True):
            graph.edges[ends]["weight"] = w
        edge_weight = weight.repeat(2)
    edges = edges_of(graph)
    found = effective_resistance(edges, len(graph), edge_weight=edge_weight)
    torch.testing.assert_close(found, expected(graph), rtol=1e-8, atol=1e-9)
    whole = total_effective_resistance(edges, len(graph), edge_weight=edge_weight)
    assert whole == pytest.approx(total(graph), rel=1e-8, abs=1e-9)
    share = found if edge_weight is None else found * edge_weight
    trees = len(graph) - nx.number_connected_components(graph)
    assert float(share.sum()) / 2 == pytest.approx(trees)


def fractions(size: int, weight: dict[tuple[int, int], float]) -> list[Fraction]:
    """Of the ends of all edges, by elimination in exact numbers."""
    found = []
    for u, v in weight:
        rows = [[Fraction(0)] * size for _ in range(size)]
        for (i, j), w in weight.items():
            rows[i][i] += Fraction(w)
            rows[j][j] += Fraction(w)
            rows[i][j] -= Fraction(w)
            rows[j][i] -= Fraction(w)
        # With the voltage 0 at v, that at u drives the current 1.
        order = [k for k in range(size) if k not in (u, v)] + [u]
        for at, k in enumerate(order):
            for i in order[at + 1 :]:
                share = rows[i][k] / rows[k][k]
                rows[i] = [a - share * b for a, b in zip(rows[i], rows[k], strict=True)]
        found.append(1 / rows[u][u])
    return found


@pytest.mark.parametrize("apart", [1e3, 1e10, 1e20])
@pytest.mark.parametrize(
    "graph",
    [nx.path_graph(3), nx.balanced_tree(2, 3), nx.barbell_graph(4, 1), nx.cycle_graph(7)],
)
def test_small_weights_beside_large_ones(graph: nx.Graph, apart: float) -> None:
    ends = [(min(edge), max(edge)) for edge in graph.edges]
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        power = torch.randint(3, (len(ends),), generator=draw).double() / 2 - 0.5
        weight = apart**power
        exact = fractions(len(graph), dict(zip(ends, weight.tolist(), strict=True)))
        for order in (torch.arange(len(graph)), torch.arange(len(graph)).flip(0)):
            edges = order[torch.tensor(ends).t()]
            found = effective_resistance(edges, edge_weight=weight, undirected=True)
            wanted = torch.tensor([float(value) for value in exact], dtype=torch.float64)
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_weights_too_far_apart() -> None:
    edges, weight = edges_of(nx.cycle_graph(4)), torch.tensor([1e-11, 1, 1, 1e11]).double()
    for call in (effective_resistance, total_effective_resistance):
        with pytest.raises(ValueError, match=r"factor of 1e\+20, .* got 1e-11 and 1e\+11"):
            call(edges, edge_weight=weight.repeat(2))
        with pytest.raises(ValueError, match=r"factor of 1e\+10.* raise `dense_limit`"):
            call(edges, edge_weight=weight.repeat(2), dense_limit=0)


def test_blocks_of_nodes() -> None:
    graph = nx.barabasi_albert_graph(150, 3, seed=0)
    edges = edges_of(graph)
    torch.testing.assert_close(effective_resistance(edges), expected(graph))
    assert total_effective_resistance(edges) == pytest.approx(total(graph))


def test_large_trees_are_exact() -> None:
    path = edges_of(nx.path_graph(3100))
    assert total_effective_resistance(path) == pytest.approx((3100**3 - 3100) / 6, rel=1e-12)
    graph = nx.random_labeled_tree(40, seed=0)
    draw = torch.Generator().manual_seed(0)
    weight = torch.rand(39, generator=draw).double().add(0.1).repeat(2)
    edges = edges_of(graph)
    for call in (effective_resistance, total_effective_resistance):
        exact = torch.as_tensor(call(edges, edge_weight=weight))
        found = torch.as_tensor(call(edges, edge_weight=weight, dense_limit=0))
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=0)


def test_values_that_are_known() -> None:
    tree = edges_of(nx.balanced_tree(3, 3))
    torch.testing.assert_close(effective_resistance(tree), torch.ones(tree.size(1)).double())
    for n in (3, 8):
        for graph, value in (
            (nx.complete_graph(n), 2 / n),
            (nx.cycle_graph(n), (n - 1) / n),
        ):
            found = effective_resistance(edges_of(graph))
            torch.testing.assert_close(found, torch.full_like(found, value))
        complete, path = edges_of(nx.complete_graph(n)), edges_of(nx.path_graph(n))
        assert total_effective_resistance(complete) == pytest.approx(n - 1)
        assert total_effective_resistance(path) == pytest.approx((n**3 - n) / 6)
    assert total_effective_resistance(torch.empty(2, 0, dtype=torch.long), 5) == 0


@pytest.mark.parametrize("name", ["tree", "grid", "hubs"])
def test_estimates_are_near(name: str) -> None:
    edges = edges_of(NAMED[name])
    exact = effective_resistance(edges)
    found = effective_resistance(edges, dense_limit=0)
    assert (found / exact - 1).abs().max() < 5 * 0.1
    whole = total_effective_resistance(edges, dense_limit=0)
    assert whole == pytest.approx(total_effective_resistance(edges), rel=3 * 0.1)


def test_the_error_falls_with_epsilon() -> None:
    edges = edges_of(nx.barabasi_albert_graph(200, 4, seed=0))
    exact = effective_resistance(edges)
    for epsilon in (0.4, 0.1):
        found = effective_resistance(edges, dense_limit=0, epsilon=epsilon)
        error = float((found / exact - 1).square().mean().sqrt())
        assert 0.6 * epsilon < error <= 1.2 * epsilon


def test_a_seed_is_a_result_alone_and_in_a_batch() -> None:
    graphs = [nx.barabasi_albert_graph(n, 3, seed=n) for n in (30, 41)] + [nx.path_graph(2)]
    parts = [Data(edge_index=edges_of(graph), num_nodes=len(graph) + 2) for graph in graphs]
    batch = Batch.from_data_list(parts)
    for dense_limit in (0, 35, 100):
        options = {"dense_limit": dense_limit, "epsilon": 0.5}
        alone = [effective_resistance(part.edge_index, **options) for part in parts]
        found = effective_resistance(batch.edge_index, batch.num_nodes, **options)
        torch.testing.assert_close(found, torch.cat(alone), rtol=1e-12, atol=0)
        wholes = [total_effective_resistance(part.edge_index, **options) for part in parts]
        whole = total_effective_resistance(batch.edge_index, batch.num_nodes, **options)
        assert whole == pytest.approx(sum(wholes), rel=1e-12)
    edges = parts[0].edge_index
    drawn = [effective_resistance(edges, dense_limit=0, epsilon=0.5, seed=s) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_of_a_large_weighted_graph() -> None:
    graph = nx.barabasi_albert_graph(150, 2, seed=4)
    draw = torch.Generator().manual_seed(0)
    weight = 10 ** (torch.rand(graph.number_of_edges(), generator=draw).double() * 4 - 2)
    edges, both = edges_of(graph), weight.repeat(2)
    exact = effective_resistance(edges, edge_weight=both)
    found = effective_resistance(edges, edge_weight=both, dense_limit=0)
    assert (found / exact - 1).square().mean().sqrt() < 0.12


@named
@pytest.mark.parametrize("fill", [-1, 2**20])
def test_solves_linear_systems(name: str, fill: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_laplacian, "_FILL", fill)
    graph = nx.Graph(NAMED[name].edges)
    edges = edges_of(graph)[:, : graph.number_of_edges()]
    draw = torch.Generator().manual_seed(0)
    wanted = torch.randn(len(graph), 4, generator=draw, dtype=torch.float64)
    wanted[:, 3] = 0
    matrix = torch.from_numpy(nx.laplacian_matrix(graph, range(len(graph))).toarray()).double()
    found = Solver(edges, torch.ones(edges.size(1)).double(), len(graph))(matrix @ wanted)
    torch.testing.assert_close(matrix @ found, matrix @ wanted, rtol=0, atol=1e-5)
    assert found[:, 3].eq(0).all()


def test_what_is_refused() -> None:
    edges = edges_of(nx.cycle_graph(4))
    for call in (effective_resistance, total_effective_resistance):
        for epsilon in (0.0, -1.0, float("nan"), float("inf"), "1", True):
            with pytest.raises(ValueError, match="`epsilon` must be positive"):
                call(edges, epsilon=epsilon)
        with pytest.raises(ValueError, match="`dense_limit` must be a whole number"):
            call(edges, dense_limit=1.5)
        with pytest.raises(ValueError, match="`seed` must be a whole number"):
            call(edges, seed="0")
        with pytest.raises(TypeError, match=r"`edge_weight` must be a tensor \[E\], got list"):
            call(edges, edge_weight=[1.0] * 8)
        with pytest.raises(ValueError, match="`edge_weight` must be positive"):
            call(edges, edge_weight=torch.zeros(8))
        with pytest.raises(ValueError, match="both directions"):
            call(edges, edge_weight=torch.arange(1.0, 9.0))
        with pytest.raises(ValueError, match="undirected=True"):
            call(edges[:, :4])
