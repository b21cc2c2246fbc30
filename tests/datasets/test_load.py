"""The loader: every node-level data set against its published size, and the splits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.datasets import KarateClub

from gnnlib.datasets import RootNeighbors, Task, load, names

SPLITS = ("train", "val", "test")

# Nodes, columns of edge_index, features, classes, splits.
SIZES = {
    "Cora": (2708, 10556, 1433, 7, 1),
    "CiteSeer": (3327, 9104, 3703, 6, 1),
    "Cora-geom": (2708, 10556, 1433, 7, 10),
    "CiteSeer-geom": (3327, 9104, 3703, 6, 10),
    "Minesweeper": (10000, 78804, 7, 2, 10),
    "Tolokers": (11758, 1038000, 10, 2, 10),
    "Chameleon": (2277, 36101, 2325, 5, 10),
    "Squirrel": (5201, 217073, 2089, 5, 10),
    "Actor": (7600, 30019, 932, 5, 10),
    "Cornell": (183, 298, 1703, 5, 10),
    "Texas": (183, 325, 1703, 5, 10),
    "Wisconsin": (251, 515, 1703, 5, 10),
    "Cora_ML": (2995, 16316, 2879, 7, 1),
    "CiteSeer_Full": (4230, 10674, 602, 6, 1),
    "DBLP": (17716, 105734, 1639, 4, 1),
}
GRAPH_LEVEL = ("MUTAG", "PROTEINS", "ENZYMES", "NCI1", "IMDB-BINARY", "REDDIT-BINARY")
BINARY = ("Minesweeper", "Tolokers")
# Training, validation and test nodes.
PUBLIC = {"Cora": (140, 500, 1000), "CiteSeer": (120, 500, 1000)}


def counts(task: Task) -> tuple[int, ...]:
    return tuple(int(getattr(task, split)[f"{split}_mask"].sum()) for split in SPLITS)


def overlap(task: Task) -> bool:
    masks = [task.train[f"{split}_mask"].int() for split in SPLITS]
    return bool((sum(masks) > 1).any())


def test_karate_club() -> None:
    task = load("KarateClub")
    assert task.train is task.val is task.test
    assert (task.kind, task.metric, task.in_channels, task.out_channels) == (
        "multiclass",
        "accuracy",
        34,
        4,
    )
    assert torch.equal(task.train.train_mask, KarateClub()[0].train_mask)
    assert counts(task) == (4, 10, 20)
    assert not overlap(task)
    assert torch.equal(load("KarateClub").val.val_mask, task.val.val_mask)
    assert not torch.equal(load("KarateClub", seed=1).val.val_mask, task.val.val_mask)


def test_root_neighbors() -> None:
    task = load("RootNeighbors", seed=3)
    assert (task.kind, task.metric, task.in_channels, task.out_channels) == (
        "regression",
        "mae",
        5,
        5,
    )
    assert counts(task) == (1000, 1000, 1000)
    for split in SPLITS:
        trees = RootNeighbors(split, seed=3)
        batch = getattr(task, split)
        assert torch.equal(batch.x, trees.x)
        assert torch.equal(batch[5].edge_index, trees[5].edge_index)


@pytest.mark.parametrize("name", SIZES)
def test_size_and_splits(name: str, root: Path) -> None:
    nodes, edges, features, classes, splits = SIZES[name]
    task = load(name, root, split=splits - 1)
    assert task.name == name
    assert task.level == "node"
    assert task.train is task.val is task.test
    data = task.train
    data.validate()
    assert (data.num_nodes, data.num_edges) == (nodes, edges)
    assert task.in_channels == features
    assert data.x.dtype == torch.float32
    assert data.y.shape == (nodes,)
    assert data.y.unique().tolist() == list(range(classes))
    binary = name in BINARY
    assert (task.kind, task.metric, task.out_channels) == (
        ("binary", "auroc", 1) if binary else ("multiclass", "accuracy", classes)
    )
    for split in SPLITS:
        mask = data[f"{split}_mask"]
        assert mask.shape == (nodes,)
        assert mask.dtype == torch.bool
        assert mask.any()
    assert not overlap(task)
    assert name not in PUBLIC or counts(task) == PUBLIC[name]

    for wrong in (-1, splits):
        with pytest.raises(ValueError, match=f"between 0 and {splits - 1}, got {wrong}"):
            load(name, root, split=wrong)


def test_the_table_of_sizes_is_complete() -> None:
    assert set(names()) == {"KarateClub", "RootNeighbors", *SIZES, *GRAPH_LEVEL}


@pytest.mark.parametrize("split", [0, 7])
def test_a_split_is_the_one_in_the_file(split: int, root: Path) -> None:
    texas = np.load(root / "webkb" / "texas" / "raw" / f"texas_split_0.6_0.2_{split}.npz")
    mines = np.load(root / "heterophilous" / "minesweeper" / "raw" / "minesweeper.npz")
    for key in SPLITS:
        mask = load("Texas", root, split).train[f"{key}_mask"]
        assert np.array_equal(mask.numpy(), texas[f"{key}_mask"].astype(bool))
        mask = load("Minesweeper", root, split).train[f"{key}_mask"]
        assert np.array_equal(mask.numpy(), mines[f"{key}_masks"][split])


@pytest.mark.parametrize("name", ["Cora_ML", "CiteSeer_Full", "DBLP"])
def test_random_splits_cover_all_nodes(name: str, root: Path) -> None:
    task, again, other = load(name, root), load(name, root), load(name, root, seed=1)
    nodes = task.train.num_nodes
    assert sum(counts(task)) == nodes
    assert not overlap(task)
    for count, share in zip(counts(task), (0.6, 0.2, 0.2), strict=True):
        assert abs(count - share * nodes) <= 1
    assert torch.equal(task.train.test_mask, again.train.test_mask)
    assert not torch.equal(task.train.test_mask, other.train.test_mask)


@pytest.mark.parametrize("name", ["texas", "TEXAS", "Texas"])
def test_case_of_a_name_does_not_matter(name: str, root: Path) -> None:
    assert load(name, root).name == "Texas"


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'coraa'; .*: Cora, Cora") as error:
        load("coraa")
    assert all(name in str(error.value) for name in names())


@pytest.mark.parametrize("name", ["KarateClub", "RootNeighbors"])
def test_wrong_split_of_a_generated_set(name: str) -> None:
    with pytest.raises(ValueError, match=f"split of {name} must be between 0 and 0, got 1"):
        load(name, split=1)
