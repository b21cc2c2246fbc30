"""From a config to a finished run."""

from dataclasses import asdict, replace

import torch
from lightning_fabric import Fabric

from gnnlib.datasets import load
from gnnlib.models import build

from ._config import TrainConfig
from ._loop import Run
from ._problem import NodeProblem
from ._result import Result, read_result


def train(config: TrainConfig) -> Result:
    """Train a model on a data set, with early stopping, checkpoints and an exact resume.

    A run that was killed and resumed gives the bits of a run that was not, on the same hardware
    and as far as the model's kernels are deterministic (gnnlib's are, PyG's scatter on CUDA is
    not). The run folder gets ``config.json``, ``metrics.csv``, ``last.ckpt``, ``best.ckpt``,
    ``curves.png``, ``result.json`` and, if the nodes of a small graph choose actions,
    ``actions.png``.

    Args:
        config: The run.

    Returns:
        The test metric at the epoch of the best validation metric, and how it came about.

    Raises:
        ValueError: The data set or a setting is unknown, the data set is not of node level, or a
            resumed run's config differs.
        FileNotFoundError: There is nothing to resume, or the data set's files are missing.
        FileExistsError: The run folder holds a run and ``resume`` is false.
        FloatingPointError: The loss or the validation metric is not finite.
        OSError: The run folder cannot be written; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the current epoch was finished and saved.
    """
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            precision=config.precision,
        )
    except RuntimeError as error:
        raise ValueError(
            f"cannot train with accelerator={config.accelerator} and precision="
            f"{config.precision} here: {error}"
        ) from error
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    task = load(**asdict(config.data))
    model, optimizer = fabric.setup(
        net := build(config.model, task.in_channels, task.out_channels),
        torch.optim.Adam(net.parameters(), lr=config.lr, weight_decay=config.weight_decay),
    )
    run = Run(config, fabric, NodeProblem(task, fabric), model, optimizer, task)
    run.open()
    run.fit()
    return run.close()


def complete(config: TrainConfig) -> Result:
    """Read the run back if it is finished, go on if it was stopped, start it otherwise.

    Args:
        config: The run; ``resume`` is set as need be.

    Raises:
        ValueError: The folder holds a run with another config; and what `train` raises.
    """
    if (config.folder / "result.json").exists():
        earlier, result = read_result(config.folder)
        if not config.differences(earlier) and earlier["epochs"] == config.epochs:
            return result
    return train(replace(config, resume=(config.folder / "last.ckpt").exists()))
