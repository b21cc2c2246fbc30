"""The figures of a report, against networkx and dense matrices."""

import dataclasses

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import KarateClub
from torch_geometric.utils import from_networkx

from gnnlib.rewiring import _report, _spectral_gap, compare, curvature, describe
from gnnlib.rewiring.curvature import _laplacian


def data_of(graph: nx.Graph) -> Data:
    data = from_networkx(nx.convert_node_labels_to_integers(graph))
    return Data(edge_index=data.edge_index, num_nodes=len(graph))


def gap_of(graph: nx.Graph) -> float:
    largest = graph.subgraph(max(nx.connected_components(graph), key=len))
    return sorted(np.linalg.eigvalsh(nx.normalized_laplacian_matrix(largest).toarray()))[1]


GRAPHS = {
    "path": nx.path_graph(7),
    "complete": nx.complete_graph(5),
    "star": nx.star_graph(6),
    "barbell": nx.barbell_graph(5, 2),
    "parts": nx.disjoint_union(nx.cycle_graph(6), nx.path_graph(3)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_figures_of_a_graph(name: str) -> None:
    graph = GRAPHS[name]
    found = describe(data_of(graph))
    assert found.num_graphs == 1
    assert found.num_nodes == len(graph)
    assert found.num_edges == graph.number_of_edges()
    assert found.num_components == nx.number_connected_components(graph)
    assert found.mean_degree == pytest.approx(2 * graph.number_of_edges() / len(graph))
    assert found.spectral_gap == pytest.approx(gap_of(graph))
    distances = [nx.resistance_distance(graph.subgraph(c)) for c in nx.connected_components(graph)]
    total = sum(sum(row.values()) for part in distances for row in part.values()) / 2
    assert found.effective_resistance == pytest.approx(total)
    values = curvature.balanced_forman(data_of(graph).edge_index, len(graph)).numpy()
    assert found.curvature == pytest.approx(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    assert found.homophily is None


@pytest.mark.parametrize("graph", [nx.path_graph(90), nx.barabasi_albert_graph(120, 3, seed=0)])
def test_the_gap_of_a_large_graph(graph: nx.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spectral_gap, "DENSE", 50)
    monkeypatch.setattr(_spectral_gap, "RESTARTS", 3)  # a path then needs the inverse
    assert describe(data_of(graph)).spectral_gap == pytest.approx(gap_of(graph), rel=1e-4)


def test_what_would_take_minutes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(nx.barabasi_albert_graph(120, 3, seed=0))
    exact = describe(data)
    assert not exact.effective_resistance_estimated
    monkeypatch.setattr(_report, "DENSE_RESISTANCE", 50)
    about = describe(data)
    assert about.effective_resistance_estimated
    assert about.effective_resistance == pytest.approx(exact.effective_resistance, rel=0.2)
    assert "≈ " in str(compare(data, data))
    assert not describe(data_of(nx.path_graph(90))).effective_resistance_estimated
    for name, value in (("FILL", -1), ("DENSE", 50), ("RESTARTS", 1)):
        monkeypatch.setattr(_spectral_gap, name, value)
    for module in (_report, _spectral_gap):
        monkeypatch.setattr(module, "MOST_EDGES_SOLVED", 100)
    found = describe(data)
    assert found.spectral_gap is found.effective_resistance is None
    for module in (_report, _spectral_gap):
        monkeypatch.setattr(module, "MOST_EDGES_SOLVED", 1000)
    assert describe(data_of(nx.grid_2d_graph(30, 8))).spectral_gap is None
    monkeypatch.setattr(_laplacian, "_FILL", -1)
    monkeypatch.setattr(_report, "MOST_STEPS", 1)
    found = describe(data)
    assert found.effective_resistance is None
    assert "≈" not in str(compare(data, data))


def test_several_graphs() -> None:
    graphs = [data_of(graph) for graph in GRAPHS.values()]
    alone = [describe(data) for data in graphs]
    together = describe(graphs)
    assert describe(Batch.from_data_list(graphs)) == together
    assert together.num_graphs == len(graphs)
    for name in ("num_nodes", "num_edges", "num_components"):
        assert getattr(together, name) == sum(getattr(one, name) for one in alone)
    for name in ("spectral_gap", "effective_resistance"):
        mean = np.mean([getattr(one, name) for one in alone])
        assert getattr(together, name) == pytest.approx(mean)


def test_homophily_is_of_labels_of_nodes() -> None:
    data = data_of(nx.path_graph(4))
    for y in (torch.tensor([0, 0, 1, 1]), torch.tensor([[0], [0], [1], [1]])):
        found = describe(Data.from_dict({**data.to_dict(), "y": y})).homophily
        assert found == pytest.approx(2 / 3)
    for y in (torch.tensor([1]), torch.rand(4)):
        assert describe(Data.from_dict({**data.to_dict(), "y": y})).homophily is None


def test_loops_repetitions_and_directions_do_not_count() -> None:
    data = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2], [1, 2, 2, 2, 1]]), num_nodes=3)
    assert describe(data) == describe(data_of(nx.path_graph(3)))


@pytest.mark.parametrize("graphs", [[], Data(edge_index=torch.empty(2, 0).long(), num_nodes=3)])
def test_nothing_to_describe(graphs: object) -> None:
    found = describe(graphs)
    assert found.num_edges == 0
    assert found.spectral_gap is found.curvature is found.homophily is None
    assert "-" in str(compare(graphs, graphs))


def test_changes() -> None:
    before, after = data_of(nx.path_graph(4)), data_of(nx.star_graph(3))
    report = compare(before, after)
    assert (report.num_added, report.num_removed) == (2, 2)
    assert report.largest_degree_change == 2
    assert report.mean_degree_change == pytest.approx(1)
    text = str(report)
    for words in ("spectral gap", "total effective resistance", "2 edges came and 2 went"):
        assert words in text
    assert compare([before, before], [after, after]).num_added == 4
    with pytest.raises(ValueError, match="the same graphs with other edges"):
        compare(before, data_of(nx.path_graph(5)))
    with pytest.raises(ValueError, match="needs `edge_index`"):
        describe(Data(num_nodes=3))


def test_a_report_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe(KarateClub()[0]).num_nodes = 3
