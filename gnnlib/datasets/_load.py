"""Public data sets by name, each as a task: graphs, splits, and what is to be predicted."""

import difflib
import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
import torch_geometric  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Batch,
    Data,
    InMemoryDataset,
)
from torch_geometric.datasets import (  # type: ignore[import-untyped, unused-ignore]
    Actor,
    CitationFull,
    HeterophilousGraphDataset,
    KarateClub,
    Planetoid,
    WebKB,
    WikipediaNetwork,
)

from ._root_neighbors import RootNeighbors

Kind = Literal["multiclass", "binary", "regression"]
Metric = Literal["accuracy", "auroc", "mae"]
Graphs = tuple[Data, Data, Data]


@dataclass(frozen=True)
class Task:
    """A data set with its splits and with what is to be predicted.

    Attributes:
        name: Name of the data set, as `names` spells it.
        level: ``"node"``.
        kind: ``"multiclass"`` (``y [N]`` holds classes), ``"binary"`` (``y [N]`` holds the integers
            0 and 1) or ``"regression"`` (``y [N, out_channels]`` holds floats).
        metric: ``"accuracy"``, ``"auroc"`` or ``"mae"``.
        in_channels: Width of ``x``.
        out_channels: Width of a prediction: the number of classes, 1 for binary tasks, the width of
            ``y`` for regression.
        train: The graph to train on; the nodes that count are ``train.train_mask [N]``.
        val: The graph of the validation nodes ``val.val_mask``.
        test: The graph of the test nodes ``test.test_mask``. Where the splits are nodes of one
            graph, all three are the same object, so that one forward pass serves all.

    Example:
        >>> task = load("KarateClub")
        >>> task.kind, task.in_channels, task.out_channels, task.val is task.train
        ('multiclass', 34, 4, True)
    """

    name: str
    level: Literal["node"]
    kind: Kind
    metric: Metric
    in_channels: int
    out_channels: int
    train: Data
    val: Data
    test: Data


def names() -> tuple[str, ...]:
    """The names of all data sets that `load` knows.

    Returns:
        The names, generated data sets first.

    Example:
        >>> names()[:2]
        ('KarateClub', 'RootNeighbors')
    """
    return tuple(_TABLE)


def load(name: str, root: str | Path | None = None, split: int = 0, seed: int = 0) -> Task:
    """Load a data set by name.

    =========================  ==================================  ===============================
    names                      splits                              files, below ``root``
    =========================  ==================================  ===============================
    KarateClub                 PyG's 4 nodes to train, 10 to       none
                               validate, by seed
    RootNeighbors              1000 trees each, by seed            none
    Cora, CiteSeer             1, the public one                   ``planetoid/Cora``
    Cora-geom, CiteSeer-geom   10, of geom-gcn                     ``planetoid/Cora/geom-gcn``
    Minesweeper, Tolokers      10                                  ``heterophilous/minesweeper``
    Chameleon, Squirrel        10, of geom-gcn                     ``wikipedia/chameleon/geom_gcn``
    Actor                      10, of geom-gcn                     ``actor``
    Cornell, Texas, Wisconsin  10, of geom-gcn                     ``webkb/cornell``
    Cora_ML                    60/20/20 %, by seed                 ``citation_full/cora_ml``
    CiteSeer_Full              60/20/20 %, by seed                 ``citation_full/citeseer``
    DBLP                       60/20/20 %, by seed                 ``citation_full/dblp``
    =========================  ==================================  ===============================

    The last column names a folder whose own folder ``raw`` holds the files. They are those that PyG
    downloads, under PyG's names: ``Planetoid("<root>/planetoid", "Cora")`` fills that of Cora. Here
    nothing is downloaded, and ``root`` is only ever read: processed graphs are kept in
    ``$GNNLIB_CACHE`` (default ``~/.cache/gnnlib``), under a hash of the raw files. Directed graphs
    stay directed, and features are as PyG reads them.

    Chameleon and Squirrel hold many duplicated nodes (Platonov et al., "A critical look at the
    evaluation of GNNs under heterophily", ICLR 2023). In the files that geom-gcn published, and PyG
    downloads, the features and labels of Cornell are those of Texas.

    Args:
        name: One of `names`, in upper or lower case.
        root: Folder of the files, for the data sets that have any (default: the environment
            variable ``GNNLIB_DATA``).
        split: Which of the fixed splits, from 0 to one below the number in the table (1 where the
            split is public or drawn by seed; default 0).
        seed: Seed of what the table draws by seed (default 0); the other data sets ignore it.

    Returns:
        The task.

    Raises:
        ValueError: The name is unknown, the split is out of range, the data set has files and there
            is neither ``root`` nor ``GNNLIB_DATA``, or the files are damaged.
        FileNotFoundError: Files of the data set are missing in ``root``.
        OSError: The cache cannot be written.

    Example:
        >>> task = load("rootneighbors", seed=1)
        >>> task.name, task.kind, task.metric, task.out_channels
        ('RootNeighbors', 'regression', 'mae', 5)
        >>> load("kartae")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: unknown data set 'kartae'; the known ones, closest first: KarateClub, ...
    """
    name = _full_name(name)
    row = _TABLE[name]
    if not 0 <= split < row.splits:
        raise ValueError(f"split of {name} must be between 0 and {row.splits - 1}, got {split}")
    train, val, test = row.graphs(name, root, split, seed)
    return Task(
        name=name,
        level="node",
        kind=row.kind,
        metric=row.metric,
        in_channels=train.num_node_features,
        out_channels=_WIDTH[row.kind](train.y),
        train=train,
        val=val,
        test=test,
    )


