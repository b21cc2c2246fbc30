"""Gather from neighbours: ours against PyG, torch.sparse, torch_scatter, torch_sparse and DGL.

Run as ``python -m benchmarks.kernels.neighbours``; ``--help`` lists the options.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.aggr import SoftmaxAggregation
from torch_geometric.nn.aggr.fused import FusedAggregation

from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case
from benchmarks._peers import DISTRIBUTIONS
from benchmarks._table import explained
from benchmarks._works import WIDTHS, Forward, Prepare, Work, factors, features, sweep
from benchmarks.kernels._messages import ADD, ADDITIVE, ATTEND, DOT, EDGE_RELU
from benchmarks.kernels._reductions import reductions
from gnnlib.ops import gather_softmax, gather_statistics

_PNA = ("mean", "max", "min", "std")


# -- the inputs ---------------------------------------------------------------------------------


def _sources(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return (features(graph.num_src, width),)


def _factors(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return (factors(graph.num_src, width),)


def _lattice(graph: Graph, width: int) -> tuple[Tensor, ...]:
    """Quarters, none of them zero: PyG takes a variance below 1e-5 for zero, and none is near."""
    x = torch.randint(1, 5, (graph.num_src, width)) / 4
    return (x * (torch.randint(0, 2, x.shape) * 2 - 1),)


def _ends(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return features(graph.num_src, width), features(graph.num_dst, width)


def _edge_rows(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return features(graph.num_src, width), features(graph.edge_index.size(1), width)


def _heads(x: Tensor) -> Tensor:
    """Four heads, or one where there are too few columns."""
    return x.unflatten(1, (min(4, x.size(1)), -1))


def _attention(graph: Graph, width: int) -> tuple[Tensor, ...]:
    value = _heads(features(graph.num_src, width))
    return value, torch.randn(graph.edge_index.size(1), value.size(1))


def _additive(graph: Graph, width: int) -> tuple[Tensor, ...]:
    a, b = map(_heads, _ends(graph, width))
    return a, b, torch.randn(a.shape[1:])


# -- the sides that are here only ---------------------------------------------------------------


def _ours_statistics(graph: Graph) -> Forward:
    return lambda x: gather_statistics(x, graph.adjacency(), _PNA)


def _ours_softmax(graph: Graph) -> Forward:
    return lambda x: gather_softmax(x, graph.adjacency())


def _aggregation(aggregation: torch.nn.Module) -> Prepare:
    """As a PyG layer calls it."""

    def prepare(graph: Graph) -> Forward:
        def forward(x: Tensor) -> Any:
            src, dst = graph.edges()
            return aggregation(x.index_select(0, src), dst, dim_size=graph.num_dst)

        return forward

    return prepare


_STATISTICS = Work(
    "gather_statistics (mean, max, min, std)",
    _lattice,
    {"gnnlib": _ours_statistics, "PyG": _aggregation(FusedAggregation(list(_PNA)))},
)
_SOFTMAX = Work(
    "gather_softmax",
    _sources,
    {"gnnlib": _ours_softmax, "PyG": _aggregation(SoftmaxAggregation())},
)
_ATTEND = Work("gather_attend, 4 heads", _attention, ATTEND)
_WORKS = [
    Work("gather_reduce sum", _sources, reductions("sum")),
    Work("gather_reduce max", _sources, reductions("max")),
    Work("gather_reduce mul", _factors, reductions("mul")),
    _STATISTICS,
    _SOFTMAX,
    _ATTEND,
    Work("edge_dot", _ends, DOT),
    Work("edge_add", _ends, ADD),
    Work("additive_score, 4 heads", _additive, ADDITIVE),
    Work("gather_edge_relu", _edge_rows, EDGE_RELU),
]
_REASONS = (
    ("molecules", "few rows: what a call costs before its work, as its checks, counts"),
    (
        r"F=1\b",
        "rows of one number: what is looked up for an edge (its source, weight and gate) is more "
        "than its work",
    ),
    (
        r"sum.*F=16\b",
        "short rows: what is looked up for an edge (its source, weight and gate) counts",
    ),
    ("edge_add", "a number or a few for each edge, which both write at the speed of memory"),
    ("grid: gather_reduce", "eight neighbours a node: what a row costs before its edges counts"),
    ("one hub", "one row holds half of all edges, and its pieces are joined at the end"),
)
LAYOUT = explained(_REASONS)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one width of each on tiny graphs."""
    graph, width = large(quick), 8 if quick else 128
    # Backward, PyG's would take most of a minute.
    forward, _ = _STATISTICS.cases(graph, width)
    yield forward
    yield from _ATTEND.cases(graph, width)
    yield from sweep(_WORKS, shapes(quick), (8,) if quick else WIDTHS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command(
        "kernels.neighbours", __doc__, cases, argv, peers=DISTRIBUTIONS, seconds=4, layout=LAYOUT
    )


if __name__ == "__main__":
    raise SystemExit(main())
