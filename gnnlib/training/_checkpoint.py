"""Everything a run needs to go on as if it had never stopped."""

import io
import random
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer

from gnnlib._files import atomic_write


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file to write or replace.
        state: Tensors and plain Python values only, so that loading it runs no code.

    Raises:
        OSError: It cannot be written; an earlier checkpoint at ``path`` is kept.
    """
    # torch's own writer turns a full disk into a RuntimeError; bytes in memory meet it as OSError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError: There is none at ``path``.
        ValueError: It is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"nothing to resume: {path} does not exist; start the run without --resume, or give "
            "the folder it was started with as --out"
        )
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): give another folder as --out, or delete this one, and "
            "start anew"
        ) from error
    return state


def training_state(
    fabric: Fabric, model: _FabricModule, optimizer: _FabricOptimizer
) -> dict[str, Any]:
    """The weights, the optimizer, the loss scale of mixed precision and the random generators."""
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "precision": fabric.strategy.precision.state_dict(),
        "rng": _rng_state(fabric.device),
    }


def restore(
    fabric: Fabric, model: _FabricModule, optimizer: _FabricOptimizer, state: dict[str, Any]
) -> None:
    """Put back what `training_state` returned."""
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    fabric.strategy.precision.load_state_dict(state["precision"])
    _set_rng_state(fabric.device, state["rng"])


# The processes of a distributed run draw the same numbers (they share the seed and the batches),
# so the state of one of them, on its own device, is the state of all.


def _rng_state(device: torch.device) -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        # As plain values: a NumPy array needs code to be loaded.
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_rng_state(device: torch.device, state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    # With accelerator="auto" a run may go on on a machine with other devices.
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
