"""Everything on a GPU, each work against its peers: python -m benchmarks.gpu

The figures are written after each work, so that a run which is stopped keeps what it has. Works
that the time does not reach are named. --device cpu --quick tells whether it all runs, and nothing
about a GPU.
"""

import argparse
import gc
import json
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks._command import quiet
from benchmarks._harness import RESULTS
from benchmarks._machine import machine
from benchmarks._table import write
from benchmarks.gpu._graphs import arxiv, huge, small
from benchmarks.gpu._measure import Figure, Limits, Task, measure, table, unmeasured
from benchmarks.gpu._meter import is_lost, release
from benchmarks.gpu.kernels import building, copy, neighbours, segments, weighted
from benchmarks.gpu.layers import aggregations, training

_NAME = "gpu"  # of the table, and of its files
_SKIPPED = "skipped"
_PEERS = ("torch-scatter",)
_HALVES = (torch.bfloat16, torch.float16)


def tasks(device: torch.device, quick: bool) -> Iterator[Task]:
    """All works, the most important first: what comes late may find no time."""
    large, largest, padded = (make(device, quick) for make in (arxiv, huge, small))
    width = 16 if quick else 128
    yield from neighbours(large, width, torch.float32)
    yield from neighbours(largest, width, torch.float32)
    yield from aggregations(padded, large)
    yield from training(large)
    yield from weighted(large, width)
    for dtype in _HALVES:
        yield from neighbours(large, width, dtype)
    yield from building(large)
    yield from segments(large, width)
    yield from building(largest)
    for dtype in _HALVES:
        yield from neighbours(largest, width, dtype)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny graphs, two rounds")
    parser.add_argument(
        "--seconds", type=float, default=300, help="no work begins after so many (default 300)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what gpu.json has, and measure the rest"
    )
    parser.add_argument("--only", metavar="REGEX", default="", help="works whose name matches")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of gpu.json and gpu.md; without it a full run on a GPU writes to "
        "benchmarks/results, and others only print",
    )
    return parser.parse_args(argv)


def _machine(is_gpu: bool) -> str:
    """The machine in one line, the GPU first, and whether gnnlib has kernels for it."""
    line = machine(_PEERS)
    if is_gpu:
        gpu = torch.cuda.get_device_properties()
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        capability = f"compute capability {gpu.major}.{gpu.minor}"
        line = f"{gpu.name}, {memory}, {capability}, CUDA {torch.version.cuda}, {line}"
    has_kernels = torch._C._dispatch_has_kernel_for_dispatch_key(
        "gnnlib::gather_reduce", "CUDA" if is_gpu else "CPU"
    )
    return f"{line}, gnnlib on its {'kernels' if has_kernels else 'pure-torch references'}"


def _kept(folder: Path | None) -> list[Figure]:
    """What an earlier run has measured."""
    if folder is None or not (folder / f"{_NAME}.json").exists():
        return []
    rows = json.loads((folder / f"{_NAME}.json").read_text())["rows"]
    return [Figure(**row) for row in rows if not row["note"].startswith(_SKIPPED)]


def _figures(options: argparse.Namespace, kept: Sequence[Figure]) -> Iterator[list[Figure]]:
    """Those of one work after another, with the copy first, which all are held against."""
    limits = Limits(2, 0) if options.quick else Limits(15, 0.6)
    begun, device = time.monotonic(), torch.device(options.device)
    roof = kept or measure(copy(device, options.quick), device, limits, None)
    if not kept:
        yield roof
        release(device)
    known = {figure.work for figure in kept}
    for task in tasks(device, options.quick):
        if task.case.name in known or not re.search(options.only, task.case.name):
            continue
        if time.monotonic() - begun < options.seconds:
            yield measure(task, device, limits, roof[0].rate)
        else:
            yield [unmeasured(task, f"{_SKIPPED}: the {options.seconds:.0f} seconds were over")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; see ``--help``.

    Returns:
        The exit code: 1 if ours fails somewhere, 3 if a side has lost the GPU, so that another
        process must go on, 130 after Ctrl-C.
    """
    options = _options(argv)
    is_gpu = options.device == "cuda"
    if is_gpu and not torch.cuda.is_available():
        print("torch finds no GPU here: nothing was measured (--device cpu --quick is a rehearsal)")
        return 0
    is_full = is_gpu and not options.quick and not options.only
    out = options.out or (RESULTS if is_full else None)
    torch.manual_seed(0)
    line = _machine(is_gpu)
    print(line)
    rows = _kept(out) if options.resume else []
    # As in the other benchmarks: every collection of garbage would walk all of torch.
    gc.collect()
    gc.freeze()
    try:
        with quiet():
            warnings.simplefilter("ignore")  # what peers warn of is not what is measured
            for figures in _figures(options, tuple(rows)):
                rows += figures
                for figure in figures:
                    print(" | ".join(figure.cells()), flush=True)
                if out is not None:
                    write(out, _NAME, line, rows, table)
                if is_lost(torch.device(options.device)):
                    print("the GPU is lost to this process: go on with --resume")
                    return 3
    except KeyboardInterrupt:
        print("stopped")
        return 130
    finally:
        gc.unfreeze()
    return int(any(row.is_failure_of_ours for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
