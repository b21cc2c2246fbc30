"""The loader: every data set against its published size, and every way in which files can fail."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.datasets import KarateClub, WebKB

from gnnlib.datasets import RootNeighbors, Task, load, names

DATA = Path(os.environ.get("GNNLIB_DATA", Path(__file__).parents[3] / "shared" / "data"))
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
BINARY = ("Minesweeper", "Tolokers")
# Training, validation and test nodes.
PUBLIC = {"Cora": (140, 500, 1000), "CiteSeer": (120, 500, 1000)}


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> None:
    monkeypatch.delenv("GNNLIB_DATA", raising=False)
    monkeypatch.setenv("GNNLIB_CACHE", str(shared_cache))


@pytest.fixture
def root() -> Iterator[Path]:
    """The folder of the real data, which must come out of a test as it went in."""
    if not (DATA / "webkb").is_dir():
        pytest.skip(f"no data sets in {DATA}; set GNNLIB_DATA to a folder that has them")
    before = listing(DATA)
    yield DATA
    assert listing(DATA) == before


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def texas(root: Path, tmp_path: Path, cache: Path) -> Path:  # noqa: ARG001
    """A root that holds Texas alone, and that a test may spoil; nothing is cached yet."""
    raw = tmp_path / "root" / "webkb" / "texas" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "webkb" / "texas" / "raw").iterdir():
        shutil.copyfile(file, raw / file.name)
    return tmp_path / "root"


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


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
    assert set(names()) == {"KarateClub", "RootNeighbors", *SIZES}


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


def test_the_graph_is_what_pyg_reads(texas: Path) -> None:
    fresh, cached = load("Texas", texas).train, load("Texas", texas).train
    expected = WebKB(str(texas / "webkb"), "texas")[0]
    for key in ("x", "edge_index", "y"):
        assert torch.equal(fresh[key], expected[key])
        assert torch.equal(cached[key], expected[key])


@pytest.mark.parametrize("name", ["texas", "TEXAS", "Texas"])
def test_case_of_a_name_does_not_matter(name: str, root: Path) -> None:
    assert load(name, root).name == "Texas"


def test_root_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_DATA", str(root))
    assert load("Texas").train.num_nodes == 183


def test_global_random_state_and_stderr_are_left_alone(
    texas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # in its presence, PyG is silent by itself
    before, stderr = torch.get_rng_state(), sys.stderr
    load("Texas", texas)
    load("KarateClub")
    assert torch.equal(torch.get_rng_state(), before)
    assert sys.stderr is stderr
    assert capsys.readouterr() == ("", "")


def test_the_root_is_only_read(texas: Path, cache: Path) -> None:
    before = listing(texas)
    load("Texas", texas)
    assert listing(texas) == before
    assert [file.suffix for file in listing(cache)] == [".pt"]


def test_what_was_processed_once_is_not_processed_again(
    texas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("Texas", texas)
    monkeypatch.setattr(WebKB, "process", None)
    load("Texas", texas, split=4)


def test_changed_files_are_processed_again(texas: Path) -> None:
    before = load("Texas", texas).train
    edges = texas / "webkb" / "texas" / "raw" / "out1_graph_edges.txt"
    edges.write_text("\n".join(edges.read_text().split("\n")[:101]) + "\n")
    after = load("Texas", texas).train
    assert after.num_edges == 100 < before.num_edges


def test_an_interrupted_copy_never_looks_finished(
    texas: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def save_half(content: object, path: str | Path) -> None:
        save(content, path)
        if isinstance(path, Path):  # not PyG's own, inside the copy
            os.truncate(path, path.stat().st_size // 2)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gnnlib.datasets._load.torch.save", save_half)
        with pytest.raises(KeyboardInterrupt):
            load("Texas", texas)
    assert listing(cache) == []
    # A killed process cannot even clean up.
    left = cache / "tmp0" / "webkb" / "texas" / "raw"
    left.mkdir(parents=True)
    (left / "out1_graph_edges.txt").write_text("node_id\t")
    assert load("Texas", texas).train.num_edges == 325


def test_many_may_load_at_once(texas: Path, cache: Path) -> None:
    stderr = sys.stderr
    with ThreadPoolExecutor(4) as pool:
        tasks = list(pool.map(lambda split: load("Texas", texas, split), range(4)))
    assert all(task.train.num_edges == 325 for task in tasks)
    assert len(listing(cache)) == 1
    assert sys.stderr is stderr


def test_the_default_cache(texas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNNLIB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    load("Texas", texas)
    assert len(listing(tmp_path / "home" / ".cache" / "gnnlib")) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load("Texas", texas)
    assert len(listing(tmp_path / "xdg" / "gnnlib")) == 1


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'coraa'; .*: Cora, Cora") as error:
        load("coraa")
    assert all(name in str(error.value) for name in names())


@pytest.mark.parametrize("name", ["KarateClub", "RootNeighbors"])
def test_wrong_split_of_a_generated_set(name: str) -> None:
    with pytest.raises(ValueError, match=f"split of {name} must be between 0 and 0, got 1"):
        load(name, split=1)


def test_no_root() -> None:
    with pytest.raises(ValueError, match=r"planetoid/Cora/raw as root \(--root\).*GNNLIB_DATA"):
        load("Cora")


@pytest.mark.parametrize("name", SIZES)
def test_missing_folder(name: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))) as error:
        load(name, tmp_path)
    assert "download them with torch_geometric.datasets." in str(error.value)
    assert "--root" in str(error.value)
    assert not cache.exists()
    assert listing(tmp_path) == []


def test_missing_files_are_named_and_not_downloaded(
    texas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = texas / "webkb" / "texas" / "raw"
    (raw / "texas_split_0.6_0.2_3.npz").unlink()
    (raw / "out1_graph_edges.txt").unlink()
    before = listing(texas)
    monkeypatch.setattr(WebKB, "download", None)
    call = re.escape(f"WebKB({str(texas / 'webkb')!r}, name='texas')")
    with pytest.raises(
        FileNotFoundError, match=rf"lacks out1_graph_edges.txt, texas_split_0.6_0.2_3.npz.*{call}"
    ):
        load("Texas", texas)
    assert listing(texas) == before


def test_damaged_files(texas: Path, cache: Path) -> None:
    (texas / "webkb" / "texas" / "raw" / "out1_graph_edges.txt").write_text("404\n" * 3 + "gone\n")
    with pytest.raises(ValueError, match=r"may be damaged .*download them again with .*WebKB\("):
        load("Texas", texas)
    assert listing(cache) == []


def test_a_cache_that_cannot_be_written(
    texas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"in the cache .*GNNLIB_CACHE"):
        load("Texas", texas)
