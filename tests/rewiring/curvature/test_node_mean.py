"""A node's curvature is the mean of its edges'."""

import networkx as nx
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from transports import edges_of, graphs

from gnnlib.rewiring.curvature import forman, node_mean


@settings(max_examples=30, deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_is_the_mean(graph: nx.Graph, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    value = torch.randn(graph.number_of_edges(), generator=draw, dtype=torch.float64)
    for ends, one in zip(graph.edges, value.tolist(), strict=True):
        graph.edges[ends]["value"] = one
    own = [[edge["value"] for edge in graph[node].values()] for node in graph]
    expected = torch.tensor([sum(some) / max(len(some), 1) for some in own], dtype=torch.float64)
    found = node_mean(value.repeat(2), edges_of(graph), len(graph))
    torch.testing.assert_close(found, expected.reshape(-1))
    one_way = edges_of(graph)[:, : value.numel()]
    torch.testing.assert_close(node_mean(value, one_way, len(graph)), found)


def test_loops_and_repetitions_count_for_nothing() -> None:
    edges = torch.tensor([[0, 1, 1, 2, 1, 0, 3], [1, 0, 2, 1, 1, 1, 3]])
    value = forman(edges, 5)
    assert value.isnan().sum() == 2
    assert node_mean(value, edges, 5).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_differing_values_of_an_edge_are_averaged() -> None:
    edges = torch.tensor([[0, 1, 1], [1, 0, 2]])
    assert node_mean(torch.tensor([1.0, 3.0, 8.0]), edges).tolist() == [2.0, 5.0, 8.0]


def test_what_is_refused() -> None:
    edges = edges_of(nx.cycle_graph(4))
    with pytest.raises(TypeError, match=r"`curvature` must be a tensor \[E\], got list"):
        node_mean([1.0] * 8, torch.zeros(2, 8, dtype=torch.long))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be \[8\].*of all edges"):
        node_mean(torch.ones(4), edges)
