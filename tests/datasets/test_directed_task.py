"""Dir-GNN's synthetic graphs, against their definitions worked out node by node."""

from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from gnnlib.datasets import DirectedNeighborMean, DirectedPreferentialAttachment


def digraph(data: Data) -> nx.MultiDiGraph:
    result = nx.MultiDiGraph()
    result.add_nodes_from(range(data.num_nodes))
    result.add_edges_from(data.edge_index.T.tolist())
    return result


def same(a: Data, b: Data) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a.keys())  # noqa: SIM118


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def check_split(data: Data) -> None:
    n, masks = data.num_nodes, [data[f"{name}_mask"] for name in ("train", "val", "test")]
    assert torch.equal(sum(mask.long() for mask in masks), torch.ones(n, dtype=torch.long))
    assert [int(mask.sum()) for mask in masks] == [n // 2, n // 4, n - n // 2 - n // 4]


@settings(deadline=None, max_examples=20)
@given(
    num_nodes=st.integers(1, 40),
    p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(-(2**70), 2**70),
)
def test_labels_compare_both_directions(num_nodes: int, p: float, seed: int) -> None:
    data = DirectedNeighborMean(num_nodes, p, seed)[0]
    data.validate()
    g, x = digraph(data), data.x.flatten().tolist()
    assert not data.has_self_loops()
    assert len(set(map(tuple, data.edge_index.T.tolist()))) == data.num_edges
    if p in (0, 1):
        assert data.num_edges == p * num_nodes * (num_nodes - 1)
    assert data.x.shape == (num_nodes, 1)
    assert all(-1 <= value <= 1 for value in x)
    before = [mean([x[j] for j in g.predecessors(i)]) for i in range(num_nodes)]
    after = [mean([x[j] for j in g.successors(i)]) for i in range(num_nodes)]
    for i, label in enumerate(data.y.tolist()):
        # Sums in another order may decide a tie the other way.
        assert label == (before[i] > after[i]) or abs(before[i] - after[i]) < 1e-9
    check_split(data)


def test_edges_are_drawn_as_said() -> None:
    data = DirectedNeighborMean()[0]
    pairs = 5000 * 4999
    # Five standard deviations; the seed is fixed.
    assert abs(data.num_edges - 0.001 * pairs) < 5 * (0.001 * pairs) ** 0.5
    for ends in data.edge_index:
        assert ends.bincount(minlength=5000).max() < 25
        assert abs(ends.double().mean() - 2499.5) < 5 * 5000 / (12 * data.num_edges) ** 0.5
    assert 0.4 < data.y.double().mean() < 0.6


@settings(deadline=None, max_examples=20)
@given(
    num_nodes=st.integers(1, 60),
    m=st.integers(1, 4),
    h=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    seed=st.integers(0, 2**40),
)
def test_every_node_points_to_earlier_compatible_ones(
    num_nodes: int, m: int, h: float, seed: int
) -> None:
    data = DirectedPreferentialAttachment(num_nodes, 3, m, h, seed)[0]
    data.validate()
    src, dst = data.edge_index
    assert (src > dst).all()
    matrix, y = data.compatibility, data.y
    torch.testing.assert_close(matrix.sum(1), torch.ones(3))
    torch.testing.assert_close(matrix.diagonal(), torch.full((3,), h))
    assert (matrix[y[src], y[dst]] > 0).all()
    targets: dict[int, list[int]] = {}
    for u, v in data.edge_index.T.tolist():
        targets.setdefault(u, []).append(v)
    for u in range(num_nodes):
        compatible = int((matrix[y[u], y[:u]] > 0).sum())
        assert len(set(targets.get(u, []))) == len(targets.get(u, [])) == min(m, compatible)
    check_split(data)


def test_popular_and_compatible_nodes_are_chosen() -> None:
    # Node 1 can only point to node 0, and then node 2 chooses between the two.
    counts = {True: [0, 0], False: [0, 0]}
    for seed in range(400):
        data = DirectedPreferentialAttachment(3, 2, 1, 0.3, seed)[0]
        y = data.y.tolist()
        chosen = data.edge_index[1, data.edge_index[0] == 2]
        if y[0] == y[1]:
            counts[True][int(chosen)] += 1
        else:
            counts[False][int(chosen)] += 1
    # Node 0 has one edge, node 1 none: (1.01 to 0.01), as both are as compatible.
    assert counts[True][1] <= 0.05 * sum(counts[True])
    assert counts[False][1] <= 0.08 * sum(counts[False])
    shares = []
    for h in (0.1, 0.9):
        data = DirectedPreferentialAttachment(1000, h=h)[0]
        src, dst = data.edge_index
        shares.append(float((data.y[src] == data.y[dst]).double().mean()))
    assert shares[0] < 0.3 < 0.7 < shares[1]


@pytest.mark.parametrize("kind", [DirectedNeighborMean, DirectedPreferentialAttachment])
def test_the_seed_decides_every_bit(kind: Any) -> None:
    state = torch.get_rng_state()
    one = kind(50, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert same(one[0], kind(50, seed=3)[0])
    assert not torch.equal(one[0].train_mask, kind(50, seed=4)[0].train_mask)
    assert repr(one) == f"{kind.__name__}()"
    assert len(one) == 1
    assert kind(50, transform=lambda data: data.update({"seen": True}))[0].seen


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DirectedNeighborMean(0), "`num_nodes` must be a whole number of at least 1"),
        (lambda: DirectedNeighborMean(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: DirectedPreferentialAttachment(m=0), "`m` must be a whole number of at least"),
        (
            lambda: DirectedPreferentialAttachment(num_classes=1),
            "`num_classes` must be a whole number of at least 2, got 1",
        ),
        (lambda: DirectedPreferentialAttachment(h=-0.1), r"h must be in \[0, 1\], got -0.1"),
    ],
)
def test_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
