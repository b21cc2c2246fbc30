"""`segment_softmax` and `segment_logsumexp` are their definitions, over segments and over edges."""

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import segment_logsumexp, segment_softmax
from gnnlib.testing import Sample, assert_op

OPS = [segment_softmax, segment_logsumexp]
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Below, at and beyond the lanes of a register, and the columns that are worked on together.
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65, 130]
PIECE = 2048  # rows of a group that a kernel takes at a time
NAN, INF = float("nan"), float("inf")
PTR = torch.tensor([0, 3, 3, 4, 11, 20])
LOOSE = {"rtol": 0.02, "atol": 0.02}


def softmax_oracle(src: Tensor, groups: Tensor) -> Tensor:
    """The definition, group by group."""
    ends = groups.tolist()
    rows = [src[:0], torch.zeros_like(src[: ends[0]])]
    rows += [src[a:b].softmax(0) for a, b in pairwise(ends)]
    return torch.cat([*rows, torch.zeros_like(src[ends[-1] :])])


def logsumexp_oracle(src: Tensor, groups: Tensor) -> Tensor:
    ends = groups.tolist()
    rows = [src[a:b].logsumexp(0) if a < b else src.new_full(src.shape[1:], -INF)
            for a, b in pairwise(ends)]  # fmt: skip
    return torch.stack(rows) if rows else src.new_zeros(0, *src.shape[1:])


ORACLES: dict[Any, Callable[..., Tensor]] = {
    segment_softmax: softmax_oracle,
    segment_logsumexp: logsumexp_oracle,
}


def rough(*args: Any) -> Sample:
    """A sample too large, or with too many infinities, for finite differences."""
    return Sample(args, smooth=False)


def values(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (torch.randint(-32, 33, shape, generator=draw) / 8).to(dtype)


def hub(degree: int) -> Tensor:
    return torch.tensor([0, 3, 3 + degree, 5 + degree])


@pytest.mark.parametrize("op", OPS)
def test_every_width_and_float(op: Any) -> None:
    exact = [
        rough(values(20, width, dtype=dtype), PTR) for width, dtype in product(WIDTHS, FLOATS[:2])
    ]
    assert_op(op, ORACLES[op], exact, differentiable=["src"], compile=False)
    half = [
        rough(values(20, width, dtype=dtype), PTR) for width, dtype in product(WIDTHS, FLOATS[2:])
    ]
    assert_op(op, ORACLES[op], half, compile=False)
    assert_op(op, ORACLES[op], half, differentiable=["src"], compile=False, **LOOSE)


@pytest.mark.parametrize("op", OPS)
def test_edge_cases(op: Any) -> None:
    samples = [
        rough(values(0, 3), torch.tensor([0])),
        rough(values(0, 3), torch.tensor([0, 0, 0])),
        rough(values(4, 0), torch.tensor([0, 1, 4])),
        rough(values(0), torch.tensor([0, 0])),
        rough(values(4), torch.tensor([0, 1, 4])),
        rough(values(4, 2, 3), torch.tensor([0, 0, 4])),
        rough(values(4, 2, 0, 3), torch.tensor([0, 4])),
        rough(values(4, 3), torch.tensor([0, 4], dtype=torch.int32)),
        rough(values(6, 3), torch.tensor([2, 3, 5])),  # rows before and after all groups
        rough(values(6, 3), torch.tensor([4])),
        rough(values(6, 1), torch.tensor([6, 6])),
    ]
    assert_op(op, ORACLES[op], samples, differentiable=["src"], compile=False)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 5500])
def test_hub(op: Any, degree: int) -> None:
    src = values(degree + 7, 3) * 4
    src[PIECE : 2 * PIECE] -= 100  # a piece that counts for nothing beside the others
    samples = [rough(src, hub(degree)), rough(values(degree + 7, 70, seed=1), hub(degree))]
    assert_op(op, ORACLES[op], samples, differentiable=["src"], compile=False)


