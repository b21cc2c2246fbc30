"""`gather_attend` is its definition: for every dtype, shape, graph, processor and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import gather_attend
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Heads and columns: within a vector, across several, and neither.
SHAPES = [(1, 1), (1, 7), (1, 40), (2, 8), (3, 5), (3, 16), (5, 13), (8, 8), (4, 32), (17, 1),
          (9, 2), (2, 100)]  # fmt: skip
PIECE = 2048  # edges of a row that a kernel takes at a time
NAN, INF = float("nan"), float("inf")
ALL = ["value", "scores", "gate"]
Call = tuple[Tensor, Tensor, Tensor, tuple[int, int], Tensor | None]


def op(
    value: Tensor,
    scores: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    gate: Tensor | None = None,
) -> Tensor:
    return gather_attend(value, scores, Adjacency.of(edge_index, size), gate)


def oracle(
    value: Tensor,
    scores: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    gate: Tensor | None = None,
) -> Tensor:
    """The definition, target by target, with every message written down."""
    src, dst = edge_index
    rows = []
    for i in range(size[1]):
        present = (dst == i).nonzero().flatten()
        if gate is not None:
            present = present[gate[src[present]] != 0]
        message = value[src[present]]
        if gate is not None:
            message = message * gate[src[present]].view(-1, 1, 1)
        rows.append((scores[present].softmax(0).unsqueeze(-1) * message).sum(0))
    return torch.stack(rows) if rows else value.new_zeros(0, *value.shape[1:])


def arguments(
    shape: tuple[int, int],
    size: tuple[int, int] = (6, 5),
    num_edges: int = 18,
    dtype: torch.dtype = torch.float32,
    gated: bool = False,
    seed: int = 0,
) -> Call:
    draw = torch.Generator().manual_seed(seed)
    value = (torch.randint(-8, 9, (size[0], *shape), generator=draw) / 4).to(dtype)
    scores = (torch.randint(-16, 17, (num_edges, shape[0]), generator=draw) / 8).to(dtype)
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    gate = (torch.randint(3, (size[0],), generator=draw) / 2).to(dtype)
    return value, scores, edges, size, gate if gated else None


def rough(*args: Any) -> Sample:
    """A sample too large, or with too many infinities, for finite differences."""
    return Sample(args, smooth=False)


def in_order(call: Call) -> Call:
    value, scores, edges, size, gate = call
    return value, scores, edges[:, edges[1].sort(stable=True).indices], size, gate


@pytest.mark.parametrize("gated", [False, True])
def test_every_width_and_float(gated: bool) -> None:
    exact = [
        rough(*arguments(shape, dtype=dtype, gated=gated))
        for shape, dtype in product(SHAPES, FLOATS[:2])
    ]
    wanted = ALL if gated else ALL[:2]
    assert_op(op, oracle, exact, differentiable=wanted, compile=False)
    half = [
        rough(*arguments(shape, dtype=dtype, gated=gated))
        for shape, dtype in product(SHAPES, FLOATS[2:])
    ]
    assert_op(op, oracle, half, compile=False)
    # The coefficients of the backward pass are half floats too.
    assert_op(op, oracle, half, differentiable=wanted, compile=False, rtol=0.1, atol=0.1)


def test_edge_cases() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    samples = [
        rough(torch.zeros(0, 2, 3), torch.zeros(0, 2), none, (0, 0)),
        rough(torch.zeros(0, 2, 3), torch.zeros(0, 2), none, (0, 4)),
        rough(torch.ones(4, 2, 3), torch.zeros(0, 2), none, (4, 0)),
        rough(torch.ones(4, 2, 3), torch.zeros(0, 2), none, (4, 5)),
        rough(*arguments((0, 3))),
        rough(*arguments((2, 0))),
        rough(*arguments((0, 0))),
        rough(*arguments((2, 3), (4, 9), 6)),  # empty groups
        rough(*arguments((2, 3), (1, 1), 4)),  # loops on one node
        rough(*arguments((2, 3), (2, 9), 60)),  # multi-edges
        rough(*in_order(arguments((2, 3)))),
        rough(*in_order(arguments((3, 8), gated=True))),
        rough(*arguments((2, 3), gated=True)[:4], torch.zeros(6)),  # nobody is there
    ]
    assert_op(op, oracle, samples, differentiable=ALL, compile=False)


@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 5500])
def test_hub(degree: int) -> None:
    samples = []
    for shape, gated in product([(2, 3), (3, 17)], [False, True]):
        value, scores, edges, size, gate = arguments(shape, (9, 4), degree + 40, gated=gated)
        edges[1] = 2
        edges[1, :40] %= 2
        scores[:PIECE] -= 50  # a piece that counts for nothing beside the others
        samples.append(rough(value, scores, edges, size, gate))
    assert_op(op, oracle, samples, differentiable=ALL, compile=False, atol=1e-4)


@pytest.mark.parametrize("closed", [[0], [1], [0, 1]])
def test_hub_of_which_whole_pieces_are_absent(closed: list[int]) -> None:
    src = torch.tensor([0] * PIECE + [1] * 9)
    edges, gate = torch.stack([src, torch.zeros_like(src)]), torch.ones(2)
    gate[closed] = 0
    value, scores, *_ = arguments((2, 3), (2, 1), PIECE + 9)
    sample = rough(value, scores, edges, (2, 1), gate)
    assert_op(op, oracle, [sample], differentiable=ALL, compile=False, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("degree", [5, PIECE + 5])
def test_nan_and_infinities(degree: int) -> None:
    for dtype, shape in product(FLOATS, [(1, 1), (2, 8), (3, 5)]):
        value, scores, edges, size, _ = arguments(shape, num_edges=degree + 6, dtype=dtype)
        edges[1, 6:] = 4
        for special in (NAN, INF, -INF):
            one, whole = scores.clone(), scores.clone()
            one[degree], whole[6:] = special, special
            of_value = value.clone()
            of_value[2] = special
            for call in ((value, one), (value, whole), (of_value, scores)):
                assert_op(op, oracle, [rough(*call, edges, size)], compile=False, rtol=2e-2)


def test_an_absent_source_takes_no_part() -> None:
    for shape in [(1, 1), (2, 8), (2, 20)]:
        value, scores, edges, size, _ = arguments(shape)
        gate = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 0.25])
        value[[1, 4]] = NAN
        scores[gate[edges[0]] == 0] = INF
        out = op(value, scores, edges, size, gate)
        assert out.isfinite().all()
        grads = [t.requires_grad_() for t in (value, scores, gate)]
        found = torch.autograd.grad(op(value, scores, edges, size, gate).sum(), grads)
        assert all(grad.isfinite().all() for grad in found)
        assert not found[0][[1, 4]].any()
        assert not found[1][(gate == 0)[edges[0]]].any()
        assert not found[2][[1, 4]].any()


def test_a_shift_of_the_scores_changes_nothing() -> None:
    value, scores, edges, size, _ = arguments((3, 7), dtype=torch.float64)
    plain = op(value, scores, edges, size)
    for shift in (1e4, -1e4):
        torch.testing.assert_close(op(value, scores + shift, edges, size), plain)


def test_derivatives() -> None:
    draw = torch.Generator().manual_seed(0)
    value, scores = (
        torch.randn(n, 2, *f, generator=draw, dtype=torch.float64) for n, f in ((4, (2,)), (7, ()))
    )
    edges = torch.stack([torch.randint(n, (7,), generator=draw) for n in (4, 3)])
    gate = torch.tensor([0.5, 1.0, 0.25, 0.75], dtype=torch.float64)
    kernels = torch.ops.gnnlib
    reached = [kernels.gather_attend, kernels.gather_reduce, kernels.edge_dot]
    assert_op(
        op, oracle, [(value, scores, edges, (4, 3), gate), (value, scores, edges, (4, 3))],
        differentiable=ALL, double_backward=True, compile=False, opcheck=reached,
    )  # fmt: skip
    closed = gate * torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    for wanted in ([*ALL[:2]], *([name] for name in ALL[:2])):
        samples = [(value, scores, edges, (4, 3), closed), (value, scores, edges, (4, 3))]
        one_head = (value[:, :1], scores[:, :1], edges, (4, 3))
        assert_op(
            op, oracle, [*samples, one_head], differentiable=wanted, double_backward=True,
            compile=False,
        )  # fmt: skip


# Any shape, any graph -----------------------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = draw(st.integers(0, 9)), draw(st.sampled_from([0, 1, 2, 3, 4, 8, 9, 17, 33]))
    dtype, seed = draw(st.sampled_from(FLOATS[:2])), draw(st.integers(0, 1000))
    return rough(
        *arguments(shape, size, draw(st.integers(0, 30)), dtype, draw(st.booleans()), seed)
    )


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    gated = drawn.args[-1] is not None
    assert_op(op, oracle, [drawn], differentiable=ALL if gated else ALL[:2], compile=False)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("on a GPU the bits are the same from run to run, not in any batch")
def test_bits_do_not_depend_on_threads_or_batch() -> None:
    before = torch.get_num_threads()
    for shape in ((3, 5), (2, 40)):
        value, scores, edges, size, gate = arguments(shape, (60, 50), 3 * PIECE, gated=True)
        value, scores = value + 0.1, torch.randn_like(scores)
        edges[1, : PIECE + 99] = 7
        found = []
        try:
            for count in (1, 2, 4):
                torch.set_num_threads(count)
                found.append(op(value, scores, edges.clone(), size, gate))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
        wide = op(
            torch.cat([value[:9], value]),
            torch.cat([scores[:77], scores]),
            torch.cat([edges[:, -77:] % 9, edges + 9], 1),
            (69, 59),
            torch.cat([gate[:9], gate]),
        )
        assert torch.equal(wide[9:], found[0])


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [
        rough(*arguments((2, 3), size, num_edges, gated=gated))
        for gated in (False, True)
        for size, num_edges in (((6, 5), 18), ((4, 7), 9))
    ]
    assert_op(op, oracle, samples, differentiable=ALL)


# Wrong calls --------------------------------------------------------------------------------------

V, S, EDGES = torch.ones(3, 2, 4), torch.ones(2, 2), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gather_attend(V[:, 0], S, EDGES), ValueError, r"\[N_src, H, F\], got \[3, 4\] \("),
        (lambda: gather_attend(V, S[:1], EDGES), ValueError, r"must be \[2, 2\], a col.*\[1, 2\]"),
        (lambda: gather_attend(V, S[:, :1], EDGES), ValueError, r"must be \[2, 2\].*got \[2, 1\]"),
        (
            lambda: gather_attend(V, S.double(), EDGES),
            ValueError,
            "`value` and `scores` must share .* torch.float32 and torch.float64",
        ),
        (lambda: gather_attend(V.int(), S.int(), EDGES), ValueError, "share a floating point"),
        (
            lambda: gather_attend(V, S, EDGES, torch.ones(2)),
            ValueError,
            r"`gate` must have one value per source node, 3, got \[2\]",
        ),
        (lambda: gather_attend(V[:2], S, EDGES), IndexError, r"\[0, 2\), got 2 \(does `x` have"),
        (
            lambda: gather_attend(V, S.to("meta"), EDGES),
            ValueError,
            "`scores` must be where the features are, .*, got meta",
        ),
        (
            lambda: gather_attend(V, S, Adjacency.of(EDGES.to("meta"), 3)),
            ValueError,
            "the graph must be where",
        ),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
