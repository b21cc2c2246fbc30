"""The ``gnnlib`` command."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Union

import numpy as np
from torch import Tensor

from gnnlib import __version__

try:
    import tyro
    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gnnlib._rewire import draw_curvature, rewire
    from gnnlib._rewire_config import (
        CurvatureConfig,
        RewireConfig,
        argument_names,
        rewire_configs,
    )
    from gnnlib.demo import DemoConfig, demo
    from gnnlib.training import Result, TrainConfig, train
except ModuleNotFoundError as error:
    raise ImportError(
        f"the gnnlib command needs {error.name}, which is not installed: pip install gnnlib[train]"
    ) from error

# Of types that are known at run time, as those of the rewirings.
Command: Any = Union[  # noqa: UP007
    Annotated[TrainConfig, tyro.conf.subcommand("train", description="Train one model.")],
    Annotated[DemoConfig, tyro.conf.subcommand("demo")],
    Annotated[
        rewire_configs(),
        tyro.conf.subcommand("rewire", description="Rewire a graph or a data set."),
    ],
    Annotated[CurvatureConfig, tyro.conf.subcommand("curvature")],
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``gnnlib`` command.

    Args:
        argv: Its arguments, without the program's name; None takes those of the process.

    Returns:
        The exit code: 0, 2 after an error of the user's (bad value, missing file, full disk,
        diverging run), which is told in one line, or 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments could not be parsed, or help was asked for.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        gnnlib ...
        0
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    console, errors = Console(), Console(stderr=True)
    # tyro knows subcommands or a flag that ends the program, not both.
    if arguments == ["--version"]:
        console.print(f"gnnlib {__version__}", highlight=False)
        return 0
    command: Any = tyro.cli(
        Command,
        prog="gnnlib",
        description="Train graph neural networks, and rewire graphs. `gnnlib --version` prints the "
        "version.",
        config=(tyro.conf.FlagCreatePairsOff,),
        args=arguments,
    )
    try:
        _run(command, console, errors)
    except (ValueError, OSError, FloatingPointError, IndexError, TypeError) as error:
        text = escape(_as_typed(str(error)))
        errors.print(f"[bold red]error:[/] {text}", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt as stop:
        flag = " with --resume" if isinstance(command, TrainConfig) else ""
        text = f"{str(stop) or 'stopped'}; repeat the command{flag} to continue"
        errors.print(escape(text), highlight=False, soft_wrap=True)
        return 130
    return 0


def _as_typed(text: str) -> str:
    """A message with the arguments of Python as those of the command."""
    text = re.sub(r"pass fill=\{.*?: \.\.\.\}, a number or a row", "pass --fill, a number", text)
    text = re.sub(r"\bundirected=True\b", "--undirected", text)
    typed = {name: f"--{name.replace('_', '-')}" for name in argument_names()}
    return re.sub(r"`(\w+)`", lambda found: typed.get(found[1], found[0]), text)


def _run(command: Any, console: Console, errors: Console) -> None:
    """Do what was asked for, and print what came of it."""
    bar = errors.is_terminal
    if isinstance(command, TrainConfig):
        _report(console, [train(command)], command.folder)
    elif isinstance(command, DemoConfig):
        _report(console, demo(command), command.out)
    elif isinstance(command, RewireConfig):
        method = command.method()
        report, written = rewire(method, command.data, command.out, command.root, bar)
        console.print(escape(repr(method)), highlight=False, soft_wrap=True)
        console.print(report)
        _say_written(console, written)
    else:
        kind, data, undirected = command.kind, command.data, command.undirected
        values, written = draw_curvature(kind, data, command.out, command.root, undirected, bar)
        console.print(_summary(kind, values))
        _say_written(console, written)


def _say_written(console: Console, written: Sequence[Path]) -> None:
    names = ", ".join(str(path) for path in written)
    console.print(f"written: {escape(names)}", highlight=False, soft_wrap=True)


def _summary(kind: str, values: Tensor) -> Table:
    """One row a figure of the curvature of all edges."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{kind.replace('_', ' ').title()} curvature", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    known = values[values.isfinite()]
    table.add_row("edges, each way", f"{known.numel():,}")
    table.add_row("self loops, without a curvature", f"{values.isnan().sum():,}")
    if known.numel():
        table.add_row("mean", f"{known.mean():.4g}")
        table.add_row("below zero", f"{(known < 0).double().mean():.1%}")
        names = ("smallest", "lower quartile", "median", "upper quartile", "largest")
        for name, value in zip(names, np.quantile(known, [0, 0.25, 0.5, 0.75, 1]), strict=True):
            table.add_row(name, f"{value:.4g}")
    return table


# Under torchrun every process gets here.
@rank_zero_only
def _report(console: Console, results: Sequence[Result], out: Path) -> None:
    """Print the table, and where the rest is."""
    console.print(_table(results))
    console.print(f"metrics, checkpoints and pictures: {escape(str(out))}", soft_wrap=True)


def _table(results: Sequence[Result]) -> Table:
    """One row a run."""
    table = Table(
        caption="test: at the best validation epoch; s/epoch: median",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("data set", "model", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("test", "parameters", "s/epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result.data,
            result.model,
            result.metric,
            f"{result.test:.4f}",
            f"{result.parameters:,}",
            f"{result.seconds_per_epoch:.4f}",
        )
    return table
