"""Time and memory of a call, on the device it runs on."""

import contextlib
import gc
from collections.abc import Callable
from typing import Any

import torch

from benchmarks._harness import Timer, mean_time
from benchmarks._memory import peak_extra_memory


def timer(device: torch.device) -> Timer:
    """What measures the mean ms of calls whose work is on ``device``."""
    return _by_events if device.type == "cuda" else mean_time


def _by_events(call: Callable[[], Any], number: int) -> float:
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    # No result is kept, as two of a large graph may not fit.
    for _ in range(number):
        call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / number


def peak(device: torch.device, call: Callable[[], Any]) -> float | None:
    """MiB that ``call`` needed at its peak beyond what was allocated, results included."""
    if device.type != "cuda":
        return peak_extra_memory(call)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def finish(device: torch.device) -> None:
    """Wait for what was begun."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_lost(device: torch.device) -> bool:
    """Whether a kernel has failed in a way after which this process cannot use the GPU."""
    try:
        finish(device)
    except RuntimeError:
        return True
    return False


def release(device: torch.device) -> None:
    """Give back a GPU's memory that nothing uses, so that the next work finds it in one piece."""
    if device.type == "cuda":
        gc.collect()
        with contextlib.suppress(RuntimeError):  # a lost GPU, which is_lost tells of
            torch.cuda.empty_cache()
