"""Co-GNN's own experiments: the paper's numbers beside ours.

    python -m benchmarks.papers.cognn [--root DATA] [--out RUNS]

Each row is one training run; runs are resumable, and finished ones are read back. The paper's
RootNeighbors numbers follow 10,000 epochs, and its Minesweeper numbers are means over ten splits
of up to 3,000 epochs: ours are one run of split 0 each.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._harness import RESULTS
from benchmarks._machine import machine
from gnnlib._files import atomic_write
from gnnlib.models import ModelConfig
from gnnlib.plotting import plot_curves
from gnnlib.training import DataConfig, TrainConfig, complete

COLUMNS = ("data set", "model", "metric", "paper", "ours", "epochs", "parameters", "s/epoch")

ROOT_NEIGHBORS = ModelConfig(
    conv="mean",
    action="sum",
    num_layers=1,
    hidden_channels=32,
    action_layers=2,
    learn_temperature=True,
    layer_norm=False,
)
MINESWEEPER = ModelConfig(
    conv="mean",
    action="mean",
    num_layers=15,
    hidden_channels=32,
    dropout=0.2,
    act="gelu",
    learn_temperature=True,
)


@dataclass(frozen=True)
class Experiment:
    """One row: a run, and what the paper reports for it."""

    label: str
    paper: str
    config: TrainConfig


def experiments(root: Path | None, out: Path, epochs: int) -> Iterator[Experiment]:
    """The runs; Minesweeper's only where its files are."""

    def run(data: DataConfig, model: ModelConfig, name: str) -> TrainConfig:
        folder = out / f"{data.name}-{name}"
        return TrainConfig(data, model, epochs=epochs, patience=epochs, lr=3e-3, out=folder)

    trees = DataConfig("RootNeighbors")
    plain = replace(ROOT_NEIGHBORS, action="none")
    yield Experiment("mean, no actions", "0.329", run(trees, plain, "mean"))
    yield Experiment("sum, no actions", "0.370", run(trees, replace(plain, conv="sum"), "sum"))
    yield Experiment("Co-GNN(Σ, µ)", "0.079", run(trees, ROOT_NEIGHBORS, "cognn"))
    if root is not None:
        mines = DataConfig("Minesweeper", root=root)
        plain = replace(MINESWEEPER, action="none")
        yield Experiment("mean, no actions", "-", run(mines, plain, "mean"))
        yield Experiment("Co-GNN(µ, µ)", "0.9731", run(mines, MINESWEEPER, "cognn"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers.cognn", description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of the data sets' files, for Minesweeper")
    parser.add_argument("--out", type=Path, default=Path("runs/papers-cognn"), help="run folders")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the table goes")
    options = parser.parse_args(argv)
    rows, histories = [], {}
    for experiment in experiments(options.root, options.out, options.epochs):
        result = complete(experiment.config)
        name = f"{result.data} ({result.metric})"
        histories.setdefault(name, {})[experiment.label] = result.history
        rows.append(
            (
                result.data,
                experiment.label,
                result.metric,
                experiment.paper,
                f"{result.test:.4f}",
                str(len(result.history)),
                f"{result.parameters:,}",
                f"{result.seconds_per_epoch:.3f}",
            )
        )
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    head = "# Co-GNN, the paper's experiments\n\n" + machine() + "\n\n"
    note = (
        "\n\nTest metric at the best validation epoch; s/epoch: median training step. The paper's "
        "rows are 10,000 epochs (RootNeighbors) and means over ten splits of up to 3,000 "
        "(Minesweeper); ours are one run of split 0.\n\n![curves](papers-cognn.png)\n"
    )
    options.results.mkdir(parents=True, exist_ok=True)
    atomic_write(options.results / "papers-cognn.md", (head + text + note).encode())
    plot_curves(histories, options.results / "papers-cognn.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
