"""Measure several implementations of the same work, side by side, and write their tables.

All sides of a case run in the same process and the same run, warm and in turn (A B C A B C ...), so
that whatever else the machine does hits them alike. Ratios count; times are those of one machine.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from benchmarks._machine import machine
from benchmarks._memory import peak_extra_memory
from benchmarks._table import Layout, Row, on_terminal, tables_of, write

RESULTS = Path(__file__).parent / "results"
# ms; a shorter sample is mostly the clock and the scheduler.
_SHORTEST_SAMPLE = 10.0
# Elements compared at once, so that comparing large results needs little memory.
_COMPARED = 2**22
# From a call and a number of calls to the mean ms of one.
Timer = Callable[[Callable[[], Any], int], float]


@dataclass(frozen=True)
class Side:
    """One implementation: ``call`` does the work once and returns its tensors."""

    name: str
    call: Callable[[], Any] | None
    note: str = ""  # why there is no call


@dataclass(frozen=True)
class Case:
    """One work. ``sides`` is called when its turn comes; its first side is ours.

    A case of a sweep names its ``cell``, the line and column of the table it belongs to, and is
    measured briefly: a tenth of the time, and no memory.

    All sides must be close to ours: in every entry or else, as rounding may decide a branch in some
    (which of two is the largest), as a whole, in norm, to ``tolerance``.
    """

    name: str
    sides: Callable[[], Sequence[Side]]
    cell: tuple[str, str] | None = None
    tolerance: float = 1e-4


# -- one case -----------------------------------------------------------------------------------


def tensors_of(result: Any) -> tuple[Tensor, ...]:
    """The result of a side, as a tuple."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


def disagreement(result: Any, expected: Any, tolerance: float) -> str:
    """Empty if both are close; float32 sums over a hub in any order are, to about 1e-4."""
    for ours, theirs in zip(tensors_of(expected), tensors_of(result), strict=True):
        if ours.shape != theirs.shape:
            return f"disagrees: shape {list(theirs.shape)} instead of {list(ours.shape)}"
        if not _close(theirs, ours):
            difference = (theirs - ours).float()
            if not difference.norm() <= tolerance * ours.float().norm():
                return f"disagrees: greatest absolute difference {difference.abs().max():.3g}"
    return ""


def _close(a: Tensor, b: Tensor) -> bool:
    parts = (t.reshape(-1).split(_COMPARED) for t in (a, b))
    return all(
        torch.allclose(x, y, rtol=1e-3, atol=1e-3, equal_nan=True)
        for x, y in zip(*parts, strict=True)
    )


def _check(sides: Sequence[Side], tolerance: float) -> list[Side]:
    """Run every side once; those that cannot, or that disagree with ours, keep only a note."""
    ours = sides[0].call
    assert ours is not None
    expected, checked = ours(), [sides[0]]
    for side in sides[1:]:
        note = side.note
        if side.call is not None:
            try:
                note = disagreement(side.call(), expected, tolerance)
            except (RuntimeError, NotImplementedError) as error:
                note = f"fails: {str(error).splitlines()[0][:160]}"
        checked.append(replace(side, call=None if note else side.call, note=note))
    return checked


def mean_time(call: Callable[[], Any], number: int) -> float:
    """Mean ms of ``number`` calls; freeing the last result is not timed."""
    start = time.perf_counter()
    for _ in range(number):
        result = call()
    stop = time.perf_counter()
    del result
    return (stop - start) * 1e3 / number


def _sample(call: Callable[[], Any], number: int, timer: Timer) -> tuple[float, int]:
    """Mean ms of a call, over ``number`` calls or as many more as make a sample; and how many."""
    while True:
        ms = timer(call, number)
        if ms * number >= _SHORTEST_SAMPLE / 2:
            return ms, number
        number = math.ceil(_SHORTEST_SAMPLE / ms)


