"""How much memory a call needs."""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _status(key: str) -> int:
    """A field of /proc/self/status, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


def _release_free_memory() -> None:
    """Give back what malloc keeps, or a call could reuse it and seem to need nothing."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: not glibc
        ctypes.CDLL(None).malloc_trim(0)


def peak_extra_memory(call: Callable[[], Any]) -> float | None:
    """MiB that ``call`` needed at its peak beyond what was resident before it, results included.

    The kernel's own high-water mark of resident memory, so that every allocator counts. ``None``
    where the mark cannot be reset, that is outside Linux and in some containers.
    """
    _release_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return max(0, _status("VmHWM") - before) / 2**20
    except OSError:
        return None
