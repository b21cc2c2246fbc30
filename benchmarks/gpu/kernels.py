"""The kernels: reductions over neighbours and segments, softmax, and building the adjacency."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from benchmarks._graphs import Graph
from benchmarks._harness import Case, Side
from benchmarks._peers import torch_csr
from benchmarks._works import Forward, Prepare, Work
from benchmarks.gpu._graphs import Problem
from benchmarks.gpu._measure import Task
from benchmarks.kernels._reductions import reductions
from benchmarks.kernels.gather_reduce import build_sides, transpose_sides
from benchmarks.kernels.segments import SEGMENT_SOFTMAX, Groups, scatter, segment

_HEADS = 8  # columns of a softmax
_ID = 8  # bytes of a node's id
# What two orders of a sum may differ by, in norm: the results are rounded to so many digits.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1e-2}
_PYG = "PyG index_select + scatter"
_TARGETS = {
    "sum": {
        "gnnlib": "60 % of the copy",
        "torch.sparse CSR": "ratio 1.3",
        "torch.sparse CSR, 32 bit": "ratio 1.3",
        _PYG: "ratio 3",
    },
    "max": {_PYG: "ratio 3"},
}
_NO_TARGETS: Mapping[str, str] = MappingProxyType({})


def copy(device: torch.device, quick: bool) -> Task:
    """The roofline: a copy of 2 GiB, or of a tenth of the free memory."""
    size = 2**22 if quick else 2**31
    if device.type == "cuda":
        size = min(size, torch.cuda.mem_get_info(device)[0] // 10)

    def sides() -> list[Side]:
        source = torch.zeros(size, dtype=torch.uint8, device=device)
        return [Side("torch copy_", partial(torch.empty_like(source).copy_, source))]

    return Task(Case(f"copy of {size / 2**20:,.0f} MiB", sides), lambda: 2 * size)


# -- over neighbours ----------------------------------------------------------------------------


def neighbours(problem: Problem, width: int, dtype: torch.dtype) -> Iterator[Task]:
    """Sum and max over neighbours."""
    moved = partial(_gathered_bytes, width * dtype.itemsize)
    for reduce in ("sum", "max"):
        sides = _sides(reduce)
        if reduce == "sum":
            sides |= {"torch.sparse CSR, 32 bit": _narrow_csr, "torch index_add": _index_add}
        name = f"{reduce}, {str(dtype).removeprefix('torch.')}"
        work = Work(name, partial(_features, dtype), sides, _TOLERANCE[dtype])
        yield from _passes(
            work, problem.name, problem.graph, width, moved,
            is_linear=reduce == "sum", targets=_TARGETS[reduce],
        )  # fmt: skip


def weighted(problem: Problem, width: int) -> Iterator[Task]:
    """The weighted sum over neighbours, whose derivative is one by the weights too."""

    def moved(graph: Graph) -> int:
        edges = graph.edge_index.size(1)  # each has a weight, which the permutation finds
        return _gathered_bytes(width * 4, graph) + edges * (4 + _ID)

    work = Work("weighted sum, float32", _weighted, _sides("sum"))
    yield from _passes(work, problem.name, problem.graph, width, moved)


def _sides(reduce: str) -> dict[str, Prepare]:
    known = reductions(reduce)
    theirs = [name for name in known if name.startswith("torch_scatter")]
    return {name: known[name] for name in ("gnnlib", "torch.sparse CSR", _PYG, *theirs)}


def _features(dtype: torch.dtype, graph: Graph, width: int) -> tuple[Tensor, ...]:
    return (_uniform(graph.num_src, width, graph.edge_index.device).to(dtype),)


def _weighted(graph: Graph, width: int) -> tuple[Tensor, ...]:
    weight = torch.rand(graph.edge_index.size(1), device=graph.edge_index.device)
    return (*_features(torch.float32, graph, width), weight + 0.5)


def _uniform(rows: int, width: int, device: torch.device) -> Tensor:
    return torch.rand(rows, width, device=device).mul_(2).sub_(1)


def _narrow_csr(graph: Graph) -> Forward:
    """With ids of 32 bits, half as many bytes for cuSPARSE to read."""

    @cache
    def matrix(dtype: torch.dtype) -> Tensor:
        wide = torch_csr(graph, dtype=dtype)
        ids = wide.crow_indices().int(), wide.col_indices().int()
        return torch.sparse_csr_tensor(*ids, wide.values(), wide.shape)

    return lambda x: matrix(x.dtype) @ x


def _index_add(graph: Graph) -> Forward:
    def forward(x: Tensor) -> Tensor:
        src, dst = graph.edges()
        return x.new_zeros(graph.num_dst, x.size(1)).index_add(0, dst, x.index_select(0, src))

    return forward


def _gathered_bytes(row: int, graph: Graph) -> int:
    """A row of features and an id an edge; a row of results and an offset a node."""
    return (row + _ID) * (graph.edge_index.size(1) + graph.num_dst)


# -- over segments ------------------------------------------------------------------------------


def segments(problem: Problem, width: int) -> Iterator[Task]:
    """Reductions of segments, and by an index in order and in none; and softmax."""
    in_order, in_none = (partial(_groups, problem, order) for order in (True, False))
    for reduce in ("sum", "max"):
        by_ptr, by_index = _here(segment(reduce)), _here(scatter(reduce))
        for work, made, ids in (
            (by_ptr, in_order, 0),
            (replace(by_index, name=f"scatter {reduce}, sorted index"), in_order, _ID),
            (replace(by_index, name=f"scatter {reduce}, unsorted index"), in_none, _ID),
        ):
            moved = partial(_reduced_bytes, width * 4, ids)
            yield from _passes(work, problem.name, made, width, moved, is_linear=reduce == "sum")
    softmax = partial(_mapped_bytes, _HEADS * 4)
    yield from _passes(_here(SEGMENT_SOFTMAX), problem.name, in_order, _HEADS, softmax)


def _groups(problem: Problem, in_order: bool) -> Groups:
    groups = Groups.of(problem.graph())
    return replace(groups, _index=groups.sorted_index()) if in_order else groups


def _here(work: Work) -> Work:
    """On rows that are drawn where the groups are, and without DGL, which is of another torch."""
    sides = {name: side for name, side in work.sides.items() if not name.startswith("DGL")}
    return replace(work, inputs=_rows, sides=sides)


def _rows(groups: Groups, width: int) -> tuple[Tensor, ...]:
    return (_uniform(groups.index().numel(), width, groups.ptr.device),)


def _reduced_bytes(row: int, ids: int, groups: Groups) -> int:
    """A row, and an id where it has one, read each; a row of results a group, and its offset."""
    offset = 0 if ids else _ID
    return (row + ids) * groups.index().numel() + (row + offset) * groups.size


def _mapped_bytes(row: int, groups: Groups) -> int:
    """A row read and written each; an offset a group."""
    return 2 * row * groups.index().numel() + _ID * groups.size


# -- both ---------------------------------------------------------------------------------------


def _passes(
    work: Work,
    name: str,
    make: Callable[[], Any],
    width: int,
    moved: Callable[[Any], int],
    *,
    is_linear: bool = False,
    targets: Mapping[str, str] = _NO_TARGETS,
) -> Iterator[Task]:
    """Forward, and forward and backward, on what is made when their turn comes.

    The derivative of a sum moves as much, the other way; what others must move is not counted.
    """

    def case(backward: bool) -> Case:
        line = f"{name}: {work.name}, F={width}, {'forward+backward' if backward else 'forward'}"
        sides = partial(_prepared, work, make, width, backward)
        return Case(line, sides, tolerance=work.tolerance)

    yield Task(case(False), lambda: moved(make()), targets)
    yield Task(case(True), (lambda: 2 * moved(make())) if is_linear else None, targets)


def _prepared(work: Work, make: Callable[[], Any], width: int, backward: bool) -> list[Side]:
    return work.prepared(make(), width, backward)


def building(problem: Problem) -> Iterator[Task]:
    """The adjacency and its transpose."""
    for what, sides in (("the adjacency", build_sides), ("its transpose", transpose_sides)):
        yield Task(Case(f"{problem.name}: build {what}", partial(_of_graph, sides, problem)))


def _of_graph(sides: Callable[[Graph], list[Side]], problem: Problem) -> list[Side]:
    return sides(problem.graph())