_WIDTH: dict[Kind, Callable[[Tensor], int]] = {
    "multiclass": lambda y: int(y.max()) + 1,
    "binary": lambda _: 1,
    "regression": lambda y: y.size(-1),
}


def _full_name(name: str) -> str:
    """The name as the table spells it."""
    spelled = {key.lower(): key for key in _TABLE}
    if name.lower() not in spelled:
        ranked = difflib.get_close_matches(name.lower(), spelled, n=len(spelled), cutoff=0.0)
        known = ", ".join(spelled[key] for key in ranked)
        raise ValueError(f"unknown data set {name!r}; the known ones, closest first: {known}")
    return spelled[name.lower()]


# How the splits of one graph come about: each function sets the three masks.


def _column(data: Data, split: int, _seed: int) -> None:
    """Take one of the splits that came with the data."""
    for key in ("train_mask", "val_mask", "test_mask"):
        # A single split has no second dimension.
        data[key] = data[key].view(data.num_nodes, -1)[:, split].contiguous().bool()


def _random(data: Data, _split: int, seed: int) -> None:
    """60 % of the nodes to train, 20 % each to validate and to test."""
    n = data.num_nodes
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    train, val, test = order.tensor_split([n * 6 // 10, n * 8 // 10])
    data.train_mask, data.val_mask, data.test_mask = (_mask(n, s) for s in (train, val, test))


def _karate(data: Data, _split: int, seed: int) -> None:
    """Keep the training nodes; of the rest, 10 to validate and the others to test."""
    rest = (~data.train_mask).nonzero().flatten()
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    data.val_mask = _mask(data.num_nodes, rest[order[:10]])
    data.test_mask = _mask(data.num_nodes, rest[order[10:]])


def _mask(size: int, nodes: Tensor) -> Tensor:
    """A mask that is true at the given nodes."""
    return torch.zeros(size, dtype=torch.bool).index_fill(0, nodes, True)


# What a row of the table can be.


@dataclass(frozen=True)
class _Generated:
    """A data set without files."""

    make: Callable[[int], Graphs]
    kind: Kind = "multiclass"
    metric: Metric = "accuracy"
    splits: int = 1

    def graphs(self, _name: str, _root: str | Path | None, _split: int, seed: int) -> Graphs:
        return self.make(seed)


@dataclass(frozen=True)
class _Files:
    """One graph that PyG reads from files."""

    reader: partial[InMemoryDataset]  # lacks the root only
    folder: str  # holds `raw`
    raw: tuple[str, ...]
    splits: int
    cut: Callable[[Data, int, int], None] = _column
    kind: Kind = "multiclass"
    metric: Metric = "accuracy"

    def graphs(self, name: str, root: str | Path | None, split: int, seed: int) -> Graphs:
        data = self._read(self._locate(name, root))
        self.cut(data, split, seed)
        return data, data, data

    def _locate(self, name: str, root: str | Path | None) -> Path:
        """The root, below which all raw files are there."""
        root = root or os.environ.get("GNNLIB_DATA")
        if not root:
            raise ValueError(
                f"{name} is read from files: pass the folder that holds {self.folder}/raw as root "
                "(--root), or set the environment variable GNNLIB_DATA to it"
            )
        root = Path(root).expanduser()
        raw = root / self.folder / "raw"
        missing = [file for file in self.raw if not (raw / file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{raw} lacks {', '.join(missing)}, which {name} needs: download them with "
                f"torch_geometric.datasets.{self._call(root)}, or pass the folder that holds "
                f"{self.folder}/raw as root (--root)"
            )
        return root

    def _read(self, root: Path) -> Data:
        """The processed graph, from the cache if the same files were processed before."""
        # PyG would write beside the raw files, where we may not, and several processes at once.
        key = hashlib.sha256(f"{torch_geometric.__version__} {self._call(Path())}".encode())
        for file in self.raw:
            key.update((root / self.folder / "raw" / file).read_bytes())
        path = _cache() / f"{self.folder.replace('/', '-')}-{key.hexdigest()[:32]}.pt"
        if not path.exists():
            self._process(root, path)
        return Data.from_dict(torch.load(path, weights_only=True))

    def _process(self, root: Path, path: Path) -> None:
        """Let PyG process a copy of the raw files, and keep the graph at ``path``."""
        raw = root / self.folder / "raw"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Inside the cache, so that the last step is a rename: a file that exists is whole.
            with TemporaryDirectory(dir=path.parent) as folder:
                copies = Path(folder, self.folder, "raw")
                copies.mkdir(parents=True)
                for file in self.raw:
                    shutil.copyfile(raw / file, copies / file)
                # PyG says "Processing..." there. Redirections of two threads must not interleave.
                with _STDERR, redirect_stderr(io.StringIO()):
                    data = self.reader(str(Path(folder, self._pyg_root)))[0]
                torch.save(data.to_dict(), Path(folder, "data.pt"))
                os.replace(Path(folder, "data.pt"), path)
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot process {raw} in the cache {path.parent}: {error.strerror or error}; set "
                "the environment variable GNNLIB_CACHE to a folder with room that can be written",
            ) from error
        except Exception as error:
            raise ValueError(
                f"PyG cannot process {raw}, whose files may be damaged ({error!r}): delete them "
                f"and download them again with torch_geometric.datasets.{self._call(root)}"
            ) from error

    def _call(self, root: Path) -> str:
        """The PyG call that reads this data set, as a user would type it."""
        arguments = [repr(str(root / self._pyg_root))]
        arguments += [f"{key}={value!r}" for key, value in self.reader.keywords.items()]
        return f"{self.reader.func.__name__}({', '.join(arguments)})"

    @property
    def _pyg_root(self) -> str:
        return self.folder.split("/")[0]


_STDERR = threading.Lock()


def _cache() -> Path:
    """The folder of the processed graphs."""
    folder = os.environ.get("GNNLIB_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnnlib"


# The table. First, shorthands for the rows that are alike.


def _karate_club(seed: int) -> Graphs:
    data = KarateClub()[0]
    _karate(data, 0, seed)
    return data, data, data


def _root_neighbors(seed: int) -> Graphs:
    train, val, test = (
        Batch.from_data_list(list(RootNeighbors(split, seed=seed)))
        for split in ("train", "val", "test")
    )
    return train, val, test


def _geom_splits(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_split_0.6_0.2_{i}.npz" for i in range(10))


def _planetoid(name: str) -> _Files:
    parts = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
    raw = tuple(f"ind.{name.lower()}.{part}" for part in parts)
    return _Files(partial(Planetoid, name=name), f"planetoid/{name}", raw, splits=1)


def _planetoid_geom(name: str) -> _Files:
    raw = _planetoid(name).raw + _geom_splits(name.lower())
    reader = partial(Planetoid, name=name, split="geom-gcn")
    return _Files(reader, f"planetoid/{name}/geom-gcn", raw, splits=10)


def _heterophilous(name: str) -> _Files:
    return _Files(
        partial(HeterophilousGraphDataset, name=name),
        f"heterophilous/{name}",
        (f"{name}.npz",),
        splits=10,
        kind="binary",
        metric="auroc",
    )


def _geom(reader: partial[InMemoryDataset], folder: str, name: str) -> _Files:
    raw = ("out1_node_feature_label.txt", "out1_graph_edges.txt", *_geom_splits(name))
    return _Files(reader, folder, raw, splits=10)


def _wikipedia(name: str) -> _Files:
    reader = partial(WikipediaNetwork, name=name, geom_gcn_preprocess=True)
    return _geom(reader, f"wikipedia/{name}/geom_gcn", name)


def _webkb(name: str) -> _Files:
    return _geom(partial(WebKB, name=name), f"webkb/{name}", name)


def _citation_full(name: str) -> _Files:
    reader = partial(CitationFull, name=name)
    return _Files(reader, f"citation_full/{name}", (f"{name}.npz",), splits=1, cut=_random)


_TABLE: dict[str, _Generated | _Files] = {
    "KarateClub": _Generated(_karate_club),
    "RootNeighbors": _Generated(_root_neighbors, kind="regression", metric="mae"),
    "Cora": _planetoid("Cora"),
    "CiteSeer": _planetoid("CiteSeer"),
    "Cora-geom": _planetoid_geom("Cora"),
    "CiteSeer-geom": _planetoid_geom("CiteSeer"),
    "Minesweeper": _heterophilous("minesweeper"),
    "Tolokers": _heterophilous("tolokers"),
    "Chameleon": _wikipedia("chameleon"),
    "Squirrel": _wikipedia("squirrel"),
    "Actor": _geom(partial(Actor), "actor", "film"),
    "Cornell": _webkb("cornell"),
    "Texas": _webkb("texas"),
    "Wisconsin": _webkb("wisconsin"),
    "Cora_ML": _citation_full("cora_ml"),
    "CiteSeer_Full": _citation_full("citeseer"),
    "DBLP": _citation_full("dblp"),
}
