"""RootNeighbors, against the paper's definition worked out tree by tree with networkx."""

from collections import Counter

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from gnnlib.datasets import RootNeighbors

SPLITS = ("train", "val", "test")
KEYS = ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask")


def graph(data: Data) -> nx.Graph:
    result = nx.Graph()
    result.add_nodes_from(range(len(data.x)))
    result.add_edges_from(data.edge_index.T.tolist())
    return result


def hubs(tree: nx.Graph) -> list[int]:
    return [node for node in tree[0] if tree.degree(node) == 6]


def same(a: Data, b: Data) -> bool:
    return all(torch.equal(a[key], b[key]) for key in KEYS)


@settings(deadline=None, max_examples=25)
@given(
    split=st.sampled_from(SPLITS),
    num_trees=st.integers(1, 12),
    seed=st.integers(-(2**70), 2**70),
)
def test_every_tree_is_as_defined(split: str, num_trees: int, seed: int) -> None:
    trees = RootNeighbors(split, num_trees, seed)
    assert len(trees) == num_trees
    extra = 0 if split == "train" else 2
    for data in trees:
        data.validate()
        tree = graph(data)
        depth = nx.single_source_shortest_path_length(tree, 0)
        assert nx.is_tree(tree)
        assert max(depth.values()) == 2
        assert 1 + extra <= len(hubs(tree)) <= 3 + extra
        assert max(3 + extra, len(hubs(tree))) <= tree.degree(0) <= 10
        others = [node for node in tree[0] if node not in hubs(tree)]
        assert {tree.degree(node) for node in others} <= {2, 3}

        assert data.edge_index.shape == (2, 2 * tree.number_of_edges())
        assert data.is_undirected()
        assert not data.has_self_loops()

        assert data.x.shape == data.y.shape == (len(tree), 5)
        assert data.x.dtype == data.y.dtype == torch.float32
        assert -2 <= data.x.min() <= data.x.max() <= 2
        mean = sum(data.x[node].double() for node in hubs(tree)) / len(hubs(tree))
        torch.testing.assert_close(data.y[0].double(), mean, rtol=1e-5, atol=1e-6)
        assert not data.y[1:].any()

        for name in SPLITS:
            mask = data[f"{name}_mask"]
            assert mask.shape == (len(tree),)
            assert mask.nonzero().flatten().tolist() == ([0] if name == split else [])


@pytest.mark.parametrize("split", SPLITS)
def test_every_size_is_drawn_equally_often(split: str) -> None:
    trees = [graph(data) for data in RootNeighbors(split, 1000)]
    extra = 0 if split == "train" else 2
    draws = {
        "hubs": (range(1 + extra, 4 + extra), [len(hubs(tree)) for tree in trees]),
        "level 1": (range(3 + extra, 11), [tree.degree(0) for tree in trees]),
        "leaves": (
            range(1, 3),
            [tree.degree(n) - 1 for tree in trees for n in tree[0] if tree.degree(n) != 6],
        ),
    }
    for values, drawn in draws.values():
        count = Counter(drawn)
        assert set(count) == set(values)
        expected = len(drawn) / len(values)
        # Five standard deviations; the seed is fixed.
        assert all(abs(c - expected) < 5 * expected**0.5 for c in count.values())


def test_features_fill_their_range() -> None:
    x = RootNeighbors("test", 1000).x
    assert abs(x.mean()) < 0.01
    assert abs(x.var() - 16 / 12) < 0.01


@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
@settings(deadline=None, max_examples=10)
def test_the_seed_decides_every_bit(seed: int, split: str) -> None:
    one, two = RootNeighbors(split, 5, seed), RootNeighbors(split, 5, seed)
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.x[:10], RootNeighbors(split, 5, seed + 1).x[:10])


def test_splits_share_no_draws() -> None:
    # Neighbouring seeds too: a split must not be another split of the next seed.
    features = [RootNeighbors(s, 5, seed).x[:10] for seed in range(4) for s in SPLITS]
    for i, a in enumerate(features):
        assert not any(torch.equal(a, b) for b in features[:i])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    one = RootNeighbors(num_trees=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert all(same(a, b) for a, b in zip(one, RootNeighbors(num_trees=3), strict=True))


def test_it_is_a_data_set_as_pyg_knows_them() -> None:
    trees = RootNeighbors("val", 7, transform=lambda data: data.update({"seen": True}))
    assert repr(trees) == "RootNeighbors(7)"
    assert trees.num_features == 5
    assert trees[3].seen
    assert len(trees[2:5]) == 3
    assert same(trees[2:5][0], trees[2])
    plain = RootNeighbors("val", 7)
    batch = Batch.from_data_list(list(plain))
    assert batch.num_nodes == len(plain.x)
    assert nx.number_connected_components(graph(batch)) == 7
    assert batch.val_mask.nonzero().flatten().tolist() == batch.ptr[:-1].tolist()
    (whole,) = DataLoader(plain, batch_size=7)
    assert same(whole, batch)


def test_one_tree() -> None:
    (data,) = RootNeighbors(num_trees=1)
    assert nx.is_tree(graph(data))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="split must be 'train', 'val' or 'test', got 'valid'"):
        RootNeighbors("valid")
    with pytest.raises(ValueError, match="num_trees must be at least 1, got 0"):
        RootNeighbors(num_trees=0)
