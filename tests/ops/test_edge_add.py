"""`edge_add` is its definition: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import edge_add
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 2, 3, 4, 8, 16, 17, 65]
PIECE = 2048  # edges of a row that a kernel takes at a time
NAN, INF = float("nan"), float("inf")
BOTH = ["x_src", "x_dst"]


def op(x_src: Tensor, x_dst: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
    return edge_add(x_src, x_dst, Adjacency.of(edge_index, size))


def oracle(
    x_src: Tensor, x_dst: Tensor, edge_index: Tensor, size: tuple[int, int]
) -> Tensor:  # fmt: skip
    """The definition, edge by edge."""
    assert (x_src.size(0), x_dst.size(0)) == size
    sums = [x_src[j] + x_dst[i] for j, i in edge_index.t().tolist()]
    return torch.stack(sums) if sums else x_src.new_zeros(0, *x_src.shape[1:])


def sample(
    shape: tuple[int, ...],
    size: tuple[int, int] = (5, 4),
    num_edges: int = 9,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Sample:
    # Numbers of few bits, whose sums are exact in all dtypes.
    draw = torch.Generator().manual_seed(seed)
    src, dst = ((torch.randint(-8, 9, (n, *shape), generator=draw) / 4).to(dtype) for n in size)
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    return Sample((src, dst, edges, size), smooth=False)


def test_every_width_and_float() -> None:
    samples = [sample((width,), dtype=dtype) for width, dtype in product(WIDTHS, FLOATS)]
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


def test_edge_cases() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample((3,)).args
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        Sample((torch.zeros(0, 3), torch.zeros(0, 3), none, (0, 0)), smooth=False),
        Sample((torch.zeros(0, 3), torch.ones(4, 3), none, (0, 4)), smooth=False),
        Sample((torch.ones(4, 3), torch.ones(5, 3), none, (4, 5)), smooth=False),
        sample((0,)),
        sample(()),
        sample((1,)),
        sample((2, 3)),
        sample((2, 0, 3)),
        Sample(ordered, smooth=False),
        sample((3,), (1, 1), 4),  # loops on one node
        sample((3,), (2, 9), 30),  # multi-edges
    ]
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


def test_hub_and_special_values() -> None:
    args = sample((3,), num_edges=2 * PIECE + 30).args
    args[2][1, 30:] = 3
    assert_op(op, oracle, [Sample(args, smooth=False)], differentiable=BOTH, compile=False)
    args = sample((3,)).args
    args[0][1], args[0][2], args[1][0] = NAN, INF, -INF
    assert_op(op, oracle, [Sample(args, smooth=False)], differentiable=BOTH, compile=False)


def test_derivatives() -> None:
    draw = torch.Generator().manual_seed(0)
    src, dst = (torch.randn(n, 2, generator=draw, dtype=torch.float64) for n in (4, 3))
    edges = torch.stack([torch.randint(n, (6,), generator=draw) for n in (4, 3)])
    for side in (BOTH, *([side] for side in BOTH)):
        assert_op(
            op, oracle, [(src, dst, edges, (4, 3))], differentiable=side, double_backward=True,
            compile=False, opcheck=[torch.ops.gnnlib.edge_add],
        )  # fmt: skip


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 9, 17]), max_size=2)))
    dtype, seed = draw(st.sampled_from(FLOATS)), draw(st.integers(0, 1000))
    return sample(shape, size, draw(st.integers(0, 12)), dtype, seed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    assert_op(op, oracle, [drawn], differentiable=BOTH, compile=False)


def test_compiles() -> None:
    samples = [sample((3,)), sample((3,), (7, 9), 20, seed=1)]
    assert_op(op, oracle, samples, differentiable=BOTH)


X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: edge_add(X, X[:2], EDGES), ValueError, r"must be \[3, 2\], a row .*, got \[2, 2"),
        (lambda: edge_add(X, X[:, :1], EDGES), ValueError, r"must be \[3, 2\], .*, got \[3, 1\]"),
        (lambda: edge_add(X[:2], X[:2], EDGES), IndexError, r"target nodes in \[0, 2\), got 2"),
        (lambda: edge_add(X, X.double(), EDGES), ValueError, "got torch.float32 and torch.float64"),
        (lambda: edge_add(X.int(), X.int(), EDGES), ValueError, "share a floating point dtype"),
        (lambda: edge_add(torch.tensor(1.0), X, EDGES), ValueError, "got a scalar"),
        (lambda: edge_add(X, X.to("meta"), EDGES), ValueError, "`x_dst` must be where .* got meta"),
        (lambda: edge_add(X, X, META), ValueError, "the graph must be where .*, got meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
