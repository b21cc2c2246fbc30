"""Reduce over neighbours: ours against PyG, torch.sparse, torch_scatter and torch_sparse.

Run as ``python -m benchmarks.kernels.gather_reduce``; ``--help`` lists the options.
"""

import argparse
import contextlib
import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from benchmarks._graphs import ARXIV_EDGES, ARXIV_NODES, molecules, power_law
from benchmarks._harness import RESULTS, Case, Side, run
from gnnlib import Adjacency
from gnnlib.ops import gather_reduce

NAME = "gather_reduce"
PEERS = ("torch-scatter", "torch-sparse")

# The work of one side: features and weights in, nodes out.
Forward = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Problem:
    """A graph and what rides on it. ``edges()`` is what a layer would be handed this time."""

    edges: Callable[[], Tensor]
    num_nodes: int
    reduce: str
    x: Tensor
    weight: Tensor | None
    grad: Tensor


class UnavailableError(Exception):
    """A peer that is not installed, or that does not offer this work."""


def _optional(module: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: built for another torch
        raise UnavailableError("not installed") from error


# -- the sides: each prepares what a user keeps between calls, and returns the work ---------------


def _ours(problem: Problem) -> Forward:
    return lambda x, weight: gather_reduce(x, problem.edges(), weight, reduce=problem.reduce)


def _messages(x: Tensor, src: Tensor, weight: Tensor | None) -> Tensor:
    messages = x.index_select(0, src)
    return messages if weight is None else messages * weight.unsqueeze(-1)


def _pyg(problem: Problem) -> Forward:
    def forward(x: Tensor, weight: Tensor | None) -> Tensor:
        src, dst = problem.edges()
        messages = _messages(x, src, weight)
        return scatter(messages, dst, 0, problem.num_nodes, problem.reduce)

    return forward


def _sorted_edges(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """``rowptr, col, perm`` of the edges by target, as a user of CSR prepares them once."""
    src, dst = problem.edges()
    # By source within a target, which torch.sparse relies on.
    perm = (dst * problem.num_nodes + src).argsort()
    rowptr = dst.new_zeros(problem.num_nodes + 1)
    rowptr[1:] = dst.bincount(minlength=problem.num_nodes).cumsum(0)
    return rowptr, src[perm], perm


def _torch_sparse_csr(problem: Problem) -> Forward:
    rowptr, col, perm = _sorted_edges(problem)
    size = (problem.num_nodes, problem.num_nodes)
    ones = torch.ones(col.numel())
    fixed = torch.sparse_csr_tensor(rowptr, col, ones, size)
    how = {"mean": "mean", "max": "amax"}.get(problem.reduce)

    def forward(x: Tensor, weight: Tensor | None) -> Tensor:
        matrix = fixed
        if weight is not None:
            matrix = torch.sparse_csr_tensor(rowptr, col, weight[perm], size)
        return matrix @ x if how is None else torch.sparse.mm(matrix, x, how)

    return forward


def _torch_scatter(problem: Problem) -> Forward:
    scatter_ = _optional("torch_scatter").scatter

    def forward(x: Tensor, weight: Tensor | None) -> Tensor:
        src, dst = problem.edges()
        messages = _messages(x, src, weight)
        out: Tensor = scatter_(messages, dst, 0, dim_size=problem.num_nodes, reduce=problem.reduce)
        return out

    return forward


def _torch_scatter_segment(problem: Problem) -> Forward:
    segment_csr = _optional("torch_scatter").segment_csr
    rowptr, col, perm = _sorted_edges(problem)

    def forward(x: Tensor, weight: Tensor | None) -> Tensor:
        messages = _messages(x, col, None if weight is None else weight[perm])
        out: Tensor = segment_csr(messages, rowptr, reduce=problem.reduce)
        return out

    return forward


def _torch_sparse(problem: Problem) -> Forward:
    sparse = _optional("torch_sparse")
    rowptr, col, perm = _sorted_edges(problem)
    size = (problem.num_nodes, problem.num_nodes)
    fixed = sparse.SparseTensor(
        rowptr=rowptr, col=col, sparse_sizes=size, is_sorted=True, trust_data=True
    )
    # Its backward pass reads these, and keeps them between calls.
    fixed.fill_cache_()

    def forward(x: Tensor, weight: Tensor | None) -> Tensor:
        matrix = fixed
        if weight is not None:
            matrix = fixed.set_value(weight[perm], layout="coo")
        out: Tensor = matrix.matmul(x, reduce=problem.reduce)
        return out

    return forward


# These need no preparation, so they serve a graph that is new every time.
UNPREPARED: dict[str, Callable[[Problem], Forward]] = {
    "gnnlib": _ours,
    "PyG index_select + scatter": _pyg,
    "torch_scatter scatter": _torch_scatter,
}
PREPARED: dict[str, Callable[[Problem], Forward]] = {
    **UNPREPARED,
    "torch_scatter segment_csr": _torch_scatter_segment,
    "torch.sparse CSR": _torch_sparse_csr,
    "torch_sparse matmul": _torch_sparse,
}


# -- the cases ----------------------------------------------------------------------------------


def _features(num_nodes: int, width: int) -> Tensor:
    """Distinct values in every column, none of them zero.

    Libraries differ on the gradient of ties, and torch's ``scatter_reduce(include_self=False)``
    gets it wrong where an extremum is zero: it counts the zero it started from as one more tie.
    """
    columns = [torch.randperm(num_nodes) for _ in range(width)]
    return torch.stack(columns, dim=1).float().add_(0.25).mul_(2 / num_nodes).sub_(1)


def _training_step(forward: Forward, problem: Problem) -> tuple[Tensor, ...]:
    x = problem.x.detach().requires_grad_()
    weight = None if problem.weight is None else problem.weight.detach().requires_grad_()
    out = forward(x, weight)
    inputs = [t for t in (x, weight) if t is not None]
    return out.detach(), *torch.autograd.grad(out, inputs, problem.grad)


def _side(
    name: str, prepare: Callable[[Problem], Forward], problem: Problem, backward: bool
) -> Side:
    try:
        forward = prepare(problem)
    except UnavailableError as error:
        return Side(name, None, str(error))
    if backward:
        return Side(name, partial(_training_step, forward, problem))
    return Side(name, partial(forward, problem.x, problem.weight))


def _sides(
    edges: Callable[[], Tensor],
    num_nodes: int,
    reduce: str,
    width: int,
    weighted: bool = False,
    backward: bool = False,
    prepared: bool = True,
) -> list[Side]:
    x, grad = _features(num_nodes, width), torch.randn(num_nodes, width)
    weight = torch.rand(edges().size(1)) + 0.5 if weighted else None
    problem = Problem(edges, num_nodes, reduce, x, weight, grad)
    table = PREPARED if prepared else UNPREPARED
    return [_side(name, prepare, problem, backward) for name, prepare in table.items()]


_PASSES = ((False, "forward"), (True, "forward+backward"))


def _large_cases(edge_index: Tensor, num_nodes: int, quick: bool) -> Iterator[Case]:
    works = [("sum", False, 128), ("max", False, 128), ("mean", False, 128), ("sum", True, 128)]
    if not quick:
        works.append(("sum", False, 64))
    for reduce, weighted, width in works:
        for backward, passes in _PASSES:
            what = f"weighted {reduce}" if weighted else reduce
            sides = partial(
                _sides, lambda: edge_index, num_nodes, reduce, width, weighted, backward
            )
            yield Case(f"{what}, F={width}, {passes}", sides)


def _molecule_cases(edge_index: Tensor, num_nodes: int, quick: bool) -> Iterator[Case]:
    # A clone is what a loader's batch is to the adjacency cache: a tensor it has not seen.
    supplies = [("seen before", lambda: edge_index, True), ("new graph", edge_index.clone, False)]
    for graph, edges, prepared in supplies:
        for width in (64,) if quick else (64, 128):
            for reduce in ("sum", "max"):
                for backward, passes in _PASSES:
                    sides = partial(
                        _sides, edges, num_nodes, reduce, width, False, backward, prepared
                    )
                    yield Case(f"molecules, {graph}: {reduce}, F={width}, {passes}", sides)


def _arrays(adj: Adjacency) -> tuple[Tensor, ...]:
    perm = torch.arange(adj.num_edges) if adj.perm is None else adj.perm
    return adj.rowptr, adj.col, perm


def _group(key: Tensor, other: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What torch offers for a CSR: counts and a stable sort."""
    rowptr = key.new_zeros(size + 1)
    rowptr[1:] = key.bincount(minlength=size).cumsum(0)
    perm = key.argsort(stable=True)
    return rowptr, other[perm], perm


def _transpose(adj: Adjacency, perm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.arange(adj.num_dst).repeat_interleave(adj.degree, output_size=adj.num_edges)
    rowptr, col, order = _group(adj.col, rows, adj.num_src)
    return rowptr, col, perm[order]


def _building_cases(graph: str, edge_index: Tensor, num_nodes: int) -> Iterator[Case]:
    src, dst = edge_index
    name = "torch argsort + bincount"

    def build() -> list[Side]:
        return [
            Side("gnnlib", lambda: _arrays(Adjacency.of(edge_index.clone(), num_nodes))),
            Side(name, lambda: _group(dst, src, num_nodes)),
        ]

    def transpose() -> list[Side]:
        adj = Adjacency.of(edge_index, num_nodes)
        perm = _arrays(adj)[2]

        def ours() -> Any:
            # An adjacency keeps its transpose, so each call gets one without.
            return _arrays(Adjacency(adj.rowptr, adj.col, adj.perm, adj.num_src).T)

        return [Side("gnnlib", ours), Side(name, partial(_transpose, adj, perm))]

    yield Case(f"{graph}: build the adjacency", build)
    yield Case(f"{graph}: build its transpose", transpose)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one width of each on tiny graphs."""
    num_nodes, num_edges = (500, 4_000) if quick else (ARXIV_NODES, ARXIV_EDGES)
    edge_index = power_law(num_nodes, num_edges)
    batch, batch_nodes = molecules(4 if quick else 128)
    yield from _large_cases(edge_index, num_nodes, quick)
    yield from _molecule_cases(batch, batch_nodes, quick)
    yield from _building_cases("large graph", edge_index, num_nodes)
    yield from _building_cases("molecules", batch, batch_nodes)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.kernels.{NAME}", description=__doc__
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny graphs, two rounds: does it run?"
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="torch threads (default 2; 1 with --quick, which has no work for 2)",
    )
    parser.add_argument("--rounds", type=int, default=15, help="at most so many (default 15)")
    parser.add_argument(
        "--seconds", type=float, default=4, help="of rounds per case, after three (default 4)"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    chosen = [c for c in cases(options.quick) if re.search(options.only, c.name)]
    partial_run = options.quick or options.only
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        stack.enter_context(torch.sparse.check_sparse_tensor_invariants(False))
        return run(
            NAME,
            chosen,
            rounds=min(2, options.rounds) if options.quick else options.rounds,
            seconds=options.seconds,
            out=options.out or (None if partial_run else RESULTS),
            peers=PEERS,
        )


if __name__ == "__main__":
    raise SystemExit(main())
