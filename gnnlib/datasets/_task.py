"""What a data set is to a training loop: graphs, splits, and what is to be predicted."""

from dataclasses import dataclass
from typing import Literal

from torch_geometric.data import Data  # type: ignore[import-untyped, unused-ignore]

Level = Literal["node", "graph"]
Kind = Literal["multiclass", "binary", "regression"]
Metric = Literal["accuracy", "auroc", "mae"]
Graphs = tuple[Data, Data, Data]


@dataclass(frozen=True)
class Task:
    """A data set with its splits and with what is to be predicted.

    Attributes:
        name: Name of the data set, as `names` spells it.
        level: ``"node"`` or ``"graph"``: what a row of ``y`` belongs to. Below, ``M`` is the number
            of nodes or of graphs.
        kind: ``"multiclass"`` (``y [M]`` holds classes), ``"binary"`` (``y [M]`` holds the integers
            0 and 1) or ``"regression"`` (``y [M, out_channels]`` holds floats).
        metric: ``"accuracy"``, ``"auroc"`` or ``"mae"``.
        in_channels: Width of ``x``.
        out_channels: Width of a prediction: the number of classes, 1 for binary tasks, the width of
            ``y`` for regression.
        train: Node level: the graph to train on; the nodes that count are ``train.train_mask [N]``.
            Graph level: a ``Batch`` of the graphs to train on.
        val: Likewise, for validation: ``val.val_mask``, or a ``Batch``.
        test: Likewise, for the test: ``test.test_mask``, or a ``Batch``. Where the splits are nodes
            of one graph, all three are the same object, so that one forward pass serves all.

    Example:
        >>> from gnnlib.datasets import load
        >>> task = load("KarateClub")
        >>> task.kind, task.in_channels, task.out_channels, task.val is task.train
        ('multiclass', 34, 4, True)
    """

    name: str
    level: Level
    kind: Kind
    metric: Metric
    in_channels: int
    out_channels: int
    train: Data
    val: Data
    test: Data
