"""The demonstration: a plain GCN beside the same GCN made cooperative, on two data sets."""

from dataclasses import dataclass, replace
from pathlib import Path

from gnnlib._files import atomic_write
from gnnlib.models import ModelConfig
from gnnlib.plotting import plot_curves
from gnnlib.training import DataConfig, Epoch, Result, TrainConfig, complete

DATA = ("KarateClub", "RootNeighbors")

# RootNeighbors asks a node to know its neighbours' degrees, which a sum can count.
MODEL = ModelConfig(name="gcn", num_layers=2, action="sum")


@dataclass(frozen=True)
class DemoConfig:
    """Train a plain and a cooperative GCN on two small data sets and compare them."""

    out: Path = Path("gnnlib-demo")
    """Folder for the four runs and the two pictures."""
    epochs: int = 200
    """Most epochs of each run (at least 10, as every tenth is evaluated)."""


def demo(config: DemoConfig) -> list[Result]:
    """Train a plain and a cooperative GCN on KarateClub and RootNeighbors.

    Runs that are finished are read back and runs that were stopped go on, so repeating the
    command is safe and quick. Writes ``curves.png`` and ``karate-actions.png``.

    Args:
        config: Where to write, and for how long to train.

    Returns:
        The four results: for each data set the plain and the cooperative model.

    Raises:
        ValueError: The folder holds a demonstration with other settings.
        FileExistsError: A run's folder holds other files.
    """
    results = [
        complete(
            TrainConfig(
                data=DataConfig(data),
                model=replace(MODEL, cooperative=cooperative),
                epochs=config.epochs,
                lr=1e-2,
                accelerator="cpu",
                # Two more passes over RootNeighbors' graphs each: most of the time, if each epoch.
                eval_every=10,
                checkpoint_every=50,
                out=config.out / (data + ("-cooperative" if cooperative else "")),
            )
        )
        for data in DATA
        for cooperative in (False, True)
    ]
    histories: dict[str, dict[str, list[Epoch]]] = {}
    for result in results:
        histories.setdefault(f"{result.data} ({result.metric})", {})[result.model] = result.history
    plot_curves(histories, config.out / "curves.png")
    drawn = results[1].folder / "actions.png"
    atomic_write(config.out / "karate-actions.png", drawn.read_bytes())
    return results
