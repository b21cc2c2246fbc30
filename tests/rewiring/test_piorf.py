"""PIORF does what a loop over senders and all nodes does, within each graph."""

import networkx as nx
import numpy as np
import pytest
import torch

from gnnlib.rewiring import PIORF  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx_graphs import Edges, data_of, edges_of, small
from torch_geometric.data import Batch, Data

from gnnlib.rewiring import _piorf as module
from gnnlib.rewiring import _spans
from gnnlib.rewiring.curvature import node_mean, ollivier_ricci
from gnnlib.testing import assert_rewiring


def curvature_of(graph: nx.Graph, alpha: float) -> list[float]:
    """Of every node the mean over its edges, NaN where it has none."""
    value = ollivier_ricci(data_of(graph).edge_index, len(graph), alpha=alpha)
    of = dict(zip(graph.edges, value.tolist(), strict=False))
    means = [
        [of[edge] if edge in of else of[edge[::-1]] for edge in graph.edges(node)] for node in graph
    ]
    return [float(np.mean(mean)) if mean else float("nan") for mean in means]


def oracle(graph: nx.Graph, field: np.ndarray, delta: float, curvature: list[float]) -> Edges:
    rounded = {node: round(value, 9) for node, value in enumerate(curvature) if value == value}
    senders = sorted(rounded, key=lambda node: (rounded[node], node))
    edges = {(min(edge), max(edge)) for edge in graph.edges}
    for s in senders[: int(delta * len(graph) / 100)]:
        apart = [((value - field[s]) ** 2).sum() for value in field]
        r = apart.index(max(apart))
        if apart[r] > 0:
            edges.add((min(r, s), max(r, s)))
    return edges


def with_field(graph: nx.Graph, width: int, seed: int, levels: int = 4) -> Data:
    """Values of few levels, so that there are ties."""
    data = data_of(graph)
    draw = torch.Generator().manual_seed(seed)
    data.velocity = torch.randint(levels, (len(graph), width), generator=draw).float()
    return data


deltas = st.sampled_from([0, 25, 60, 100])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(small, min_size=1, max_size=3), st.integers(1, 3), deltas, st.sampled_from([0, 0.5])
)
def test_every_pair(many: list[nx.Graph], width: int, delta: float, alpha: float) -> None:
    listed = [with_field(graph, width, seed) for seed, graph in enumerate(many)]
    rewire = PIORF("velocity", delta=delta, alpha=alpha)
    wanted = [
        oracle(graph, data.velocity.numpy(), delta, curvature_of(graph, alpha))
        for graph, data in zip(many, listed, strict=True)
    ]
    assert [edges_of(data) for data in rewire(listed)] == wanted
    batch = Batch.from_data_list(listed)
    assert [edges_of(data) for data in rewire(batch).to_data_list()] == wanted


@pytest.mark.parametrize("width", [1, 2, 3, 8])
@pytest.mark.parametrize("stretch", [1.0, 100.0])
def test_the_rim_is_enough(width: int, stretch: float, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(15, 15))
    data = data_of(graph)
    data.velocity = torch.randn(225, width, generator=torch.Generator().manual_seed(0))
    data.velocity[:, 0] *= stretch
    sizes = []
    rim = module._rim
    monkeypatch.setattr(
        module, "_rim", lambda *args: (sizes.append(len(found := rim(*args))), found)[1]
    )
    monkeypatch.setattr(_spans.spans, "__defaults__", (100,))
    wanted = oracle(graph, data.velocity.double().numpy(), 20, curvature_of(graph, 0.5))
    assert edges_of(PIORF("velocity", delta=20)(data)) == wanted
    assert width > 3 or sizes[0] < 225 / 2


def test_curvature_is_taken_from_the_graph() -> None:
    data = data_of(nx.path_graph(5))
    data.velocity = torch.arange(5.0)
    data.curve = torch.tensor([0.3, 0.1, 0.4, 0.2, -0.1])
    rewire = PIORF("velocity", delta=40, curvature="curve")
    assert edges_of(rewire(data)) - set(nx.path_graph(5).edges) == {(0, 4), (1, 4)}
    assert edges_of(rewire([data, data])[1]) == edges_of(rewire(data))
    data = with_field(nx.barabasi_albert_graph(50, 2, seed=0), 2, 0)
    data.curve = node_mean(ollivier_ricci(data.edge_index, alpha=0.5), data.edge_index)
    given = PIORF("velocity", delta=10, curvature="curve")(data)
    assert torch.equal(given.edge_index, PIORF("velocity", delta=10)(data).edge_index)


def test_nothing_to_do() -> None:
    data = data_of(nx.path_graph(40))
    data.still, data.x = torch.full((40, 2), 0.1), torch.arange(40.0)
    for rewire in (PIORF("still", delta=50), PIORF("x", delta=0), PIORF("x", delta=2)):
        assert torch.equal(rewire(data).edge_index, data.edge_index)
    assert PIORF("x", delta=2.5)(data).num_edges == data.num_edges + 2


def test_isolated_nodes_are_found_but_do_not_send() -> None:
    data = Data(
        edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=4, x=torch.tensor([0, 1, 9, 5])
    )
    data.curve = torch.tensor([0.5, 0.5, 0.0, 0.0])
    for curvature in (None, "curve"):
        rewire = PIORF("x", delta=50, curvature=curvature)
        assert edges_of(rewire(data)) == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize(("delta", "size"), [(7, 100), (14, 50), (28, 25), (0.7, 1000)])
def test_a_share_that_is_whole(delta: float, size: int) -> None:
    data = data_of(nx.path_graph(size))
    data.x, data.curve = torch.arange(float(size)), -torch.arange(float(size))
    rewired = PIORF("x", delta=delta, curvature="curve")(data)
    assert rewired.num_edges == data.num_edges + 2 * 7


def test_names_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"`field` must be the name of an attribute .*got Tensor"):
        PIORF(torch.ones(4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`curvature` must be the name of an attribute .*got int"):
        PIORF("x", curvature=3)  # type: ignore[arg-type]


def test_what_is_refused() -> None:
    data = data_of(nx.path_graph(4))
    data.short, data.bad = torch.ones(3), torch.tensor([0, 1, 2, float("nan")])
    data.x = torch.ones(4, 2)
    with pytest.raises(
        ValueError, match=r"`velocity` with a row for each of 4 nodes, .* got NoneType"
    ):
        PIORF("velocity")(data)
    with pytest.raises(ValueError, match=r"`short` with a row .* got \[3\]"):
        PIORF("short")(data)
    for field, message in (
        (torch.ones(4, 0), r"got \[4, 0\]"),
        (torch.ones(4) + 1j, "real numbers, got torch.complex64"),
        (np.ones(4), r"got ndarray \(use torch.from_numpy\)"),
    ):
        data.other = field
        with pytest.raises(ValueError, match=f"`other` .*{message}"):
            PIORF("other")(data)
    with pytest.raises(ValueError, match="finite `bad`"):
        PIORF("bad")(data)
    with pytest.raises(ValueError, match="one `x` a node, not 2"):
        PIORF("x", curvature="x")(data)


@pytest.mark.parametrize("options", [{"delta": -1}, {"delta": 101}, {"alpha": 1}, {"alpha": "1"}])
def test_out_of_range(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PIORF("velocity", **options)


def test_laws() -> None:
    assert_rewiring(
        lambda **shared: PIORF("x", delta=30, **shared),
        budget=lambda data: (0.3 * data.num_nodes, 0),
    )
