"""Warnings that point to the line that is to blame."""

import sys
import warnings
from types import FrameType

_OURS = ("gnnlib", "torch", "torch_geometric")


def warn(message: str) -> None:
    """Warn at the innermost line that is neither ours nor of what calls modules and transforms."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
