"""Forman curvatures are those of their definitions, on every kind of graph."""

from fractions import Fraction
from math import sqrt

import networkx as nx
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from transports import NAMED, edges_of, graphs

from gnnlib.rewiring.curvature import augmented_forman, balanced_forman, forman

named = pytest.mark.parametrize("name", NAMED)


def balanced(graph: nx.Graph) -> list[float]:
    """Definition 1 of Topping et al., word for word, in fractions."""
    found = []
    for i, j in graph.edges:
        n_i, n_j = set(graph[i]), set(graph[j])
        low, high = sorted((len(n_i), len(n_j)))
        if low == 1:
            found.append(0.0)
            continue
        box_i = {k for k in n_i - n_j - {j} if (set(graph[k]) & n_j) - n_i - {i}}
        box_j = {k for k in n_j - n_i - {i} if (set(graph[k]) & n_i) - n_j - {j}}
        value = Fraction(2, low) + Fraction(2, high) - 2
        value += Fraction(2 * len(n_i & n_j), high) + Fraction(len(n_i & n_j), low)
        if box_i or box_j:
            most = max(
                *(len(set(graph[k]) & (n_j - n_i - {i})) for k in box_i),
                *(len(set(graph[w]) & (n_i - n_j - {j})) for w in box_j),
            )
            value += Fraction(len(box_i) + len(box_j), most * high)
        found.append(float(value))
    return found


def augmented(graph: nx.Graph, longest: int) -> list[float]:
    """Over all simple cycles of the graph."""
    value = {frozenset(e): 4 - graph.degree[e[0]] - graph.degree[e[1]] for e in graph.edges}
    for cycle in nx.simple_cycles(graph, length_bound=longest):
        for end in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            value[frozenset(end)] += {3: 3, 4: 2}[len(cycle)]
    return [float(value[frozenset(e)]) for e in graph.edges]


def same(found: torch.Tensor, expected: list[float]) -> None:
    both = torch.tensor(expected, dtype=torch.float64).repeat(2)
    torch.testing.assert_close(found, both, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_are_their_definitions(graph: nx.Graph) -> None:
    edges, size = edges_of(graph), len(graph)
    same(balanced_forman(edges, size), balanced(graph))
    for cycles in (3, 4):
        same(augmented_forman(edges, size, cycles=cycles), augmented(graph, cycles))
    same(forman(edges, size), [4.0 - graph.degree[u] - graph.degree[v] for u, v in graph.edges])


@named
def test_are_their_definitions_on_named_graphs(name: str) -> None:
    graph = nx.Graph(NAMED[name].edges)
    same(balanced_forman(edges_of(graph)), balanced(graph))
    for cycles in (3, 4):
        found = augmented_forman(edges_of(graph), cycles=cycles)
        same(found, augmented(graph, cycles))


def test_balanced_values_that_are_known() -> None:
    def value(graph: nx.Graph) -> torch.Tensor:
        return balanced_forman(edges_of(nx.convert_node_labels_to_integers(graph)))

    for graph, expected in (
        (nx.cycle_graph(3), 1.5),
        (nx.cycle_graph(4), 1.0),
        (nx.cycle_graph(5), 0.0),
        (nx.cycle_graph(9), 0.0),
        (nx.complete_graph(5), 1.25),
        (nx.complete_graph(12), 12 / 11),
        (nx.grid_2d_graph(5, 6, periodic=True), 0.0),
        (nx.star_graph(7), 0.0),
    ):
        found = value(graph)
        torch.testing.assert_close(found, torch.full_like(found, expected))
    tree = nx.balanced_tree(3, 3)
    for (u, v), found in zip(tree.edges, value(tree).tolist(), strict=False):
        low, high = sorted((tree.degree[u], tree.degree[v]))
        assert found == pytest.approx(0 if low == 1 else 2 / low + 2 / high - 2)


@settings(max_examples=30, deadline=None)
@given(graphs(8), st.integers(0, 1000), st.booleans(), st.booleans())
def test_weights(graph: nx.Graph, seed: int, of_edges: bool, of_nodes: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    shape = {"generator": draw, "dtype": torch.float64}
    edge = torch.rand(graph.number_of_edges(), **shape) + 0.1
    node = torch.rand(len(graph), **shape) + 0.1
    given_edge, given_node = edge.repeat(2) if of_edges else None, node if of_nodes else None
    weight = edge.tolist() if of_edges else [1.0] * len(edge)
    for ends, w in zip(graph.edges, weight, strict=True):
        graph.edges[ends]["w"] = w
    mass = node.tolist() if of_nodes else [1.0] * len(graph)
    expected = []
    for (u, v), w in zip(graph.edges, weight, strict=True):
        value = mass[u] / w + mass[v] / w
        for end, other in ((u, v), (v, u)):
            value -= sum(
                mass[end] / sqrt(w * graph[end][k]["w"]) for k in set(graph[end]) - {other}
            )
        expected.append(w * value)
    found = forman(edges_of(graph), len(graph), edge_weight=given_edge, node_weight=given_node)
    same(found, expected)


def test_what_is_refused() -> None:
    edges = edges_of(nx.cycle_graph(4))
    for cycles in (2, 5, "3"):
        with pytest.raises(ValueError, match="`cycles` must be 3"):
            augmented_forman(edges, cycles=cycles)  # type: ignore[arg-type]
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`edge_weight` must be positive"):
            forman(edges, edge_weight=torch.full((8,), bad))
        with pytest.raises(ValueError, match="`node_weight` must be positive"):
            forman(edges, node_weight=torch.full((4,), bad))
    with pytest.raises(ValueError, match="both directions"):
        forman(edges, edge_weight=torch.arange(1.0, 9.0))
    with pytest.raises(TypeError, match=r"`node_weight` must be a tensor \[N\], got list"):
        forman(torch.tensor([[0], [1]]), undirected=True, node_weight=[1.0, 1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`node_weight` must be \[4\]"):
        forman(edges, node_weight=torch.ones(5))
