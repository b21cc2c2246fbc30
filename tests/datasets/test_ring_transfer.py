"""RingTransfer, against the definition worked out ring by ring with networkx."""

from collections import Counter

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from gnnlib.datasets import RingTransfer

KEYS = ("x", "edge_index", "y", "mask")


def same(a: Data, b: Data) -> bool:
    return all(torch.equal(a[key], b[key]) for key in KEYS)


def label(data: Data) -> int:
    """What the node opposite to the one that is asked knows."""
    ring = nx.Graph(data.edge_index.T.tolist())
    (asked,) = data.mask.nonzero().flatten().tolist()
    assert not data.x[asked].any()
    distance = nx.single_source_shortest_path_length(ring, asked)
    (knows,) = (node for node in ring if data.x[node].sum() == 1)
    assert distance[knows] == max(distance.values()) == len(ring) // 2
    others = [node for node in ring if node not in (asked, knows)]
    assert (data.x[others] == 1).all()
    return int(data.x[knows].argmax())


@settings(deadline=None, max_examples=25)
@given(
    num_nodes=st.integers(3, 15),
    num_classes=st.integers(2, 7),
    num_graphs=st.integers(1, 30),
    seed=st.integers(-(2**70), 2**70),
)
def test_every_ring_is_as_defined(
    num_nodes: int, num_classes: int, num_graphs: int, seed: int
) -> None:
    rings = RingTransfer(num_nodes, num_graphs, num_classes, seed)
    assert len(rings) == num_graphs
    for data in rings:
        data.validate()
        assert nx.utils.graphs_equal(
            nx.Graph(data.edge_index.T.tolist()), nx.cycle_graph(num_nodes)
        )
        assert data.edge_index.shape == (2, 2 * num_nodes)
        assert data.is_undirected()
        assert (data.edge_index[1].diff() >= 0).all()
        assert data.x.shape == (num_nodes, num_classes)
        assert data.x.dtype == torch.float32
        assert data.mask.tolist() == [True] + [False] * (num_nodes - 1)
        assert data.y.dtype == torch.int64
        assert data.y.tolist() == [label(data)]
    count = Counter(rings.y.tolist())
    low, extra = divmod(num_graphs, num_classes)
    drawn = sorted(count[c] for c in range(num_classes))
    assert drawn == [low] * (num_classes - extra) + [low + 1] * extra


def test_classes_are_shuffled() -> None:
    y = RingTransfer(4, 2000, 5).y
    assert (y[:1000].bincount() - 200).abs().max() < 50  # five standard deviations
    assert not torch.equal(y, RingTransfer(4, 2000, 5, seed=1).y)


def test_the_seed_decides_every_bit_and_nothing_else_does() -> None:
    before = torch.get_rng_state()
    one = RingTransfer(6, 20, 3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert all(same(a, b) for a, b in zip(one, RingTransfer(6, 20, 3, seed=7), strict=True))


def test_it_is_a_data_set_as_pyg_knows_them() -> None:
    rings = RingTransfer(6, 7, 3, transform=lambda data: data.update({"seen": True}))
    assert repr(rings) == "RingTransfer(7)"
    assert rings.num_features == rings.num_classes == 3
    assert rings[3].seen
    assert same(rings[2:5][0], rings[2])
    plain = RingTransfer(6, 7, 3)
    (whole,) = DataLoader(plain, batch_size=7)
    assert same(whole, Batch.from_data_list(list(plain)))
    assert whole.mask.nonzero().flatten().tolist() == whole.ptr[:-1].tolist()
    assert whole.x[whole.mask].shape == (7, 3)


def test_wrong_arguments() -> None:
    for options, message in (
        ({"num_nodes": 2}, "`num_nodes` must be a whole number of at least 3, got 2"),
        ({"num_classes": 1}, "`num_classes` must be a whole number of at least 2, got 1"),
        ({"num_nodes": 10.5}, r"`num_nodes` must be .* got 10.5 \(use int\(10.5\)\)"),
        ({"num_graphs": 0}, "`num_graphs` must be a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            RingTransfer(**options)
