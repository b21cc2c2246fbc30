"""DirectedSBM against its definition, and its statistics."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from gnnlib.datasets import DirectedSBM, _directed_sbm

FAMILIES = ("path", "cycle", "complete", "star", "multipartite")


def meta_edges(flow: Tensor) -> set[tuple[int, int]]:
    return {(k, m) for k, m in (flow > 0.5).nonzero().tolist()}


def same(a: Data, b: Data) -> bool:
    return torch.equal(a.edge_index, b.edge_index) and torch.equal(a.y, b.y)


def test_meta_graphs() -> None:
    flows = {name: DirectedSBM(name, 5, 50, eta=0.2).flow for name in FAMILIES}
    assert meta_edges(flows["path"]) == {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert meta_edges(flows["cycle"]) == {(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)}
    assert meta_edges(flows["star"]) == {(0, 2), (2, 1), (2, 3), (4, 2)}
    # Parts of 1, 2 and 2.
    assert meta_edges(flows["multipartite"]) == {(0, 1), (0, 2), (1, 3), (1, 4), (2, 3), (2, 4)}
    complete = meta_edges(flows["complete"])
    assert {tuple(sorted(pair)) for pair in complete} == {
        (k, m) for k in range(5) for m in range(k + 1, 5)
    }
    assert len(complete) == 10
    for flow in flows.values():
        assert torch.equal(flow.diagonal(), torch.full((5,), 0.5, dtype=torch.float64))
        torch.testing.assert_close(flow + flow.T, torch.ones(5, 5, dtype=torch.float64))
        assert set(flow.unique().tolist()) <= {0.2, 0.5, 0.8}


def test_directions_of_a_complete_meta_graph_are_drawn() -> None:
    forward = sum(
        int((DirectedSBM("complete", 9, p=0.0, seed=seed).flow.triu(1) > 0.5).sum())
        for seed in range(40)
    )
    assert abs(forward - 720) < 5 * 360**0.5  # of 36 pairs each, five standard deviations


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(st.data())
def test_every_graph_is_simple_and_has_its_clusters(data: Any) -> None:
    num_clusters = data.draw(st.integers(3, 6))
    num_nodes = data.draw(st.integers(30, 90))
    graphs = DirectedSBM(
        data.draw(st.sampled_from(FAMILIES)),
        num_clusters,
        num_nodes,
        p=data.draw(st.sampled_from([0.0, 0.01, 0.3, 1.0])),
        rho=data.draw(st.sampled_from([1.0, 1.5, 3.0])),
        eta=data.draw(st.sampled_from([0.0, 0.1, 0.5])),
        num_graphs=2,
        seed=data.draw(st.integers(-(2**70), 2**70)),
    )
    assert len(graphs) == 2
    for graph in graphs:
        graph.validate()
        assert graph.num_nodes == num_nodes
        assert graph.edge_index.dtype == graph.y.dtype == torch.int64
        assert not graph.has_self_loops()
        assert graph.is_coalesced()
        assert graph.y.bincount().numel() == num_clusters
        assert (graph.y.bincount() > 0).all()


@pytest.mark.parametrize("rho", [1.0, 1.5, 4.0])
def test_sizes(rho: float) -> None:
    sizes = DirectedSBM("path", 4, 5000, p=0.0, rho=rho)[0].y.bincount().double()
    assert sizes.sum() == 5000
    factors = sizes[1:] / sizes[:-1]
    torch.testing.assert_close(
        factors, torch.full_like(factors, rho ** (1 / 3)), rtol=0, atol=0.005
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_edges_are_drawn_as_said(name: str) -> None:
    graphs = DirectedSBM(name, 4, 600, p=0.1, rho=2.0, eta=0.15, num_graphs=3, seed=3)
    sizes = graphs[0].y.bincount().double()
    pairs = 3 * (sizes[:, None] * sizes - torch.diag(sizes))
    found = torch.zeros(4, 4, dtype=torch.float64)
    for data in graphs:
        src, dst = data.y[data.edge_index]
        found.index_put_((src, dst), torch.ones(1, dtype=torch.float64), accumulate=True)
    prob = 0.1 * graphs.flow
    deviation = (pairs * prob * (1 - prob)).sqrt()
    assert ((found - pairs * prob).abs() < 5 * deviation).all()
    # Nobody is preferred: degrees are spread as those of independent edges.
    degree = graphs[0].edge_index.flatten().bincount(minlength=600).double()
    expected = 0.1 * 599
    assert abs(degree.mean() - expected) < 5 * (expected / 600) ** 0.5
    assert 0.7 < degree.var() / expected < 1.3


def test_without_noise_no_edge_is_turned_and_with_half_there_are_no_clusters() -> None:
    graphs = DirectedSBM("path", 3, 300, p=0.2, eta=0.0)
    src, dst = graphs[0].y[graphs[0].edge_index]
    assert not ((src == 1) & (dst == 0)).any()
    assert ((src == 0) & (dst == 1)).any()
    assert torch.equal(
        DirectedSBM("cycle", 3, eta=0.5).flow, torch.full((3, 3), 0.5, dtype=torch.float64)
    )


def test_clusters_are_in_random_order() -> None:
    y = DirectedSBM("cycle", 3, 3000, p=0.0)[0].y.double()
    first, second = y[:1500].mean(), y[1500:].mean()
    assert abs(first - second) < 0.15


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-9, 0.3, 0.9999, 1.0])
def test_what_is_kept(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    size, rounds = 1000, 200
    kept = [_directed_sbm._kept(size, p, generator) for _ in range(rounds)]
    for places in kept:
        assert (places.diff() > 0).all()
        assert ((places >= 0) & (places < size)).all()
    count = torch.cat(kept).bincount(minlength=size).double()
    expected = rounds * p
    assert abs(count.mean() - expected) <= 5 * (rounds * p * (1 - p) / size) ** 0.5 + 1e-9
    assert ((count - expected).abs() <= 6 * (rounds * p * (1 - p)) ** 0.5 + 2).all()


def test_the_seed_decides_every_bit() -> None:
    one, two = DirectedSBM(num_graphs=2, seed=5), DirectedSBM(num_graphs=2, seed=5)
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert not same(one[0], one[1])
    assert not same(one[0], DirectedSBM(seed=6)[0])
    assert same(one[0], DirectedSBM(seed=5)[0])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    DirectedSBM("complete", num_nodes=50)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_a_data_set_as_pyg_knows_them() -> None:
    graphs = DirectedSBM(
        num_graphs=4, num_nodes=60, transform=lambda data: data.update({"seen": True})
    )
    assert repr(graphs) == "DirectedSBM(4)"
    assert repr(DirectedSBM(num_nodes=60)) == "DirectedSBM()"
    assert graphs[3].seen
    assert same(graphs[2:4][0], graphs[2])
    plain = DirectedSBM(num_graphs=4, num_nodes=60)
    (whole,) = DataLoader(plain, batch_size=4)
    assert whole.num_nodes == 240
    assert torch.equal(whole.y, torch.cat([data.y for data in plain]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"meta_graph": "ring"}, "must be one of path, cycle, .*, got 'ring'"),
        ({"num_clusters": 2}, "num_clusters must be at least 3 for 'cycle', got 2"),
        ({"meta_graph": "path", "num_clusters": 1}, "at least 2 for 'path', got 1"),
        ({"p": 1.5}, r"p must be in \[0, 1\], got 1.5"),
        ({"p": float("nan")}, r"p must be in \[0, 1\], got nan"),
        ({"eta": 0.6}, r"eta must be in \[0, 0.5\], got 0.6"),
        ({"rho": 0.5}, "rho must be at least 1, got 0.5"),
        ({"rho": float("inf")}, "rho must be at least 1, got inf"),
        ({"num_graphs": 0}, "num_graphs must be at least 1, got 0"),
        ({"num_nodes": 2}, r"every cluster a node, got sizes \[1, 0, 1\] of 2 nodes"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirectedSBM(**kwargs)
