"""The one training loop."""

import json
import math
import operator
import time
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torchmetrics import Metric

from gnnlib._files import atomic_write
from gnnlib.datasets import Task
from gnnlib.plotting import plot_curves

from . import _checkpoint
from ._config import TrainConfig
from ._interrupt import Interrupt
from ._problem import Problem, Split
from ._result import Best, Epoch, History, Result, median_seconds, write_history

# A larger accuracy is a better one, a larger error is not.
BETTER = {"accuracy": operator.gt, "auroc": operator.gt, "mae": operator.lt}


class Run:
    """A model in training and the folder that holds what is known of it."""

    def __init__(
        self,
        config: TrainConfig,
        fabric: Fabric,
        problem: Problem,
        model: _FabricModule,
        optimizer: _FabricOptimizer,
        task: Task,
    ) -> None:
        self.config = config
        self.fabric = fabric
        self.problem = problem
        self.model = model
        self.optimizer = optimizer
        self.name, self.metric = task.name, task.metric
        self.metrics: dict[Split, Metric] = {"val": problem.metric(), "test": problem.metric()}
        self.folder = config.folder
        self.history: History = []
        self.best: Best | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the validation metric stopped improving."""
        waited = self.epoch - (self.best["epoch"] if self.best else 0)
        return self.epoch >= self.config.epochs or waited >= self.config.patience

    def open(self) -> None:
        """Start the run folder, or go back to its last checkpoint."""
        if self.config.resume:
            state = _checkpoint.load(self.folder / "last.ckpt")
            if differences := self.config.differences(state["config"]):
                raise ValueError(
                    f"cannot resume {self.folder} with another config: {', '.join(differences)}; "
                    "give the old values, or another --out for a new run"
                )
            self.history, self.best = state["history"], state["best"]
            _checkpoint.restore(self.fabric, self.model, self.optimizer, state)
            if self.config.epochs < state["config"]["epochs"]:
                raise ValueError(
                    f"a resumed run can only grow: epochs was {state['config']['epochs']}, "
                    f"got {self.config.epochs}"
                )
        elif self.folder.exists() and any(p.suffix != ".tmp" for p in self.folder.iterdir()):
            raise FileExistsError(
                f"{self.folder} already holds a run or other files; add --resume to continue the "
                "run, or give another folder as --out"
            )
        # No process writes before all have looked. The checkpoint of epoch 0 makes a run that is
        # killed at once one that can be resumed; a resumed run's metrics go back to its checkpoint.
        self.fabric.barrier()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.save()
        if self.fabric.is_global_zero:
            text = json.dumps(self.config.to_dict(), indent=2)
            atomic_write(self.folder / "config.json", text.encode())

    def fit(self) -> None:
        """Train until `finished`, or until Ctrl-C."""
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self.fabric.is_global_zero,
        )
        with Interrupt() as interrupt, bar:
            line = bar.add_task(
                f"{self.name} {self.config.label}",
                total=self.config.epochs,
                completed=self.epoch,
                status="",
            )
            while not self.finished:
                status = self.step()
                bar.update(line, completed=self.epoch, status=status)
                # Any process that saw Ctrl-C stops all, at the same epoch.
                stop = self.fabric.strategy.reduce_boolean_decision(interrupt.asked, all=False)
                if stop or self.finished or self.epoch % self.config.checkpoint_every == 0:
                    self.save()
                if stop:
                    raise KeyboardInterrupt(
                        f"stopped after epoch {self.epoch}, saved in {self.folder}"
                    )

    def step(self) -> str:
        """Train an epoch and evaluate it if its turn has come; returns a line that says how."""
        self.synchronize()
        start = time.perf_counter()
        loss = self.train_epoch()
        self.synchronize()
        row = Epoch(
            epoch=self.epoch + 1,
            loss=loss,
            val=None,
            test=None,
            seconds=time.perf_counter() - start,
        )
        self.check_finite("training loss", loss)
        status = f"loss {loss:.4f}"
        if row["epoch"] % self.config.eval_every == 0:
            val, test = row["val"], row["test"] = self.evaluate()
            self.check_finite(f"validation {self.metric}", val)
            if self.best is None or BETTER[self.metric](val, self.best["val"]):
                self.best = Best(epoch=row["epoch"], val=val, test=test)
                self.write_checkpoint(
                    "best.ckpt", {"best": self.best, "model": self.model.state_dict()}
                )
        if self.best is not None:
            status += f" best {self.best['val']:.4f}"
        self.history.append(row)
        return status

    def train_epoch(self) -> float:
        """One optimizer step a batch; returns the mean loss over the batches and the processes."""
        self.model.train()
        losses = []
        for batch in self.problem.batches():
            self.optimizer.zero_grad()
            loss = self.problem.loss(self.model, batch)
            self.fabric.backward(loss)
            if self.config.grad_clip is not None:
                # Gradients that are not finite are the loss scaler's business, or `check_finite`'s.
                self.fabric.clip_gradients(
                    self.model,
                    self.optimizer,
                    max_norm=self.config.grad_clip,
                    error_if_nonfinite=False,
                )
            self.optimizer.step()
            losses.append(loss.detach())
        mean = self.fabric.all_reduce(torch.stack(losses).mean(), reduce_op="mean")
        return float(cast("Tensor", mean))

    # Not inference mode: whatever a model of the user's caches here must serve the next epoch too.
    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """The metric on the validation and the test split."""
        self.model.eval()
        for metric in self.metrics.values():
            metric.reset()
        for split, prediction, target in self.problem.predictions(self.model, self.metrics):
            self.metrics[split].update(prediction, target)
        return float(self.metrics["val"].compute()), float(self.metrics["test"].compute())

    def save(self) -> None:
        """Write the checkpoint that `open` resumes from, and the metrics up to it."""
        state = _checkpoint.training_state(self.fabric, self.model, self.optimizer)
        state |= {
            "config": self.config.to_dict(),
            "history": self.history,
            "best": self.best,
        }
        self.write_checkpoint("last.ckpt", state)
        if self.fabric.is_global_zero:
            write_history(self.folder / "metrics.csv", self.history)

    def write_checkpoint(self, name: str, state: dict[str, Any]) -> None:
        """Write one file of the run folder, from the first process only."""
        if self.fabric.is_global_zero:
            _checkpoint.save(self.folder / name, state)

    def close(self) -> Result:
        """Sum the run up, on disk and for the caller."""
        # `TrainConfig` makes sure that at least one epoch was evaluated.
        assert self.best is not None
        result = Result(
            data=self.name,
            model=self.config.label,
            metric=self.metric,
            best_epoch=self.best["epoch"],
            val=self.best["val"],
            test=self.best["test"],
            parameters=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            seconds_per_epoch=median_seconds(self.history),
            folder=self.folder,
            history=self.history,
        )
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            self.model.load_state_dict(_checkpoint.load(self.folder / "best.ckpt")["model"])
            title = f"{result.data} ({result.metric})"
            plot_curves({title: {result.model: self.history}}, self.folder / "curves.png")
            self.problem.draw(self.model, self.folder)
            result.save(self.config.to_dict())
        return result

    def check_finite(self, name: str, value: float) -> None:
        """Stop a run that has diverged, before it overwrites a good checkpoint."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value} in epoch {self.epoch + 1}: lower --lr "
                f"(now {self.config.lr}) or set --grad-clip (now {self.config.grad_clip}); "
                f"the last good checkpoint is kept in {self.folder}"
            )

    def synchronize(self) -> None:
        """Wait for the device, so that a clock read here tells the truth."""
        if self.fabric.device.type != "cpu":
            torch.accelerator.synchronize(self.fabric.device)
