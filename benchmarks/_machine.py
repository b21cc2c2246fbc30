"""The machine a table was made on, in one line."""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence

import torch

import gnnlib


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _total_memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):
        return "unknown memory"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def machine(peers: Sequence[str] = ()) -> str:
    """One line: processor, threads, memory, system, versions, date. Nothing that names the host."""
    distributions = ("torch", "torch-geometric", *peers)
    return ", ".join(
        [
            _processor(),
            f"{torch.get_num_threads()} threads on {os.cpu_count()} processors",
            f"{torch.backends.cpu.get_cpu_capability()}",
            _total_memory(),
            f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
            f"Python {platform.python_version()}",
            f"gnnlib {gnnlib.__version__}",
            *(f"{name} {_version(name)}" for name in distributions),
            time.strftime("%Y-%m-%d"),
        ]
    )