@pytest.mark.parametrize("op", OPS)
def test_a_shift_changes_nothing_and_nothing_overflows(op: Any) -> None:
    src, ptr = torch.randn(20, 4, dtype=torch.float64), PTR
    plain = op(src, ptr)
    for shift in (1e4, -1e4):
        expected = plain if op is segment_softmax else plain + shift
        torch.testing.assert_close(op(src + shift, ptr), expected)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("degree", [5, PIECE + 5])
def test_nan_and_infinities(op: Any, degree: int) -> None:
    ptr = hub(degree)
    for dtype, width in product(FLOATS, [1, 3, 8, 17]):
        for position, special in product([3, degree + 1], [NAN, INF, -INF]):
            src = values(degree + 7, width, dtype=dtype)
            src[position] = special
            assert_op(op, ORACLES[op], [rough(src, ptr)], compile=False)
            src[3 : 3 + degree] = special
            assert_op(op, ORACLES[op], [rough(src, ptr)], compile=False)


def test_a_piece_of_a_hub_that_is_all_minus_infinity_counts_for_nothing() -> None:
    src = values(PIECE + 9, 3)
    src[:PIECE] = -INF
    ptr = torch.tensor([0, PIECE + 9])
    for op in OPS:
        assert_op(op, ORACLES[op], [rough(src, ptr)], compile=False)


def test_the_gradient_of_what_is_not_there_is_zero() -> None:
    src = torch.tensor([[-INF, 0.0], [-INF, -INF], [1.0, 2.0]], requires_grad=True)
    out = segment_logsumexp(src, torch.tensor([0, 2, 2, 3]))
    assert torch.equal(out.detach(), torch.tensor([[-INF, 0.0], [-INF, -INF], [1.0, 2.0]]))
    (grad,) = torch.autograd.grad(out, src, torch.ones_like(out), create_graph=True)
    assert torch.equal(grad.detach(), torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    (second,) = torch.autograd.grad(grad.sum(), src)
    assert torch.equal(second, torch.zeros_like(second))


@pytest.mark.parametrize("op", OPS)
def test_derivatives(op: Any) -> None:
    kernels = torch.ops.gnnlib
    reached = {
        segment_softmax: [kernels.segment_softmax, kernels.segment_softmax_grad],
        segment_logsumexp: [kernels.segment_logsumexp, kernels.segment_logsumexp_grad],
    }[op]
    src = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = [(src, torch.tensor([0, 2, 6])), (src[:, 0], torch.tensor([1, 4, 7]))]
    assert_op(
        op, ORACLES[op], samples, differentiable=["src"], double_backward=True, compile=False,
        opcheck=reached,
    )  # fmt: skip


# Groups of edges ----------------------------------------------------------------------------------


def over_edges(op: Any) -> Callable[..., Tensor]:
    return lambda src, edge_index, size: op(src, Adjacency.of(edge_index, size))


def edges_oracle(op: Any) -> Callable[..., Tensor]:
    def oracle(src: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
        dst = edge_index[1]
        order = torch.cat([(dst == i).nonzero().flatten() for i in range(size[1])])
        ptr = torch.tensor([int((dst < i).sum()) for i in range(size[1] + 1)])
        out = ORACLES[op](src[order], ptr)
        return out[order.argsort()] if op is segment_softmax else out

    return oracle


@pytest.mark.parametrize("op", OPS)
def test_edges_are_in_the_callers_order(op: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    edges = torch.stack([torch.randint(n, (30,), generator=draw) for n in (6, 5)])
    ordered = edges[:, edges[1].sort(stable=True).indices]
    heavy = torch.stack([torch.zeros(PIECE + 50, dtype=torch.long)] * 2)
    heavy[1, ::90] = 2
    samples = [
        (values(30, width), graph, (6, 5)) for width, graph in product([1, 3, 8], [edges, ordered])
    ]
    samples.append(rough(values(PIECE + 50, 3), heavy, (1, 3)))
    assert_op(
        over_edges(op), edges_oracle(op), samples, differentiable=["src"], compile=False
    )  # fmt: skip
    src = torch.randn(30, 2, dtype=torch.float64, generator=draw)
    assert_op(
        over_edges(op), edges_oracle(op), [(src, edges, (6, 5))], differentiable=["src"],
        double_backward=True, compile=False,
    )  # fmt: skip


# Any shape, any group ---------------------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(0, 40))
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 17, 65]), max_size=2))
    ends = sorted(draw(st.lists(st.integers(0, size), min_size=1, max_size=8)))
    dtype, seed = draw(st.sampled_from(FLOATS[:2])), draw(st.integers(0, 1000))
    return rough(values(size, *shape, dtype=dtype, seed=seed), torch.tensor(ends))


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(drawn=calls())
def test_any_call(op: Any, drawn: Sample) -> None:
    assert_op(op, ORACLES[op], [drawn], differentiable=["src"], compile=False)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_bad_group_is_named(op: Any, data: Any) -> None:
    size = data.draw(st.integers(0, 9))
    ptr = torch.tensor(sorted(data.draw(st.lists(st.integers(0, size), min_size=1, max_size=5))))
    end = data.draw(st.sampled_from([0, -1]))
    bad = st.sampled_from([size + 1, 2**62] if end else [-1, -(2**62)])
    ptr[end] = value = data.draw(bad)
    with pytest.raises(IndexError, match=rf"in \[0, {size}\], got {value} \("):
        op(values(size, 2), ptr)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("on a GPU the bits are the same from run to run, not in any batch")
