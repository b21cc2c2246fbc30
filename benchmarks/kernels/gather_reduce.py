"""Reduce over neighbours: ours against PyG, torch.sparse, torch_scatter, torch_sparse and DGL.

Run as ``python -m benchmarks.kernels.gather_reduce``; ``--help`` lists the options.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case, Side
from benchmarks._peers import DISTRIBUTIONS
from benchmarks._works import Work, features
from benchmarks.kernels._reductions import reductions
from gnnlib import Adjacency

_SORTING = "torch argsort + bincount"


def _features(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return (features(graph.num_src, width),)


def _weighted(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return (*_features(graph, width), torch.rand(graph.edge_index.size(1)) + 0.5)


def _large_cases(graph: Graph, quick: bool) -> Iterator[Case]:
    for reduce in ("sum", "max", "mean"):
        yield from Work(reduce, _features, reductions(reduce)).cases(graph, 128)
    yield from Work("weighted sum", _weighted, reductions("sum")).cases(graph, 128)
    if not quick:
        yield from Work("sum", _features, reductions("sum")).cases(graph, 64)


def _molecule_cases(graph: Graph, quick: bool) -> Iterator[Case]:
    for name, is_new in (("seen before", False), ("new graph", True)):
        for width in (64,) if quick else (64, 128):
            for reduce in ("sum", "max"):
                work = Work(reduce, _features, reductions(reduce, prepared=not is_new))
                name_ = f"molecules, {name}: {reduce}, F={width}"
                yield from work.cases(replace(graph, is_new=is_new), width, name_)


def _arrays(adj: Adjacency) -> tuple[Tensor, ...]:
    perm = torch.arange(adj.num_edges, device=adj.device) if adj.perm is None else adj.perm
    return adj.rowptr, adj.col, perm


def _group(key: Tensor, other: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What torch offers for a CSR: counts and a stable sort."""
    rowptr = key.new_zeros(size + 1)
    rowptr[1:] = key.bincount(minlength=size).cumsum(0)
    perm = key.argsort(stable=True)
    return rowptr, other[perm], perm


def _transpose(adj: Adjacency, perm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    nodes = torch.arange(adj.num_dst, device=adj.device)
    rows = nodes.repeat_interleave(adj.degree, output_size=adj.num_edges)
    rowptr, col, order = _group(adj.col, rows, adj.num_src)
    return rowptr, col, perm[order]


def build_sides(graph: Graph) -> list[Side]:
    """Build the adjacency of edges not seen before."""
    src, dst = graph.edge_index
    new = replace(graph, is_new=True)
    return [
        Side("gnnlib", lambda: _arrays(new.adjacency())),
        Side(_SORTING, lambda: _group(dst, src, graph.num_dst)),
    ]


def transpose_sides(graph: Graph) -> list[Side]:
    """Build the transpose of an adjacency."""
    adj = graph.adjacency()
    perm = _arrays(adj)[2]

    def ours() -> Any:
        # An adjacency keeps its transpose, so each call gets one without.
        return _arrays(Adjacency(adj.rowptr, adj.col, adj.perm, adj.num_src).T)

    return [Side("gnnlib", ours), Side(_SORTING, partial(_transpose, adj, perm))]


def _building_cases(name: str, graph: Graph) -> Iterator[Case]:
    yield Case(f"{name}: build the adjacency", partial(build_sides, graph))
    yield Case(f"{name}: build its transpose", partial(transpose_sides, graph))


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one width of each on tiny graphs."""
    graph, batch = large(quick), shapes(quick)["molecules"]
    yield from _large_cases(graph, quick)
    yield from _molecule_cases(batch, quick)
    yield from _building_cases("large graph", graph)
    yield from _building_cases("molecules", batch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("kernels.gather_reduce", __doc__, cases, argv, peers=DISTRIBUTIONS)


if __name__ == "__main__":
    raise SystemExit(main())
