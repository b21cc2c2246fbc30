"""A model in a folder, as Hugging Face users expect it: its arguments, and its weights."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from gnnlib._files import atomic_write, make_folder

CONFIG, WEIGHTS = "config.json", "pytorch_model.bin"


def write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a model's arguments and weights.

    Raises:
        OSError: a file cannot be written; what was there before is kept.
    """
    make_folder(folder)
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    atomic_write(folder / WEIGHTS, buffer.getvalue())
    atomic_write(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def read(folder: Path, device: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model's arguments and weights; no code in the files is run.

    Raises:
        FileNotFoundError: one of the files is not there.
        ValueError: one is damaged.
    """
    for path in (folder / CONFIG, folder / WEIGHTS):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist: `folder` must be one that save_pretrained wrote (get one "
                "from the Hugging Face Hub with huggingface_hub.snapshot_download, which returns "
                "its folder)"
            )
    try:
        config: Any = json.loads((folder / CONFIG).read_bytes())
        weights: Any = torch.load(folder / WEIGHTS, map_location=device, weights_only=True)
    except (ValueError, RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise ValueError(
            f"the model in {folder} is damaged, or was not written by save_pretrained: {error}"
        ) from error
    return config, weights


@dataclass(frozen=True)
class Nameless:
    """What stands for a value that JSON has nothing like.

    Args:
        argument: which argument it is, or is in.
        text: what it is called.
    """

    argument: str
    text: str

    def __repr__(self) -> str:
        return self.text


def plain(argument: str, value: Any) -> Any:
    """The value of an argument as JSON has it, with a Nameless for what it has not."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(argument, part) for part in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: plain(f"{argument}[{name!r}]", part) for name, part in value.items()}
    return Nameless(argument, getattr(value, "__name__", type(value).__name__))


def named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of plain arguments.

    Raises:
        ValueError: one of them is Nameless.
    """
    copied: dict[str, Any] = json.loads(json.dumps(arguments, default=_refuse))
    return copied


def _refuse(value: Nameless) -> None:
    raise ValueError(
        f"`{value.argument}` must be a name or a number to be written down, got {value.text}, of "
        "which JSON has no form (pass a name, as in conv='gcn', act='relu' or aggr='lcm', or keep "
        "the state_dict instead)"
    )