@pytest.mark.parametrize("op", OPS)
def test_bits_do_not_depend_on_threads_or_batch(op: Any) -> None:
    ptr = torch.cat([torch.arange(0, 9000, 9), torch.tensor([9000, 9000 + 2 * PIECE + 9])])
    before, found = torch.get_num_threads(), []
    for width in (1, 3, 8, 70):
        src = torch.randn(int(ptr[-1]), width)
        try:
            for count in (1, 2, 4):
                torch.set_num_threads(count)
                found.append(op(src, ptr))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[-1], found[-2])
        assert torch.equal(found[-1], found[-3])
        batch = torch.cat([torch.randn(11, width), src])
        later = op(batch, torch.cat([torch.tensor([0]), ptr + 11]))
        assert torch.equal(later[11 if op is segment_softmax else 1 :], found[-1])


# Compilers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_compiles(op: Any) -> None:
    samples = [rough(values(20, 3), PTR), rough(values(5, 3), torch.tensor([0, 2, 5]))]
    assert_op(op, ORACLES[op], samples, differentiable=["src"])
    edges = torch.tensor([[0, 1, 1], [2, 0, 2]])
    assert_op(
        over_edges(op),
        edges_oracle(op),
        [rough(values(3, 2), edges, (3, 3))],
        differentiable=["src"],
    )


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1, 1], [1, 2, 1]])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("src", "groups", "error", "message"),
    [
        (X, torch.tensor([0, 2, 1]), ValueError, "must not decrease"),
        (X, torch.tensor([0, 4]), IndexError, r"in \[0, 3\], got 4 \("),
        (X, torch.tensor([-1, 2]), IndexError, r"in \[0, 3\], got -1 \("),
        (X, EDGES, ValueError, r"\[N \+ 1\] integers or an Adjacency, got \[2, 3\] \(of edges"),
        (X, torch.tensor([], dtype=torch.long), ValueError, r"Adjacency, got \[0\]"),
        (X, [0, 3], ValueError, "Adjacency, got list"),
        (X, torch.tensor([0.0, 3.0]), ValueError, "integers, got torch.float32 .use groups.long"),
        (X, Adjacency.of(EDGES[:, :2], 3), ValueError, "a row per edge, 2, got 3"),
        (X.int(), torch.tensor([0, 3]), ValueError, r"floating point values, got \[3, 2\] of"),
        (torch.tensor(1.0), torch.tensor([0, 1]), ValueError, r"got \[\] of torch.float32"),
        (X, torch.tensor([0, 3], device="meta"), ValueError, "`groups` must be where the .* meta"),
        (X, Adjacency.of(EDGES.to("meta"), 3), ValueError, "`groups` must be where .* got meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    op: Any, src: Any, groups: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        op(src, groups)
