"""What the loop knows of a task: batches, the loss of one, and predictions beside their targets."""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch_geometric.data import Data
from torchmetrics import MeanAbsoluteError, Metric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, MulticlassAccuracy

from gnnlib.datasets import Task
from gnnlib.layers import record_actions
from gnnlib.plotting import plot_actions

Split = Literal["train", "val", "test"]

# A picture of more nodes than this is a blot.
MAX_DRAWN_NODES = 200


class Problem(Protocol):
    """A task as the training loop sees it, whatever its level (nodes, graphs or links)."""

    def batches(self) -> Iterable[Any]:
        """One epoch's training batches, on the device."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The training loss of a batch, a scalar."""

    def predictions(
        self, model: nn.Module, splits: Iterable[Split]
    ) -> Iterator[tuple[Split, Tensor, Tensor]]:
        """Predictions and targets as a metric takes them, in as many pieces as suits the task."""

    def metric(self) -> Metric:
        """A fresh metric, on the device."""

    def draw(self, model: nn.Module, folder: Path) -> None:
        """Write the pictures that only this kind of task can show."""


class NodeProblem:
    """Predictions for the nodes of one graph (transductive) or of one graph a split.

    Args:
        task: The data set, from `gnnlib.datasets.load`.
        fabric: Puts the graphs where the model is.

    Raises:
        ValueError: The task is not of node level.
    """

    def __init__(self, task: Task, fabric: Fabric) -> None:
        if task.level != "node":
            raise ValueError(
                f"{task.name} is a {task.level}-level data set, and training knows node-level "
                "tasks only so far; for a loop of your own, gnnlib.datasets.load gives its batches"
            )
        self.task = task
        self.device = fabric.device
        # Splits that share a graph go on sharing it, so that one forward pass serves them all.
        # `Data.to` works in place, hence the shallow copy.
        graphs: dict[int, Data] = {}
        self.graphs: dict[Split, Data] = {}
        given: dict[Split, Data] = {"train": task.train, "val": task.val, "test": task.test}
        for split, graph in given.items():
            if id(graph) not in graphs:
                graphs[id(graph)] = fabric.to_device(copy.copy(graph))
            self.graphs[split] = graphs[id(graph)]

    def batches(self) -> list[Data]:
        """The whole training graph, as the only batch."""
        return [self.graphs["train"]]

    def loss(self, model: nn.Module, batch: Data) -> Tensor:
        """Cross entropy or mean squared error over the training nodes."""
        out = self._forward(model, batch)[batch.train_mask]
        y = batch.y[batch.train_mask]
        if self.task.kind == "multiclass":
            return F.cross_entropy(out, y)
        if self.task.kind == "binary":
            return F.binary_cross_entropy_with_logits(out.squeeze(-1), y.to(out.dtype))
        return F.mse_loss(out, y.to(out.dtype).view_as(out))

    def predictions(
        self, model: nn.Module, splits: Iterable[Split]
    ) -> Iterator[tuple[Split, Tensor, Tensor]]:
        """Class scores or predicted values, and targets, of the nodes of each split."""
        outputs: dict[int, Tensor] = {}
        for split in splits:
            graph = self.graphs[split]
            if id(graph) not in outputs:
                outputs[id(graph)] = self._forward(model, graph)
            mask = graph[f"{split}_mask"]
            out, y = outputs[id(graph)][mask], graph.y[mask]
            if self.task.kind == "binary":
                # torchmetrics takes scores outside [0, 1] for logits and puts them through a
                # sigmoid, whose float32 ties every logit above 17. Softsign keeps their order.
                yield split, (F.softsign(out.squeeze(-1).float()) + 1) / 2, y.long()
            elif self.task.kind == "multiclass":
                yield split, out, y
            else:
                yield split, out, y.to(out.dtype).view_as(out)

    def metric(self) -> Metric:
        """The task's metric, from torchmetrics."""
        metric: Metric
        match self.task.kind, self.task.metric:
            case "multiclass", "accuracy":
                metric = MulticlassAccuracy(self.task.out_channels, average="micro")
            case "binary", "accuracy":
                metric = BinaryAccuracy()
            case "binary", "auroc":
                metric = BinaryAUROC()
            case "regression", "mae":
                metric = MeanAbsoluteError()
            case kind, name:
                raise ValueError(
                    f"{self.task.name} is a {kind} task, which {name} does not measure; choose "
                    "accuracy (multiclass, binary), auroc (binary) or mae (regression)"
                )
        return metric.to(self.device)

    def draw(self, model: nn.Module, folder: Path) -> None:
        """Draw ``actions.png``: what each node does in each layer, if the model's nodes choose."""
        graph = self.graphs["test"]
        if graph.num_nodes <= MAX_DRAWN_NODES:
            model.eval()
            with torch.no_grad(), record_actions() as actions:
                self._forward(model, graph)
            if actions:
                plot_actions(graph, actions, folder / "actions.png")

    @staticmethod
    def _forward(model: nn.Module, graph: Data) -> Tensor:
        out: Tensor = model(graph.x, graph.edge_index, graph.edge_weight)
        return out
