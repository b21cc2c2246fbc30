"""`gather_reduce` with one weight a head is its definition."""

from itertools import product
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import gather_reduce
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Heads and columns: within a vector, two, several or many to a vector, and rows beyond a tile.
SHAPES = [(2, 1), (20, 1), (5, 2), (19, 2), (8, 4), (17, 3), (34, 4), (3, 5), (5, 7), (2, 8),
          (16, 8), (7, 15), (3, 16), (3, 17), (4, 32), (2, 65), (5, 40), (130, 1)]  # fmt: skip
REDUCES = ["sum", "mean"]
PIECE = 2048  # edges of a row that a kernel takes at a time
ALL = ["x", "weight", "gate"]
LOOSE = {"rtol": 0.02, "atol": 0.02}


def op(
    x: Tensor,
    weight: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    reduce: Literal["sum", "mean"] = "sum",
    gate: Tensor | None = None,
) -> Tensor:
    return gather_reduce(x, Adjacency.of(edge_index, size), weight, reduce, gate)


def oracle(
    x: Tensor,
    weight: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    reduce: Literal["sum", "mean"] = "sum",
    gate: Tensor | None = None,
) -> Tensor:
    """Head by head, each with its own weight."""
    if x.size(1) == 0:
        return x.new_zeros(size[1], *x.shape[1:]) + 0 * (x.sum() + weight.sum())
    adj = Adjacency.of(edge_index, size)
    heads = [gather_reduce(x[:, h], adj, weight[:, h], reduce, gate) for h in range(x.size(1))]
    return torch.stack(heads, 1)


def arguments(
    shape: tuple[int, ...],
    size: tuple[int, int] = (6, 5),
    num_edges: int = 18,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    draw = torch.Generator().manual_seed(seed)
    x = (torch.randint(-8, 9, (size[0], *shape), generator=draw) / 4).to(dtype)
    weight = (torch.randint(-8, 9, (num_edges, shape[0]), generator=draw) / 4).to(dtype)
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    return x, weight, edges, size


def gate_of(x: Tensor) -> Tensor:
    return (torch.arange(x.size(0)) % 3 / 2).to(x.dtype)


def rough(*args: Any) -> Sample:
    """A sample not for finite differences: it is large, or its closed gates pretend to be open."""
    return Sample(args, smooth=False)


@pytest.mark.parametrize("reduce", REDUCES)
def test_every_width_and_float(reduce: str) -> None:
    for some, tolerance in ((FLOATS[:2], {}), (FLOATS[2:], LOOSE)):
        samples = []
        for shape, dtype in product(SHAPES, some):
            args = arguments(shape, dtype=dtype)
            samples += [rough(*args, reduce), rough(*args, reduce, gate_of(args[0]))]
        assert_op(op, oracle, samples, differentiable=ALL, compile=False, **tolerance)


@pytest.mark.parametrize("reduce", REDUCES)
def test_edge_cases(reduce: str) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = arguments((2, 3))
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        rough(torch.zeros(0, 2, 3), torch.zeros(0, 2), none, (0, 0), reduce),
        rough(torch.zeros(0, 2, 3), torch.zeros(0, 2), none, (0, 4), reduce),
        rough(torch.ones(4, 2, 3), torch.zeros(0, 2), none, (4, 5), reduce),
        rough(*arguments((0, 3)), reduce),
        rough(*arguments((2, 0)), reduce),
        rough(*arguments((1, 3)), reduce),
        rough(*arguments((2, 3, 4)), reduce),
        rough(*arguments((2, 3), (4, 9), 6), reduce),  # empty groups
        rough(*arguments((2, 3), (2, 9), 60), reduce),  # multi-edges
        rough(*ordered, reduce),
    ]
    assert_op(op, oracle, samples, differentiable=ALL[:2], compile=False)


def test_hub() -> None:
    samples = []
    for shape, degree in product([(2, 3), (3, 8)], [PIECE, 2 * PIECE + 1]):
        args = arguments(shape, (9, 4), degree + 40)
        args[2][1, 40:] = 2
        samples.append(rough(*args, "mean", gate_of(args[0])))
    assert_op(op, oracle, samples, differentiable=ALL, compile=False, atol=1e-3)


def test_an_absent_source_is_not_multiplied() -> None:
    x, weight, edges, size = arguments((2, 8))
    gate = gate_of(x)
    x[gate == 0] = float("nan")
    assert op(x, weight, edges, size, "sum", gate).isfinite().all()


def test_integers() -> None:
    samples = []
    for dtype, shape in product([torch.int8, torch.int32, torch.int64], [(2, 3), (3, 20)]):
        x, weight, edges, size = arguments(shape)
        samples.append((x.mul(4).to(dtype), weight.mul(4).to(dtype), edges, size))
    assert_op(op, oracle, samples, compile=False)


def test_derivatives() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(n, 2, *f, generator=draw, dtype=torch.float64) for n, f in ((4, (2,)), (7, ()))
    )
    edges = torch.stack([torch.randint(n, (7,), generator=draw) for n in (4, 3)])
    gate = torch.tensor([0.5, 1.0, 0.25, 0.75], dtype=torch.float64)
    calls = [(reduce, given) for reduce in REDUCES for given in (None, gate)]
    kernels = [torch.ops.gnnlib.gather_reduce, torch.ops.gnnlib.edge_dot]
    assert_op(
        op, oracle, [(x, weight, edges, (4, 3), *call) for call in calls], differentiable=ALL,
        double_backward=True, compile=False, opcheck=kernels,
    )  # fmt: skip


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = draw(st.integers(0, 18)), draw(st.integers(0, 18))
    dtype, seed = draw(st.sampled_from(FLOATS[:2])), draw(st.integers(0, 1000))
    args = arguments(shape, size, draw(st.integers(1, 30)), dtype, seed)
    return rough(*args, draw(st.sampled_from(REDUCES)))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    assert_op(op, oracle, [drawn], differentiable=ALL[:2], compile=False)


def test_compiles() -> None:
    samples = [
        rough(*arguments((2, 3), size, num_edges), reduce)
        for reduce in REDUCES
        for size, num_edges in (((6, 5), 18), ((4, 7), 9))
    ]
    assert_op(op, oracle, samples, differentiable=ALL[:2])


X, W, EDGES = torch.ones(3, 2, 4), torch.ones(2, 2), torch.tensor([[0, 1], [1, 2]])
HINT = r"one value per edge, 2, got \[{}\] \(or, for sum and mean of \[N, H, F\] features"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gather_reduce(X, EDGES, W, "max"), HINT.format("2, 2")),
        (lambda: gather_reduce(X, EDGES, torch.ones(2, 3)), HINT.format("2, 3")),
        (lambda: gather_reduce(X, EDGES, torch.ones(3, 2)), HINT.format("3, 2")),
        (lambda: gather_reduce(X.flatten(1), EDGES, W), HINT.format("2, 2")),
        (lambda: gather_reduce(X.int(), EDGES, W), r"whole numbers for torch.int32 .* torch.float"),
        (lambda: gather_reduce(X, EDGES, W.to("meta")), "`weight` must be where the .* got meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
