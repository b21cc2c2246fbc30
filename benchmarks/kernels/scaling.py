"""How the sum over neighbours scales with the number of edges, on one thread and on two.

    python -m benchmarks.kernels.scaling

Random graphs of ten edges a node, F=64. The largest is in bfloat16, so that it fits in 14 GiB.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks._command import command
from benchmarks._harness import Case, Side
from benchmarks._table import Row, Table, number, quartiles
from benchmarks._works import training_step
from gnnlib import Adjacency
from gnnlib.ops import gather_reduce

WIDTH = 64
THREADS = (1, 2)


def _graph(num_edges: int) -> Adjacency:
    """Uniform random ends, made in the form of an adjacency, as a list of edges would not fit."""
    num_nodes = num_edges // 10
    degree = torch.randint(num_nodes, (num_edges,)).bincount(minlength=num_nodes)
    rowptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    col = torch.randint(num_nodes, (num_edges,))
    return Adjacency(rowptr, col, None, num_nodes, check=False)


def _on(threads: int, call: Callable[[], Any]) -> Any:
    torch.set_num_threads(threads)
    return call()


def _sides(num_edges: int, dtype: torch.dtype, backward: bool) -> list[Side]:
    adj = _graph(num_edges)
    x = torch.randn(adj.num_src, WIDTH, dtype=dtype)
    forward = partial(gather_reduce, adj=adj)
    call: Callable[[], Any] = partial(forward, x)
    if backward:
        grad = torch.randn(adj.num_dst, WIDTH, dtype=dtype)
        call = partial(training_step, forward, (x,), lambda _: grad)
    return [Side(f"{threads} threads", partial(_on, threads, call)) for threads in THREADS]


def _by_edge(rows: Sequence[Row]) -> list[Table]:
    columns = ("work", "threads", "ns per edge", "quartiles", "speed-up", "peak MiB")
    lines = []
    for row in rows:
        if row.times:
            per_edge = 1e6 / 10 ** int(re.findall(r"10\^(\d+)", row.work)[0])
            low, middle, high = (number(ms * per_edge) for ms in quartiles(row.times))
            speed_up = f"{1 / (row.ratio or 1):.2f}"
            threads = row.side.split()[0]
            lines.append((row.work, threads, middle, f"{low} to {high}", speed_up, row.peak_cell()))
    legend = "Time of one call over the number of edges; speed-up over one thread."
    return [Table(legend, columns, lines)]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    for exponent in (2, 3) if quick else (4, 5, 6, 7, 8):
        dtype = torch.bfloat16 if exponent == 8 else torch.float32
        kind = str(dtype).removeprefix("torch.")
        for backward, passes in ((False, "forward"), (True, "forward+backward")):
            sides = partial(_sides, 10**exponent, dtype, backward)
            yield Case(f"10^{exponent} edges, {kind}, {passes}", sides)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("kernels.scaling", __doc__, cases, argv, seconds=4, layout=_by_edge)


if __name__ == "__main__":
    raise SystemExit(main())
