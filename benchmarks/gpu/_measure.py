"""Measure one work on a device; a side that fails is a row that says why."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks._harness import Case, Side, disagreement, in_turn
from benchmarks._peers import NOT_INSTALLED
from benchmarks._table import Row, Table, number
from benchmarks.gpu._meter import finish, peak, release, timer

COLUMNS = (
    "work", "side", "median ms", "quartiles ms", "ratio", "GB/s", "of the copy", "peak MiB",
    "target", "note",
)  # fmt: skip
_ALL = "all sides"


@dataclass(frozen=True)
class Task:
    """A case, the bytes that it must move (``None``: not counted), and the targets of its sides.

    A target is text, shown beside what was measured; nothing compares the two.
    """

    case: Case
    moved: Callable[[], int] | None = None
    targets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure(Row):
    """What was measured of one side, the GB/s of what must move, and its share of the copy's."""

    rate: float | None = None
    share: float | None = None
    target: str = ""

    def cells(self) -> tuple[str, ...]:
        """The figure as text, one cell for each of :data:`COLUMNS`."""
        *before, memory, note = super().cells()
        rate = "" if self.rate is None else number(self.rate)
        share = "" if self.share is None else f"{self.share:.0%}"
        return *before, rate, share, memory, self.target, note

    @property
    def is_failure_of_ours(self) -> bool:
        """Whether ours, or the work as a whole, could not be run."""
        return self.side.startswith(("gnnlib", _ALL)) and self.note.startswith("fails")


def unmeasured(task: Task, note: str) -> Figure:
    """The one row of a work without figures."""
    return Figure(task.case.name, _ALL, note=note)


@dataclass(frozen=True)
class Limits:
    """At most so many rounds a case, and so many seconds for them."""

    rounds: int
    seconds: float


def table(rows: Sequence[Row]) -> list[Table]:
    """All figures in one table."""
    legend = (
        "Ratio: median time over that of ours; above 1, ours is faster. "
        "Of the copy: GB/s over those of a large copy. See ../README.md."
    )
    text = frozenset({"work", "side", "target", "note"})
    return [Table(legend, COLUMNS, [row.cells() for row in rows], text)]


def measure(task: Task, device: torch.device, limits: Limits, copy: float | None) -> list[Figure]:
    """Measure one task.

    Args:
        task: the work.
        device: where its sides run.
        limits: of the rounds.
        copy: GB/s of a large copy, if it was measured.

    Returns:
        A figure for each side; its note says what failed, or that it disagrees with the first.
    """
    try:
        release(device)
        return _figures(task, device, limits, copy)
    except Exception as error:
        return [unmeasured(task, _why(error))]


def _figures(task: Task, device: torch.device, limits: Limits, copy: float | None) -> list[Figure]:
    # What is not installed is in the machine's line.
    sides = [side for side in task.case.sides() if side.note != NOT_INSTALLED]
    moved = None if task.moved is None else task.moved()
    notes = _notes(sides, task.case.tolerance, device)
    calls: dict[str, Callable[[], Any]] = {
        side.name: side.call
        for side in sides
        if side.call is not None and not notes[side.name].startswith("fails")
    }
    peaks: dict[str, float | None] = {}
    times: dict[str, list[float]] = {}
    try:
        peaks = {name: peak(device, call) for name, call in calls.items()}
        times = in_turn(calls, limits.rounds, limits.seconds, timer=timer(device))
    except Exception as error:  # as where a side before has lost the GPU
        notes |= dict.fromkeys(calls, _why(error))
    medians = {name: statistics.median(ms) for name, ms in times.items()}
    ours = medians.get(sides[0].name)
    figures = []
    for side in sides:
        name, ms = side.name, medians.get(side.name)
        rate = None if ms is None or moved is None else moved / ms / 1e6
        share = None if rate is None or copy is None else rate / copy
        ratio = None if ms is None or ours is None else ms / ours
        figures.append(
            Figure(task.case.name, name, times.get(name, []), ratio, peaks.get(name), notes[name],
                   None, rate, share, task.targets.get(name, ""))
        )  # fmt: skip
    return figures


def _notes(sides: Sequence[Side], tolerance: float, device: torch.device) -> dict[str, str]:
    """Run every side once, and compare it with the first that ran."""
    expected, notes = None, {}
    for side in sides:
        notes[side.name] = side.note
        if side.call is not None and expected is None:
            expected, notes[side.name] = _attempt(side.call, device)
        elif side.call is not None:
            notes[side.name] = _compared(side.call, expected, tolerance, device)
        release(device)
    return notes


def _compared(
    call: Callable[[], Any], expected: Any, tolerance: float, device: torch.device
) -> str:
    result, failure = _attempt(call, device)
    if failure:
        return failure
    found, failure = _attempt(lambda: disagreement(result, expected, tolerance), device)
    return f"not compared: {failure}" if failure else str(found)


def _attempt(call: Callable[[], Any], device: torch.device) -> tuple[Any, str]:
    """What a call gives, or else why it fails; a GPU tells only when it is waited for."""
    try:
        result = call()
        finish(device)
    except Exception as error:
        return None, _why(error)
    return result, ""


def _why(error: Exception) -> str:
    """In one line; a table's cells are divided by bars."""
    lines = str(error).splitlines() or [""]
    return f"fails: {type(error).__name__}: {lines[0][:200]}".replace("|", "/")
