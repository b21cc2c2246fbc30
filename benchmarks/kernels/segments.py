"""Reduce rows by segment or by index: ours against torch, torch_scatter, PyG and DGL.

Run as ``python -m benchmarks.kernels.segments``; ``--help`` lists the options.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case
from benchmarks._peers import DISTRIBUTIONS, find
from benchmarks._table import explained
from benchmarks._works import WIDTHS, Forward, Prepare, Work, factors, features, sweep


@dataclass(frozen=True)
class Groups:
    """``size`` groups of rows, none of them empty: libraries differ on what an empty one gives.

    Those of the rows in order are the segments of ``ptr``; those of rows in the graph's order of
    edges are in the index.
    """

    ptr: Tensor
    _index: Tensor
    size: int
    is_new: bool = False

    @classmethod
    def of(cls, graph: Graph) -> "Groups":
        """The edges of every node that has incoming ones."""
        nodes, index = graph.edge_index[1].unique(return_inverse=True)
        ptr = torch.cat([index.new_zeros(1), index.bincount().cumsum(0)])
        return cls(ptr, index, nodes.numel())

    def index(self) -> Tensor:
        """What a caller hands over: the same tensor, or a new one each time."""
        return self._index.clone() if self.is_new else self._index

    def sorted_index(self) -> Tensor:
        """The index of the rows in order."""
        return self._index.sort().values


# -- the inputs ---------------------------------------------------------------------------------


def _rows(groups: Groups, width: int) -> tuple[Tensor, ...]:
    return (features(groups.index().numel(), width),)


def _factors(groups: Groups, width: int) -> tuple[Tensor, ...]:
    return (factors(groups.index().numel(), width),)


def _group_rows(groups: Groups, width: int) -> tuple[Tensor, ...]:
    return (features(groups.size, width),)


# -- the sides ----------------------------------------------------------------------------------


def _by_ptr(path: str, *before: Any, **options: Any) -> Prepare:
    """``before`` are arguments between the rows and the pointers."""

    def prepare(groups: Groups) -> Forward:
        function = find(path)
        return lambda x: function(x, *before, groups.ptr, **options)

    return prepare


def _by_index(path: str, size: str = "dim_size", **options: Any) -> Prepare:
    """``size`` is what the function calls the number of groups."""

    def prepare(groups: Groups) -> Forward:
        function, named = find(path), {size: groups.size}
        return lambda x: function(x, groups.index(), dim=0, **named, **options)

    return prepare


def _by_sorted_index(path: str, **options: Any) -> Prepare:
    def prepare(groups: Groups) -> Forward:
        function, index = find(path), groups.sorted_index()
        return lambda x: function(x, index, dim_size=groups.size, **options)

    return prepare


def _by_lengths(path: str, *options: Any) -> Prepare:
    def prepare(groups: Groups) -> Forward:
        function, lengths = find(path), groups.ptr.diff()
        return lambda x: function(lengths, x, *options)

    return prepare


def _torch_segment(reduce: str) -> Prepare:
    return lambda groups: lambda x: torch.segment_reduce(x, reduce, offsets=groups.ptr, unsafe=True)


def _index_add(groups: Groups) -> Forward:
    return lambda x: x.new_zeros(groups.size, x.size(1)).index_add(0, groups.index(), x)


def _index_reduce(start: float, reduce: str) -> Prepare:
    return lambda groups: (
        lambda x: x.new_full((groups.size, x.size(1)), start).index_reduce(
            0, groups.index(), x, reduce
        )
    )


def _repeat(groups: Groups) -> Forward:
    counts, total = groups.ptr.diff(), groups.index().numel()
    return lambda x: x.repeat_interleave(counts, 0, output_size=total)


# -- the works ----------------------------------------------------------------------------------


def segment(reduce: str) -> Work:
    sides = {
        "gnnlib": _by_ptr("gnnlib.ops.segment_csr", reduce=reduce),
        "torch.segment_reduce": _torch_segment(reduce),
        "torch_scatter segment_csr": _by_ptr("torch_scatter.segment_csr", reduce=reduce),
        "torch_scatter segment_coo": _by_sorted_index("torch_scatter.segment_coo", reduce=reduce),
        "DGL segment_reduce": _by_lengths("dgl.ops.segment_reduce", reduce),
    }
    return Work(f"segment {reduce}", _rows, sides)


def scatter(reduce: str) -> Work:
    sides = {
        "gnnlib": _by_index("gnnlib.ops.scatter", reduce=reduce),
        "PyG": _by_index("torch_geometric.utils.scatter", reduce=reduce),
        "torch_scatter": _by_index("torch_scatter.scatter", reduce=reduce),
    }
    if reduce == "sum":
        sides["torch index_add"] = _index_add
    elif reduce != "mean":
        start, name = {"max": (-torch.inf, "amax"), "mul": (1.0, "prod")}[reduce]
        sides["torch index_reduce"] = _index_reduce(start, name)
    return Work(f"scatter {reduce}", _factors if reduce == "mul" else _rows, sides)


_SEGMENT_MAX = Work(
    "segment max with arg",
    _rows,
    {
        "gnnlib": _by_ptr("gnnlib.ops.segment_max_csr"),
        "torch_scatter segment_csr": _by_ptr("torch_scatter.segment_max_csr"),
        "torch_scatter segment_coo": _by_sorted_index("torch_scatter.segment_max_coo"),
    },
)
_SCATTER_MAX = Work(
    "scatter max with arg",
    _rows,
    {
        "gnnlib": _by_index("gnnlib.ops.scatter_max"),
        "torch_scatter": _by_index("torch_scatter.scatter_max"),
    },
)
SEGMENT_SOFTMAX = Work(
    "segment softmax",
    _rows,
    {
        "gnnlib": _by_ptr("gnnlib.ops.segment_softmax"),
        "PyG": _by_ptr("torch_geometric.utils.softmax", None),
        "DGL": _by_lengths("dgl.ops.segment_softmax"),
    },
)
_SCATTER_SOFTMAX = Work(
    "scatter softmax",
    _rows,
    {
        "gnnlib": _by_index("gnnlib.ops.scatter_softmax"),
        "PyG": _by_index("torch_geometric.utils.softmax", size="num_nodes"),
        "torch_scatter": _by_index("torch_scatter.scatter_softmax"),
    },
)
_LOGSUMEXP = Work(
    "segment logsumexp",
    _rows,
    {
        "gnnlib": _by_ptr("gnnlib.ops.segment_logsumexp"),
        "torch_scatter": _by_sorted_index("torch_scatter.scatter_logsumexp", dim=0),
    },
)
_GATHER = Work(
    "gather_csr",
    _group_rows,
    {
        "gnnlib": _by_ptr("gnnlib.ops.gather_csr"),
        "torch_scatter": _by_ptr("torch_scatter.gather_csr"),
        "torch repeat_interleave": _repeat,
    },
)
_SEGMENTS = [*map(segment, ("sum", "mean", "max")), _SEGMENT_MAX]
# Why ours is slower in some cells: the first pattern that fits.
_REASONS = (
    (
        "molecules",
        "few rows: what a call costs before its work, as its checks, counts",
    ),
    (
        r"max, forward\+backward",
        "ties share the gradient, and the rows are read again; the peer sends it to one place",
    ),
    ("new index", "an index met for the first time is grouped before the rows are reduced"),
    ("gather_csr", "a copy of rows, which both do at the speed of memory"),
    (
        r"F=1\b",
        "rows of one number: a kernel that works on columns has one at a time",
    ),
    ("F=16", "short rows: as fast as memory on both sides"),
)
_SCATTERS = [*map(scatter, ("sum", "mean", "max", "mul")), _SCATTER_MAX]
_OTHERS = [SEGMENT_SOFTMAX, _SCATTER_SOFTMAX, _LOGSUMEXP, _GATHER]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one width of each on tiny graphs."""
    groups = Groups.of(large(quick))
    for width in (16,) if quick else (128, 64):
        yield from segment("sum").cases(groups, width)
        # Backward, PyG's would take half a minute.
        forward, _ = scatter("max").cases(groups, width)
        yield forward
    seen = {name: Groups.of(graph) for name, graph in shapes(quick).items()}
    new = {f"{name}, new index": replace(groups, is_new=True) for name, groups in seen.items()}
    widths = (4,) if quick else WIDTHS
    yield from sweep([*_SEGMENTS, *_SCATTERS, *_OTHERS], seen, widths)
    yield from sweep(_SCATTERS, new, widths)


LAYOUT = explained(_REASONS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command(
        "kernels.segments", __doc__, cases, argv, peers=DISTRIBUTIONS, seconds=4, layout=LAYOUT
    )


if __name__ == "__main__":
    raise SystemExit(main())
