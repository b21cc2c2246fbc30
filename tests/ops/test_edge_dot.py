"""`edge_dot` is its definition: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import edge_dot, gather_reduce
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 3, 4, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
PIECE = 2048  # edges of a row that a kernel takes at a time
NAN, INF = float("nan"), float("inf")
BOTH = ["x_src", "x_dst"]


def op(
    x_src: Tensor, x_dst: Tensor, edge_index: Tensor, size: tuple[int, int], heads: int = 1
) -> Tensor:
    return edge_dot(x_src, x_dst, Adjacency.of(edge_index, size), heads)


def oracle(
    x_src: Tensor, x_dst: Tensor, edge_index: Tensor, size: tuple[int, int], heads: int = 1
) -> Tensor:
    """The definition, edge by edge."""
    assert (x_src.size(0), x_dst.size(0)) == size
    if heads != 1:
        src, dst = (x.reshape(x.size(0), heads, -1) if x.numel() else x for x in (x_src, x_dst))
        dots = [(src[j] * dst[i]).flatten(1).sum(1) for j, i in edge_index.t().tolist()]
        return torch.stack(dots) if dots else src.new_zeros(0, heads)
    dots = [(x_src[j] * x_dst[i]).sum() for j, i in edge_index.t().tolist()]
    return torch.stack(dots) if dots else x_src.new_zeros(0) + 0 * (x_src.sum() + x_dst.sum())


def sample(
    shape: tuple[int, ...],
    size: tuple[int, int] = (5, 4),
    num_edges: int = 9,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Sample:
    # Numbers of few bits, whose sums are exact in float32.
    draw = torch.Generator().manual_seed(seed)
    src, dst = ((torch.randint(-8, 9, (n, *shape), generator=draw) / 4).to(dtype) for n in size)
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    return Sample((src, dst, edges, size), smooth=False)


# Heads and columns: several in a vector, in pairs or not, and several vectors in one.
HEADS = [(2, 1), (19, 1), (5, 2), (8, 2), (4, 4), (9, 4), (2, 8), (8, 8), (3, 5), (5, 7), (2, 16),
         (3, 20), (4, 32), (0, 3), (2, 0)]  # fmt: skip


def smooth(seed: int = 0, num_edges: int = 6) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    src, dst = (torch.randn(n, 3, generator=draw, dtype=torch.float64) for n in (4, 3))
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in (4, 3)])
    return Sample((src, dst, edges, (4, 3)))


def test_every_width_and_float() -> None:
    samples = [sample((width,), dtype=dtype) for width, dtype in product(WIDTHS, FLOATS)]
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


def test_heads() -> None:
    draws = [sample(shape, dtype=dtype) for shape, dtype in product(HEADS, FLOATS)]
    samples = [Sample((*s.args, s.args[0].size(1)), smooth=False) for s in draws]
    flat = [s.flatten(1) if k < 2 else s for k, s in enumerate(sample((3, 8)).args)]
    samples.append(Sample((*flat, 3), smooth=False))
    none = (torch.ones(4, 2, 3), torch.ones(5, 2, 3), torch.empty(2, 0, dtype=torch.long), (4, 5))
    samples.append(Sample((*none, 2), smooth=False))
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


def test_edge_cases() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample((3,)).args
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        Sample((torch.zeros(0, 3), torch.zeros(0, 3), none, (0, 0)), smooth=False),
        Sample((torch.zeros(0, 3), torch.ones(4, 3), none, (0, 4)), smooth=False),
        Sample((torch.ones(4, 3), torch.zeros(0, 3), none, (4, 0)), smooth=False),
        Sample((torch.ones(4, 3), torch.ones(5, 3), none, (4, 5)), smooth=False),
        Sample((torch.zeros(0, 0), torch.zeros(2, 0), none, (0, 2)), smooth=False),
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


@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1])
def test_hub(degree: int) -> None:
    args = sample((17,), num_edges=degree + 30).args
    edges = args[2]
    edges[1] = 3
    edges[1, :: degree // 30][:30] = torch.arange(30) % 3
    assert int((edges[1] == 3).sum()) == degree
    by_order = Sample(args, smooth=False)
    assert_op(op, oracle, [by_order], differentiable=BOTH, compile=False, atol=1e-3)


def test_nan_and_infinities() -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, 1.0, 2.0])
    draw, samples = torch.Generator().manual_seed(0), []
    for width, dtype in product([1, 3, 16, 19], FLOATS):
        args = sample((width,), dtype=dtype).args
        for x in args[:2]:
            x[::2] = special[torch.randint(6, x[::2].shape, generator=draw)].to(dtype)
        samples.append(Sample(args, smooth=False))
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


def test_half_floats_are_accumulated_in_single_precision() -> None:
    edge = torch.zeros(2, 1, dtype=torch.long)
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.full((1, 4096), 16.0, dtype=dtype)
        y = torch.full_like(x, 1 / 64)
        y[0, 2048:] *= -1
        y[0, -1] = 0
        # In half floats the first 2048 products lose the last.
        assert op(x, y, edge, (1, 1)).item() == 0.25


def test_derivatives() -> None:
    kernels = [torch.ops.gnnlib.edge_dot, torch.ops.gnnlib.gather_reduce]
    assert_op(
        op, oracle, [smooth()], differentiable=BOTH, double_backward=True, compile=False,
        opcheck=kernels,
    )  # fmt: skip
    # One side alone takes another way through the transpose.
    for side in BOTH:
        assert_op(
            op, oracle, [smooth(1)], differentiable=[side], double_backward=True, compile=False
        )


def test_derivatives_of_heads() -> None:
    src, dst, edges, size = smooth().args
    for side in (BOTH, *([side] for side in BOTH)):
        assert_op(
            op, oracle, [(src, dst, edges, size, 3)], differentiable=side, double_backward=True,
            compile=False, opcheck=[torch.ops.gnnlib.edge_dot],
        )  # fmt: skip


def test_is_the_derivative_of_gather_reduce_by_its_weights() -> None:
    x, grad, edges, size = smooth(2, num_edges=9).args
    weight = torch.ones(9, dtype=torch.float64, requires_grad=True)
    out = gather_reduce(x, Adjacency.of(edges, size), weight)
    (actual,) = torch.autograd.grad(out, weight, grad)
    torch.testing.assert_close(actual, op(x, grad, edges, size))


# Any shape, any stride, any index ---------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    num_edges = draw(st.integers(0, 12)) if all(size) else 0
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 9, 17, 65]), max_size=2)))
    dtype, seed = draw(st.sampled_from(FLOATS)), draw(st.integers(0, 1000))
    if not all(size):
        src, dst = (torch.ones(n, *shape, dtype=dtype) for n in size)
        return Sample((src, dst, torch.empty(2, 0, dtype=torch.long), size), smooth=False)
    return sample(shape, size, num_edges, dtype, seed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    assert_op(op, oracle, [drawn], differentiable=BOTH, compile=False)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_bad_index_is_named(data: Any) -> None:
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    args = sample((2,), size, data.draw(st.integers(1, 40))).args
    end = data.draw(st.integers(0, 1))
    too_big = st.sampled_from([size[end], size[end] + 1, 2**31, 2**63 - 1])
    value = data.draw(st.sampled_from([-1, -size[end], -(2**31), -(2**63)]) | too_big)
    args[2][end, data.draw(st.integers(0, args[2].size(1) - 1))] = value
    with pytest.raises(IndexError, match=rf"in \[0, {size[end]}\), got {value} \("):
        op(*args)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x_src, x_dst, edges, size = sample((40,), (900, 700), 9000).args
    edges[1, : 2 * PIECE + 9] = 4
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(edge_dot(x_src + 0.1, x_dst, Adjacency.of(edges.clone(), size)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_bits_do_not_depend_on_the_batch() -> None:
    for width in (3, 70):
        x_src, x_dst = torch.randn(20, width), torch.randn(30, width)
        edges = sample((1,), (20, 30), 3000).args[2]
        edges[1, : PIECE + 50] = 6
        alone = op(x_src, x_dst, edges, (20, 30))
        before = sample((1,), (7, 8), 777).args[2]
        batch = torch.cat([before, edges + torch.tensor([[7], [8]])], 1)
        wide_src, wide_dst = (
            torch.cat([torch.ones(n, width), x, x]) for n, x in ((7, x_src), (8, x_dst))
        )
        found = op(wide_src, wide_dst, batch, (47, 68))
        assert torch.equal(found[777:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [sample((3,)), sample((3,), (7, 9), 20, seed=1)]
    samples.append(Sample((*sample((2, 3)).args, 2), smooth=False))
    assert_op(op, oracle, samples, differentiable=BOTH)


@pytest.mark.parametrize("kind", ["edge_index", "adjacency"])
def test_one_compilation_serves_all_sizes(kind: str) -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(edge_dot, fullgraph=True, dynamic=True, backend=counter)
    for n in range(4, 14):
        x, _, edges, _ = sample((3,), (n, n), 2 * n).args
        x.requires_grad_()
        out = compiled(x, x, edges if kind == "edge_index" else Adjacency.of(edges, n))
        expected = oracle(x, x, edges, (n, n))
        torch.testing.assert_close(out, expected)
        actual = torch.autograd.grad(out.sum(), x)
        torch.testing.assert_close(actual, torch.autograd.grad(expected.sum(), x))
    assert counter.frame_count <= 2


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: edge_dot(X, X[:2], EDGES),
            ValueError,
            r"must be \[3, 2\], a row per .*, got \[2, 2\]",
        ),
        (lambda: edge_dot(X, X[:, :1], EDGES), ValueError, r"must be \[3, 2\], .*, got \[3, 1\]"),
        (lambda: edge_dot(X, X.view(3, 1, 2), EDGES), ValueError, r"got \[3, 1, 2\]"),
        (
            lambda: edge_dot(X[:2], X[:2], Adjacency.of(EDGES, 3)),
            ValueError,
            "source node, 3, got 2",
        ),
        (lambda: edge_dot(X[:2], X[:2], EDGES), IndexError, r"target nodes in \[0, 2\), got 2"),
        (lambda: edge_dot(X, X.double(), EDGES), ValueError, "got torch.float32 and torch.float64"),
        (lambda: edge_dot(X.int(), X.int(), EDGES), ValueError, "share a floating point dtype"),
        (lambda: edge_dot(torch.tensor(1.0), X, EDGES), ValueError, "got a scalar"),
        (lambda: edge_dot(X, torch.tensor(1.0), EDGES), ValueError, r"got \[\]"),
        (
            lambda: edge_dot(X, X.to("meta"), EDGES),
            ValueError,
            "`x_dst` must be where the .* got meta",
        ),
        (lambda: edge_dot(X, X, EDGES, 3), ValueError, r"divide the 2 columns .* got 3 \("),
        (lambda: edge_dot(X, X, EDGES, 0), ValueError, r"divide the 2 columns .* got 0 \("),
        (lambda: edge_dot(X, X, EDGES, -1), ValueError, r"divide the 2 columns .* got -1 \("),
        (lambda: edge_dot(X, X, META), ValueError, "the graph must be where .*, got meta"),
        (lambda: edge_dot(X, X, EDGES.float()), TypeError, "got torch.float32"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
