"""The command line that all benchmarks share."""

import argparse
import contextlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks._harness import RESULTS, Case, run
from benchmarks._table import Layout, tables_of


def _options(
    prog: str, doc: str | None, argv: Sequence[str] | None, rounds: int, seconds: float
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=doc)
    parser.add_argument(
        "--quick", action="store_true", help="tiny graphs, two rounds: does it run?"
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="torch threads (default 2; 1 with --quick, which has no work for 2)",
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"at most so many (default {rounds})"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        help=f"for the rounds of a case, a tenth of it in a sweep (default {seconds})",
    )
    parser.add_argument(
        "--only", metavar="REGEX", default="", help="cases whose name matches, e.g. 'max.*F=128'"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the results; without it a full run writes to benchmarks/results, and "
        "--quick and --only, which must not replace a full run's, only print",
    )
    options = parser.parse_args(argv)
    if options.threads is None:
        options.threads = 1 if options.quick else 2
    if options.threads < 1 or options.rounds < 1:
        parser.error("--threads and --rounds must be at least 1")
    return options


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings and checks of what torch has in beta, which are not what is measured."""
    with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants(False):
        warnings.filterwarnings("ignore", r"Sparse CSR tensor support|index_reduce\(\) is in beta")
        yield


def command(
    module: str,
    doc: str | None,
    cases: Callable[[bool], Iterable[Case]],
    argv: Sequence[str] | None,
    *,
    peers: Sequence[str] = (),
    rounds: int = 15,
    seconds: float = 10,
    layout: Layout = tables_of,
) -> int:
    """Run a benchmark; see its ``--help``.

    Args:
        module: the path of the benchmark below ``benchmarks``, whose last part names its files.
        doc: what it measures.
        cases: all its cases; tiny ones if it is told ``True``.
        argv: the arguments; those of the process by default.
        peers: see :func:`benchmarks._harness.run`, as for ``rounds``, ``seconds`` and ``layout``.

    Returns:
        The exit code.
    """
    options = _options(f"benchmarks.{module}", doc, argv, rounds, seconds)
    torch.set_num_threads(options.threads)
    partial_run = options.quick or options.only
    with quiet():
        return run(
            module.rpartition(".")[2],
            [case for case in cases(options.quick) if re.search(options.only, case.name)],
            rounds=min(2, options.rounds) if options.quick else options.rounds,
            seconds=0 if options.quick else options.seconds,
            out=options.out or (None if partial_run else RESULTS),
            peers=peers,
            layout=layout,
        )
