"""TreeNeighborsMatch, against the definition worked out tree by tree with networkx."""

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from gnnlib.datasets import TreeNeighborsMatch

KEYS = ("x", "edge_index", "y", "mask")


def same(a: Data, b: Data) -> bool:
    return all(torch.equal(a[key], b[key]) for key in KEYS)


def label(data: Data, depth: int) -> int:
    """The class of the leaf that has the root's key."""
    tree = nx.DiGraph(data.edge_index.T.tolist())
    (root,) = (node for node in tree if tree.out_degree(node) == 0)
    assert data.mask.nonzero().flatten().tolist() == [root]
    leaves = [node for node in tree if tree.in_degree(node) == 0]
    assert len(leaves) == 2**depth
    assert {nx.shortest_path_length(tree, leaf, root) for leaf in leaves} == {depth}
    numbers = set(range(1, 2**depth + 1))
    assert {int(data.x[leaf, 0]) for leaf in leaves} == numbers
    assert {int(data.x[leaf, 1]) for leaf in leaves} == numbers
    inner = [node for node in tree if node != root and node not in leaves]
    assert not data.x[inner].any()
    assert data.x[root, 1] == 0
    (match,) = (leaf for leaf in leaves if data.x[leaf, 0] == data.x[root, 0])
    return int(data.x[match, 1]) - 1


@settings(deadline=None, max_examples=20)
@given(depth=st.integers(1, 5), num_graphs=st.integers(1, 4), seed=st.integers(-(2**70), 2**70))
def test_every_tree_is_as_defined(depth: int, num_graphs: int, seed: int) -> None:
    trees = TreeNeighborsMatch(depth, num_graphs, seed)
    assert len(trees) == num_graphs
    for data in trees:
        data.validate()
        tree = nx.DiGraph(data.edge_index.T.tolist())
        assert nx.is_arborescence(tree.reverse())
        assert {tree.in_degree(node) for node in tree} == {0, 2}
        assert data.edge_index.shape == (2, data.num_nodes - 1)
        assert (data.edge_index[1].diff() >= 0).all()
        assert data.x.shape == (2 ** (depth + 1) - 1, 2)
        assert data.x.dtype == data.y.dtype == torch.int64
        assert data.y.tolist() == [label(data, depth)]


def test_how_many_there_are_and_none_twice() -> None:
    for depth, expected in ((1, 4), (2, 96), (3, 8000), (4, 16_000)):
        trees = TreeNeighborsMatch(depth)
        assert len(trees) == expected
        rows = trees.x.view(expected, -1)
        assert rows.unique(dim=0).size(0) == expected
    keys = trees.x.view(16_000, -1, 2)[:, 0, 0].bincount()
    assert keys.tolist() == [0] + [1000] * 16
    for drawn in (keys[1:], trees.y.bincount()):
        assert (drawn - 1000).abs().max() < 5 * 1000**0.5


def test_classes_do_not_depend_on_the_place() -> None:
    trees = TreeNeighborsMatch(4)
    for leaf in (0, 7, 15):
        drawn = trees.x.view(16_000, -1, 2)[:, 15 + leaf, 1].bincount()[1:]
        assert (drawn - 1000).abs().max() < 5 * 1000**0.5


def test_the_seed_decides_every_bit_and_nothing_else_does() -> None:
    for depth in (2, 4):
        before = torch.get_rng_state()
        one = TreeNeighborsMatch(depth, 20, seed=7)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(7)
        two, other = TreeNeighborsMatch(depth, 20, seed=7), TreeNeighborsMatch(depth, 20, seed=8)
        assert all(same(a, b) for a, b in zip(one, two, strict=True))
        assert not torch.equal(one.x, other.x)


def test_it_is_a_data_set_as_pyg_knows_them() -> None:
    trees = TreeNeighborsMatch(2, 7, transform=lambda data: data.update({"seen": True}))
    assert repr(trees) == "TreeNeighborsMatch(7)"
    assert trees[3].seen
    assert same(trees[2:5][0], trees[2])
    plain = TreeNeighborsMatch(2, 7)
    (whole,) = DataLoader(plain, batch_size=7)
    assert same(whole, Batch.from_data_list(list(plain)))
    assert whole.mask.nonzero().flatten().tolist() == whole.ptr[:-1].tolist()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        TreeNeighborsMatch(0)
    with pytest.raises(ValueError, match="at most 96, the different graphs of depth 2, got 97"):
        TreeNeighborsMatch(2, 97)
    with pytest.raises(ValueError, match=r"num_graphs must be at least 1 .* got 0"):
        TreeNeighborsMatch(4, 0)
