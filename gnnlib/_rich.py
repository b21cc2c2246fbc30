"""What rich draws on a terminal, as text."""

import io
from typing import Any


def as_text(renderable: Any) -> str:
    """What rich makes of an object, without colours; as wide as the terminal, if there is one."""
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise ImportError(
            "a report is printed by rich, which is not installed: pip install rich "
            "(or read its attributes)"
        ) from error
    terminal = Console()
    out = io.StringIO()
    # A table is as wide as its text, where no terminal limits it.
    width = terminal.width if terminal.is_terminal else 1000
    Console(file=out, width=width).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")
