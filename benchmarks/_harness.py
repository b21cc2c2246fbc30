"""Measure several implementations of the same work, side by side, and write one table.

All sides of a case run in the same process and the same run, warm and in turn (A B C A B C ...), so
that whatever else the machine does hits them alike. Ratios count; times are those of one machine.
"""

import contextlib
import ctypes
import gc
import importlib.metadata
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

import gnnlib
from gnnlib._files import atomic_write

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("work", "side", "median ms", "quartiles ms", "ratio", "peak MiB", "note")
_LEFT_ALIGNED = {"work", "side", "note"}
# ms; a shorter sample is mostly the clock and the scheduler.
_SHORTEST_SAMPLE = 10.0


@dataclass(frozen=True)
class Side:
    """One implementation: ``call`` does the work once and returns its tensors."""

    name: str
    call: Callable[[], Any] | None
    note: str = ""  # why there is no call


@dataclass(frozen=True)
class Case:
    """One work. ``sides`` is called when its turn comes; its first side is ours."""

    name: str
    sides: Callable[[], Sequence[Side]]


@dataclass(frozen=True)
class Row:
    """What was measured of one side. Times in ms, one for each round; memory in MiB."""

    work: str
    side: str
    times: list[float] = field(default_factory=list)
    ratio: float | None = None
    peak: float | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row as text, one cell for each of :data:`COLUMNS`."""
        median = quartiles = ""
        if self.times:
            low, middle, high = _quartiles(self.times)
            median, quartiles = _number(middle), f"{_number(low)} to {_number(high)}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        peak = "" if not self.times else "n/a" if self.peak is None else f"{self.peak:.1f}"
        return self.work, self.side, median, quartiles, ratio, peak, self.note


def _quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    if len(times) < 2:
        return times[0], times[0], times[0]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, middle, high


def _number(ms: float) -> str:
    return f"{ms:.3g}" if ms < 100 else f"{ms:.0f}"


# -- memory -------------------------------------------------------------------------------------


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


# -- one case -----------------------------------------------------------------------------------


def _tensors(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _disagreement(result: Any, expected: Any) -> str:
    """Empty if both are close; float32 sums over a hub in any order are, to about 1e-4."""
    try:
        torch.testing.assert_close(
            _tensors(result), _tensors(expected), rtol=1e-3, atol=1e-3, equal_nan=True
        )
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("Greatest absolute")]
        return f"disagrees: {lines[0].split(' at ')[0] if lines else error}"
    return ""


def _check(sides: Sequence[Side]) -> list[Side]:
    """Run every side once; those that cannot, or that disagree with ours, keep only a note."""
    ours = sides[0].call
    assert ours is not None
    expected, checked = ours(), [sides[0]]
    for side in sides[1:]:
        note = side.note
        if side.call is not None:
            try:
                note = _disagreement(side.call(), expected)
            except (RuntimeError, NotImplementedError) as error:
                note = f"fails: {str(error).splitlines()[0][:160]}"
        checked.append(replace(side, call=None if note else side.call, note=note))
    return checked


def _time(call: Callable[[], Any], number: int) -> float:
    """Mean ms of ``number`` calls; freeing the last result is not timed."""
    start = time.perf_counter()
    for _ in range(number):
        result = call()
    stop = time.perf_counter()
    del result
    return (stop - start) * 1e3 / number


def _sample(call: Callable[[], Any], number: int) -> tuple[float, int]:
    """Mean ms of a call, over ``number`` calls or as many more as make a sample; and how many."""
    while True:
        ms = _time(call, number)
        if ms * number >= _SHORTEST_SAMPLE / 2:
            return ms, number
        number = math.ceil(_SHORTEST_SAMPLE / ms)


def measure(
    case: Case, rounds: int, seconds: float, tick: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Measure one case.

    Args:
        case: the work and its sides.
        rounds: at most this many rounds (each side once).
        seconds: after three rounds, stop when this much time has gone into rounds.
        tick: told what is going on, between calls.

    Returns:
        A row for each side, in order; the notes say why a side has no numbers.
    """
    tick(f"{case.name}: checking that all agree")
    sides = _check(case.sides())
    running = {side.name: side.call for side in sides if side.call is not None}
    tick(f"{case.name}: memory")
    peaks = {name: peak_extra_memory(call) for name, call in running.items()}
    numbers = dict.fromkeys(running, 1)
    times: dict[str, list[float]] = {name: [] for name in running}
    gc.collect()
    start = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - start > seconds:
            break
        tick(f"{case.name}: round {done + 1}")
        for name, call in running.items():
            ms, numbers[name] = _sample(call, numbers[name])
            times[name].append(ms)
    ours = statistics.median(times[sides[0].name])
    return [
        Row(case.name, side.name, times[side.name],
            statistics.median(times[side.name]) / ours, peaks[side.name])
        if side.name in times else Row(case.name, side.name, note=side.note)
        for side in sides
    ]  # fmt: skip


# -- the machine --------------------------------------------------------------------------------


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


# -- the table ----------------------------------------------------------------------------------


def _rich_table(name: str, rows: Sequence[Row]) -> Table:
    table = Table(title=name, caption="ratio: median time over that of ours")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in _LEFT_ALIGNED else "right")
    previous = ""
    for row in rows:
        work, *cells = row.cells()
        if work != previous:
            table.add_section()
        table.add_row(*map(escape, ("" if work == previous else work, *cells)))
        previous = work
    return table


def _markdown(name: str, line: str, rows: Sequence[Row]) -> str:
    rule = ["---" if column in _LEFT_ALIGNED else "---:" for column in COLUMNS]
    lines = [COLUMNS, rule, *(row.cells() for row in rows)]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    legend = "Ratio: median time over that of ours; above 1, ours is faster. See ../README.md."
    return f"# {name}\n\n{line}\n\n{legend}\n\n{body}\n"


def write(folder: Path, name: str, line: str, rows: Sequence[Row]) -> None:
    """Write ``name.md`` and ``name.json``, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"name": name, "machine": line, "rows": [asdict(row) for row in rows]}
    atomic_write(folder / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
    atomic_write(folder / f"{name}.md", _markdown(name, line, rows).encode())


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
    seed: int = 0,
) -> int:
    """Measure all cases, print the table, and write it.

    Args:
        name: of the table, and of its files.
        cases: what to measure.
        rounds: see :func:`measure`.
        seconds: see :func:`measure`; for each case.
        out: folder of the files; ``None`` only prints. Written at the end only: after Ctrl-C the
            files of an earlier run are still there, and the table so far is printed.
        peers: distributions whose versions belong in the machine's line.
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
    console.print(_rich_table(name, rows))
    console.print(line, highlight=False)
    if rows and rows[-1].note == "stopped":
        console.print("stopped: nothing was written", highlight=False)
        return 130
    if out is not None:
        write(out, name, line, rows)
    return int(any(row.note.startswith("disagrees") for row in rows))