def in_turn(
    calls: dict[str, Callable[[], Any]],
    rounds: int,
    seconds: float,
    tick: Callable[[str], None] = lambda _: None,
    timer: Timer = mean_time,
) -> dict[str, list[float]]:
    """The times of every side, in turn; a side that has used its share of the time drops out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    numbers, spent = dict.fromkeys(calls, 1), dict.fromkeys(calls, 0.0)
    for done in range(rounds):
        tick(f"round {done + 1}")
        for name, call in calls.items():
            if done == 0 or spent[name] < seconds / len(calls):
                start = time.perf_counter()
                ms, numbers[name] = _sample(call, numbers[name], timer)
                spent[name] += time.perf_counter() - start
                times[name].append(ms)
    return times


def measure(
    case: Case, rounds: int, seconds: float, tick: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Measure one case.

    Args:
        case: the work and its sides.
        rounds: at most this many rounds (each side once).
        seconds: for the rounds of all sides; one that has used an equal share of it drops out.
        tick: told what is going on, between calls.

    Returns:
        A row for each side, in order; the notes say why a side has no numbers.
    """
    tick(f"{case.name}: checking that all agree")
    sides = _check(case.sides(), case.tolerance)
    running = {side.name: side.call for side in sides if side.call is not None}
    peaks: dict[str, float | None] = dict.fromkeys(running)
    if case.cell is None:
        tick(f"{case.name}: memory")
        peaks = {name: peak_extra_memory(call) for name, call in running.items()}
    else:
        seconds /= 10
    gc.collect()
    times = in_turn(running, rounds, seconds, lambda text: tick(f"{case.name}: {text}"))
    ours = statistics.median(times[sides[0].name])
    return [
        Row(case.name, side.name, times[side.name],
            statistics.median(times[side.name]) / ours, peaks[side.name], cell=case.cell)
        if side.name in times else Row(case.name, side.name, note=side.note, cell=case.cell)
        for side in sides
    ]  # fmt: skip


# -- all cases ----------------------------------------------------------------------------------


def _measure_all(cases: Iterable[Case], rounds: int, seconds: float, console: Console) -> list[Row]:
    rows: list[Row] = []
    cases = list(cases)
    # No refresh by a thread of its own: it would take time from the sides.
    with Progress(console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=len(cases))

        def tick(text: str) -> None:
            progress.update(task, description=text, refresh=True)

        for case in cases:
            try:
                rows += measure(case, rounds, seconds, tick)
            except KeyboardInterrupt:
                tick("stopped")
                return [*rows, Row(case.name, "", note="stopped")]
            progress.advance(task)
    return rows


def run(
    name: str,
    cases: Iterable[Case],
    *,
    rounds: int,
    seconds: float,
    out: Path | None,
    peers: Sequence[str] = (),
    layout: Layout = tables_of,
    seed: int = 0,
) -> int:
    """Measure all cases, print their tables, and write them.

    Args:
        name: of the tables, and of their files.
        cases: what to measure.
        rounds: see :func:`measure`.
        seconds: see :func:`measure`; for each case.
        out: folder of the files; ``None`` only prints. Written at the end only: after Ctrl-C the
            files of an earlier run are still there, and the tables so far are printed.
        peers: distributions whose versions belong in the machine's line.
        layout: the tables of the rows.
        seed: of torch's global generator.

    Returns:
        The exit code: 0, 1 if a side disagrees with ours, 130 after Ctrl-C.
    """
    torch.manual_seed(seed)
    # What is there by now stays; without this every collection would walk all of torch.
    gc.collect()
    gc.freeze()
    console = Console()
    try:
        rows = _measure_all(cases, rounds, seconds, console)
    finally:
        gc.unfreeze()
    line = machine(peers)
    for table in layout(rows):
        console.print(on_terminal(name, table))
    console.print(line, highlight=False)
    if rows and rows[-1].note == "stopped":
        console.print("stopped: nothing was written", highlight=False)
        return 130
    if out is not None:
        write(out, name, line, rows, layout)
    return int(any(row.note.startswith("disagrees") for row in rows))
