"""The ``gnnlib`` command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from gnnlib import __version__

try:
    import tyro
    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gnnlib.demo import DemoConfig, demo
    from gnnlib.training import Result, TrainConfig, train
except ModuleNotFoundError as error:
    raise ImportError(
        f"the gnnlib command needs {error.name}, which is not installed: pip install gnnlib[train]"
    ) from error

Command = (
    Annotated[TrainConfig, tyro.conf.subcommand("train", description="Train one model.")]
    | Annotated[DemoConfig, tyro.conf.subcommand("demo")]
)


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
    command: TrainConfig | DemoConfig = tyro.cli(
        Command,
        prog="gnnlib",
        description="Train graph neural networks. `gnnlib --version` prints the version.",
        args=arguments,
    )
    try:
        results = [train(command)] if isinstance(command, TrainConfig) else demo(command)
    except (ValueError, OSError, FloatingPointError) as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt as stop:
        flag = " with --resume" if isinstance(command, TrainConfig) else ""
        text = f"{stop or 'stopped'}; repeat the command{flag} to continue"
        errors.print(escape(text), highlight=False, soft_wrap=True)
        return 130
    out = command.folder if isinstance(command, TrainConfig) else command.out
    _report(console, results, out)
    return 0


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
