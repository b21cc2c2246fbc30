"""What a run leaves: its history as ``metrics.csv`` and its outcome as ``result.json``."""

import csv
import io
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from gnnlib._files import atomic_write


class Epoch(TypedDict):
    """One row of ``metrics.csv``; ``val`` and ``test`` are ``None`` where nothing was evaluated."""

    epoch: int
    loss: float
    val: float | None
    test: float | None
    seconds: float


History = list[Epoch]


class Best(TypedDict):
    """The epoch of the best validation metric so far, and both metrics there."""

    epoch: int
    val: float
    test: float


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        data: Name of the data set.
        model: Short name of the model.
        metric: ``"accuracy"``, ``"auroc"`` or ``"mae"``.
        best_epoch: Epoch of the best validation metric, counted from 1.
        val: Validation metric at that epoch.
        test: Test metric at that epoch.
        parameters: Number of trainable numbers in the model.
        seconds_per_epoch: Median over the epochs of the time to train, evaluation left out.
        folder: The run folder.
        history: One row an epoch.
    """

    data: str
    model: str
    metric: str
    best_epoch: int
    val: float
    test: float
    parameters: int
    seconds_per_epoch: float
    folder: Path
    history: History

    def save(self, config: dict[str, Any]) -> None:
        """Write ``result.json``; the history is in ``metrics.csv`` already.

        Args:
            config: The run's config as JSON types, kept beside the numbers.
        """
        outcome = asdict(self)
        del outcome["folder"], outcome["history"]
        text = json.dumps({"config": config, "result": outcome}, indent=2)
        atomic_write(self.folder / "result.json", text.encode())


def read_result(folder: Path) -> tuple[dict[str, Any], Result]:
    """Read a finished run back.

    Args:
        folder: A run folder.

    Returns:
        The run's config as JSON types, and its result.

    Raises:
        FileNotFoundError: The folder holds no finished run.
    """
    path = folder / "result.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run is not finished, or not there")
    content = json.loads(path.read_text())
    history = read_history(folder / "metrics.csv")
    return content["config"], Result(**content["result"], folder=folder, history=history)


def median_seconds(history: History) -> float:
    """Median seconds an epoch, which the slow first ones (allocation, caches) do not move."""
    return statistics.median(row["seconds"] for row in history)


def write_history(path: Path, history: History) -> None:
    """Write a history as CSV, at once and whole; floats keep every bit."""
    # Fabric's CSVLogger deletes what an earlier process logged in the same folder, which a resumed
    # run must keep, and it does not write atomically.
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(Epoch.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    atomic_write(path, text.getvalue().encode())


def read_history(path: Path) -> History:
    """Read a history that `write_history` wrote."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    with open(path, newline="") as file:
        return [
            Epoch(
                epoch=int(row["epoch"]),
                loss=float(row["loss"]),
                val=number(row["val"]),
                test=number(row["test"]),
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]
