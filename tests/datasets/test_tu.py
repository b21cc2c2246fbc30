"""Graph-level data sets, against their published sizes and against what PyG reads."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import TUDataset
from torch_geometric.utils import is_undirected

from gnnlib.datasets import Task, load

# Graphs, nodes, columns of edge_index, features, classes.
SIZES = {
    "MUTAG": (188, 3371, 7442, 7, 2),
    "PROTEINS": (1113, 43471, 162088, 4, 2),
    "ENZYMES": (600, 19580, 74564, 21, 6),
    "NCI1": (4110, 122747, 265506, 37, 2),
    "IMDB-BINARY": (1000, 19773, 193062, 1, 2),
    "REDDIT-BINARY": (2000, 859254, 1991016, 1, 2),
}
# REDDIT-BINARY takes several seconds to process.
ALL = [pytest.param(n, marks=[pytest.mark.slow] * (n == "REDDIT-BINARY")) for n in SIZES]


def batches(task: Task) -> tuple[Batch, Batch, Batch]:
    return task.train, task.val, task.test


def same(one: Task, other: Task) -> bool:
    pairs = zip(batches(one), batches(other), strict=True)
    return all(a.y.equal(b.y) and a.edge_index.equal(b.edge_index) for a, b in pairs)


def content(graph: Data) -> tuple[object, ...]:
    return tuple(str(graph[key].tolist()) for key in ("x", "edge_index", "y"))


@pytest.fixture
def tiny(tmp_path: Path, cache: Path) -> Path:  # noqa: ARG001
    """A root whose IMDB-BINARY is 20 graphs: a star and its isolated node, of growing size."""
    edges, owners = [], []
    for graph in range(1, 21):
        hub = len(owners) + 1
        owners += [graph] * (graph + 2)
        for leaf in range(hub + 1, hub + graph + 1):
            edges += [f"{hub}, {leaf}", f"{leaf}, {hub}"]
    write(tmp_path / "root", "A", edges)
    write(tmp_path / "root", "graph_indicator", owners)
    write(tmp_path / "root", "graph_labels", [1, -1] * 10)
    return tmp_path / "root"


def write(root: Path, part: str, lines: list[object]) -> None:
    path = root / "tu" / "IMDB-BINARY" / "raw" / f"IMDB-BINARY_{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("name", ALL)
def test_size_and_splits(name: str, root: Path) -> None:
    graphs, nodes, edges, features, classes = SIZES[name]
    task = load(name.lower(), root)
    assert (task.name, task.level, task.kind, task.metric) == (
        name,
        "graph",
        "multiclass",
        "accuracy",
    )
    assert (task.in_channels, task.out_channels) == (features, classes)
    parts = batches(task)
    assert [part.num_graphs for part in parts] == [
        graphs * 8 // 10,
        graphs * 9 // 10 - graphs * 8 // 10,
        graphs - graphs * 9 // 10,
    ]
    assert sum(part.num_nodes for part in parts) == nodes
    assert sum(part.num_edges for part in parts) == edges
    for part in parts:
        part.validate()
        assert isinstance(part, Batch)
        assert part.x.shape == (part.num_nodes, features)
        assert part.x.dtype == torch.float32
        assert part.y.shape == (part.num_graphs,)
        assert part.batch.shape == (part.num_nodes,)
        assert part.batch.unique().tolist() == list(range(part.num_graphs))
        assert part.y.unique().tolist() == list(range(classes))


@pytest.mark.parametrize("name", ["MUTAG", "ENZYMES"])
def test_every_graph_that_pyg_reads_is_in_one_split(name: str, root: Path, tmp_path: Path) -> None:
    shutil.copytree(
        root / "tu" / name / "raw", tmp_path / name / "raw", copy_function=shutil.copyfile
    )
    expected = Counter(map(content, TUDataset(str(tmp_path), name, use_node_attr=True)))
    task = load(name, root)
    drawn = Counter(content(graph) for part in batches(task) for graph in part.to_data_list())
    assert drawn == expected


def test_the_edges_of_mutag_have_attributes(root: Path) -> None:
    train = load("MUTAG", root).train
    assert train.edge_attr.shape == (train.num_edges, 4)


def test_the_seed_decides_the_splits(tiny: Path) -> None:
    assert same(load("IMDB-BINARY", tiny, seed=3), load("IMDB-BINARY", tiny, seed=3))
    assert not same(load("IMDB-BINARY", tiny), load("IMDB-BINARY", tiny, seed=1))
    for seed in range(5):
        parts = batches(load("IMDB-BINARY", tiny, seed=seed))
        assert [part.num_graphs for part in parts] == [16, 2, 2]
        # Every graph has a size of its own.
        sizes = [size for part in parts for size in part.ptr.diff().tolist()]
        assert sorted(sizes) == list(range(3, 23))


def test_the_global_random_state_is_left_alone(tiny: Path) -> None:
    before = torch.get_rng_state()
    load("IMDB-BINARY", tiny)
    assert torch.equal(torch.get_rng_state(), before)


def test_nodes_without_features_get_their_degree(tiny: Path) -> None:
    for part in batches(load("IMDB-BINARY", tiny)):
        for graph in part.to_data_list():
            leaves = graph.num_nodes - 2
            assert graph.x.tolist() == [[leaves], *[[1.0]] * leaves, [0.0]]


def test_features_of_imdb(root: Path) -> None:
    train = load("IMDB-BINARY", root).train
    assert is_undirected(train.edge_index)
    assert torch.equal(train.x[:, 0], train.edge_index[0].bincount(minlength=len(train.x)).float())
    assert torch.equal(train[7].x, train.x[train.batch == 7])


def test_what_was_processed_once_is_not_processed_again(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = load("IMDB-BINARY", tiny)
    (file,) = cache.iterdir()
    torch.load(file, weights_only=True)
    monkeypatch.setattr(TUDataset, "process", None)
    assert same(load("IMDB-BINARY", tiny), fresh)
    assert not same(load("IMDB-BINARY", tiny, seed=1), fresh)


def test_wrong_split(tiny: Path) -> None:
    with pytest.raises(ValueError, match="split of IMDB-BINARY must be between 0 and 0, got 1"):
        load("IMDB-BINARY", tiny, split=1)


def test_missing_files_are_named(tiny: Path) -> None:
    for part in ("A", "graph_labels"):
        (tiny / "tu" / "IMDB-BINARY" / "raw" / f"IMDB-BINARY_{part}.txt").unlink()
    with pytest.raises(FileNotFoundError) as error:
        load("IMDB-BINARY", tiny)
    assert "lacks IMDB-BINARY_A.txt, IMDB-BINARY_graph_labels.txt, which" in str(error.value)
    call = f"TUDataset({str(tiny / 'tu')!r}, name='IMDB-BINARY', use_node_attr=True)"
    assert f"download them with torch_geometric.datasets.{call}" in str(error.value)


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("graph_labels", [1, -1] * 9),
        ("graph_labels", [1, -1] * 11),
        ("A", ["1, 2", "2, 1"]),
        ("A", ["gone"]),
        ("graph_indicator", [1, 1, 1]),
    ],
)
def test_files_that_do_not_fit_each_other(
    part: str, lines: list[object], tiny: Path, cache: Path
) -> None:
    write(tiny, part, lines)
    with pytest.raises(ValueError, match=r"may be damaged .*download them again with .*TUDataset"):
        load("IMDB-BINARY", tiny)
    assert not any(cache.iterdir())


def test_a_list_of_node_labels_cut_short(root: Path, tmp_path: Path) -> None:
    raw = tmp_path / "tu" / "MUTAG" / "raw"
    shutil.copytree(root / "tu" / "MUTAG" / "raw", raw, copy_function=shutil.copyfile)
    labels = (raw / "MUTAG_node_labels.txt").read_text().splitlines(keepends=True)
    (raw / "MUTAG_node_labels.txt").write_text("".join(labels[:-1]))
    with pytest.raises(ValueError, match="x has 3370 rows, its graphs need 3371"):
        load("MUTAG", tmp_path)
