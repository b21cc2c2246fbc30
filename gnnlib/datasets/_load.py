"""Public data sets by name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
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
    TUDataset,
    WebKB,
    WikipediaNetwork,
)
from torch_geometric.utils import degree  # type: ignore[import-untyped, unused-ignore]

from ._files import Files
from ._root_neighbors import RootNeighbors
from ._splits import fixed_nodes, held_out_nodes, random_graphs, random_nodes
from ._task import Graphs, Kind, Level, Metric, Task


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
    MUTAG, PROTEINS, ENZYMES   80/10/10 % of the graphs, by seed   ``tu/MUTAG``
    NCI1, REDDIT-BINARY        80/10/10 % of the graphs, by seed   ``tu/NCI1``
    IMDB-BINARY                80/10/10 % of the graphs, by seed   ``tu/IMDB-BINARY``
    =========================  ==================================  ===============================

    The last column names a folder whose own folder ``raw`` holds the files. They are those that PyG
    downloads, under PyG's names: ``Planetoid("<root>/planetoid", "Cora")`` fills that of Cora. Here
    nothing is downloaded, and ``root`` is only ever read: processed graphs are kept in
    ``$GNNLIB_CACHE`` (default ``~/.cache/gnnlib``), under a hash of the raw files. Directed graphs
    stay directed, and features are as PyG reads them.

    The sets in ``tu`` are graph-level: ``train``, ``val`` and ``test`` are a ``Batch`` of graphs
    each, with ``y [num_graphs]``. They are read with ``use_node_attr=True``, so that ``x`` holds
    the node attributes, then the one-hot node labels. The nodes of IMDB-BINARY and REDDIT-BINARY
    have neither; there, ``x [N, 1]`` is the degree of a node as a float (not one-hot, as is common
    for IMDB-BINARY).

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
        level=row.level,
        kind=row.kind,
        metric=row.metric,
        in_channels=train.num_node_features,
        out_channels=_WIDTH[row.kind](torch.cat([train.y, val.y, test.y])),
        train=train,
        val=val,
        test=test,
    )


def load_graphs(name: str, root: str | Path | None = None, seed: int = 0) -> list[Data]:
    """Load all graphs of a data set by name, as PyG has them, with all splits.

    Args:
        name: One of `names`, in upper or lower case.
        root: Folder of the files, for the data sets that have any (default: the environment
            variable ``GNNLIB_DATA``); see `load`.
        seed: Seed of generated data sets (default 0).

    Returns:
        The graphs, for the caller to change: a list of one for a data set of one graph.

    Raises:
        ValueError: The name is unknown, the data set has files and there is neither ``root`` nor
            ``GNNLIB_DATA``, or the files are damaged.
        FileNotFoundError: Files of the data set are missing in ``root``.
        OSError: The cache cannot be written.

    Example:
        >>> [graph.num_nodes for graph in load_graphs("KarateClub")]
        [34]
    """
    name = _full_name(name)
    row = _TABLE[name]
    if isinstance(row, _Read):
        return row.files.graphs(name, root)
    # Where the splits are nodes of one graph, all three are the same.
    splits = {id(split): split for split in row.make(seed)}.values()
    return [
        graph
        for split in splits
        for graph in (split.to_data_list() if isinstance(split, Batch) else [split])
    ]


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


# What a row of the table can be.


@dataclass(frozen=True)
class _Generated:
    """A data set without files."""

    make: Callable[[int], Graphs]
    level: Level = "node"
    kind: Kind = "multiclass"
    metric: Metric = "accuracy"
    splits: int = 1

    def graphs(self, _name: str, _root: str | Path | None, _split: int, seed: int) -> Graphs:
        return self.make(seed)


@dataclass(frozen=True)
class _Read:
    """A data set that PyG reads from files."""

    files: Files
    splits: int = 1
    cut: Callable[[list[Data], int, int], Graphs] = fixed_nodes
    level: Level = "node"
    kind: Kind = "multiclass"
    metric: Metric = "accuracy"

    def graphs(self, name: str, root: str | Path | None, split: int, seed: int) -> Graphs:
        return self.cut(self.files.graphs(name, root), split, seed)


# The table. First, shorthands for the rows that are alike.


def _karate_club(seed: int) -> Graphs:
    return held_out_nodes([KarateClub()[0]], 0, seed)


def _root_neighbors(seed: int) -> Graphs:
    train, val, test = (
        Batch.from_data_list(list(RootNeighbors(split, seed=seed)))
        for split in ("train", "val", "test")
    )
    return train, val, test


def _geom_splits(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_split_0.6_0.2_{i}.npz" for i in range(10))


def _planetoid(name: str) -> _Read:
    parts = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
    raw = tuple(f"ind.{name.lower()}.{part}" for part in parts)
    return _Read(Files(partial(Planetoid, name=name), f"planetoid/{name}", raw))


def _planetoid_geom(name: str) -> _Read:
    raw = _planetoid(name).files.raw + _geom_splits(name.lower())
    reader = partial(Planetoid, name=name, split="geom-gcn")
    return _Read(Files(reader, f"planetoid/{name}/geom-gcn", raw), splits=10)


def _heterophilous(name: str) -> _Read:
    reader = partial(HeterophilousGraphDataset, name=name)
    files = Files(reader, f"heterophilous/{name}", (f"{name}.npz",))
    return _Read(files, splits=10, kind="binary", metric="auroc")


def _geom(reader: partial[InMemoryDataset], folder: str, name: str) -> _Read:
    raw = ("out1_node_feature_label.txt", "out1_graph_edges.txt", *_geom_splits(name))
    return _Read(Files(reader, folder, raw), splits=10)


def _wikipedia(name: str) -> _Read:
    reader = partial(WikipediaNetwork, name=name, geom_gcn_preprocess=True)
    return _geom(reader, f"wikipedia/{name}/geom_gcn", name)


def _webkb(name: str) -> _Read:
    return _geom(partial(WebKB, name=name), f"webkb/{name}", name)


def _citation_full(name: str) -> _Read:
    reader = partial(CitationFull, name=name)
    return _Read(Files(reader, f"citation_full/{name}", (f"{name}.npz",)), cut=random_nodes)


def _tu(name: str, *parts: str) -> _Read:
    reader = partial(TUDataset, name=name, use_node_attr=True)
    raw = tuple(f"{name}_{part}.txt" for part in ("A", "graph_indicator", "graph_labels", *parts))
    return _Read(Files(reader, f"tu/{name}", raw), cut=_with_features, level="graph")


def _with_features(graphs: list[Data], split: int, seed: int) -> Graphs:
    """Random splits of graphs, whose nodes get their degree as a feature if they have none."""
    for data in graphs:
        if data.x is None:
            data.x = degree(data.edge_index[1], data.num_nodes).view(-1, 1)
    return random_graphs(graphs, split, seed)


_TABLE: dict[str, _Generated | _Read] = {
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
    "MUTAG": _tu("MUTAG", "node_labels", "edge_labels"),
    "PROTEINS": _tu("PROTEINS", "node_labels", "node_attributes"),
    "ENZYMES": _tu("ENZYMES", "node_labels", "node_attributes"),
    "NCI1": _tu("NCI1", "node_labels"),
    "IMDB-BINARY": _tu("IMDB-BINARY"),
    "REDDIT-BINARY": _tu("REDDIT-BINARY"),
}
