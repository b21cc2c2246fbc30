"""What a run is: plain frozen records, from which the command line and ``config.json`` follow."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gnnlib.models import ModelConfig

# A resumed run may train for longer and from a folder that was moved; anything else would make it
# another run under the old name.
MAY_DIFFER = ("epochs", "out", "resume")


@dataclass(frozen=True)
class DataConfig:
    """Which data set to train on.

    Example:
        >>> DataConfig("KarateClub").split
        0
    """

    name: str
    """Name of the data set, as `gnnlib.datasets.load` knows it."""
    root: Annotated[Path | None, tyro.conf.arg(aliases=["--root"])] = None
    """Folder of the data set's files; generated data sets need none."""
    split: int = 0
    """Which of the data set's fixed splits, counted from 0."""
    seed: int = 0
    """Seed of a generated data set or a random split (not of the training)."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Raises:
        ValueError: A field lies outside its range.

    Example:
        >>> TrainConfig(DataConfig("KarateClub"), ModelConfig(name="gcn")).folder.name
        'KarateClub-split0-gcn-seed0'
        >>> TrainConfig(DataConfig("KarateClub"), epochs=0)
        Traceback (most recent call last):
        ValueError: epochs must be at least 1, got 0
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 1000
    """Most epochs to train for (at least 1)."""
    patience: int = 200
    """Stop when the validation metric has not improved for this many epochs."""
    lr: float = 1e-3
    """Learning rate of Adam (above 0)."""
    weight_decay: float = 0.0
    """L2 penalty of Adam (0 or more)."""
    grad_clip: float | None = None
    """Largest norm of the gradient (above 0); None does not clip."""
    seed: int = 0
    """Seed of the weights, the dropout and the gates."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    devices: int = 1
    """Devices on each machine; more than one trains with DDP."""
    num_nodes: int = 1
    """Machines; more than one needs torchrun."""
    precision: Literal["32-true", "64-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Precision of the arithmetic, as Lightning Fabric names it."""
    out: Path | None = None
    """Run folder; None is runs/<data>-split<split>-<model>-seed<seed>."""
    resume: bool = False
    """Continue the run in the folder from its last checkpoint."""
    eval_every: int = 1
    """Epochs between two evaluations (at least 1)."""
    checkpoint_every: int = 10
    """Epochs between two checkpoints (at least 1): what a kill can cost."""

    def __post_init__(self) -> None:
        for name in ("epochs", "devices", "num_nodes", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more and finite, got {self.weight_decay}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2**32), got {self.seed}")
        if self.eval_every > min(self.epochs, self.patience):
            raise ValueError(
                f"eval_every must be at most epochs and patience, or no evaluation counts; got "
                f"eval_every={self.eval_every}, epochs={self.epochs}, patience={self.patience}"
            )

    @property
    def label(self) -> str:
        """Short name of the model: ``gcn``, or ``gcn-cooperative``."""
        return self.model.name + ("-cooperative" if self.model.cooperative else "")

    @property
    def folder(self) -> Path:
        """The run folder: ``out``, or a name made of the data set, the model and the seed."""
        name = f"{self.data.name}-split{self.data.split}-{self.label}-seed{self.seed}"
        return self.out if self.out is not None else Path("runs") / name

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON types only, which is how ``config.json`` and checkpoints hold it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    def differences(self, other: dict[str, Any]) -> list[str]:
        """How this config differs from an earlier one, field by field, as ``name: old -> new``.

        Args:
            other: The earlier config as ``to_dict`` gave it.

        Returns:
            One line for each field that differs, without those that a resumed run may change.
        """
        old, new = _flat(other), _flat(self.to_dict())
        return [
            f"{name}: {old.get(name, 'unset')} -> {new.get(name, 'unset')}"
            for name in {**old, **new}
            if name not in MAY_DIFFER and (name not in old or old[name] != new.get(name))
        ]


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"name": "gcn"}}`` as ``{"model.name": "gcn"}``."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
