"""`gather_complex` is a product of complex matrices: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import gather_complex
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 3, 4, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
PIECE = 2048  # edges of a row that a kernel folds at a time
NAN, INF = float("nan"), float("inf")
BOTH = ["x", "weight"]


def op(x: Tensor, weight: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
    return gather_complex(x, Adjacency.of(edge_index, size), weight)


def oracle(x: Tensor, weight: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
    """The dense matrix of complex weights, times the complex features."""
    if not edge_index.numel() or not x.numel():
        return x.new_zeros(size[1], *x.shape[1:]) + 0 * (x.sum() + weight.sum())
    values, weights = (torch.complex(*t.double().unbind(1)) for t in (x, weight))
    src, dst = edge_index.long()
    matrix = torch.zeros(size[::-1], dtype=torch.complex128)
    matrix = matrix.index_put((dst, src), weights, accumulate=True)
    out = torch.tensordot(matrix, values, 1)
    return torch.stack([out.real, out.imag], 1).to(x.dtype)


def sample(
    width: int,
    size: tuple[int, int] = (6, 5),
    num_edges: int = 18,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Sample:
    # Numbers of few bits, whose sums are exact in float32.
    draw = torch.Generator().manual_seed(seed)
    x, weight = (
        (torch.randint(-8, 9, shape, generator=draw) / 4).to(dtype)
        for shape in ((size[0], 2, width), (num_edges, 2))
    )
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    return Sample((x, weight, edges, size), smooth=False)


def smooth(seed: int = 0) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    x, weight = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((4, 2, 3), (7, 2))
    )
    edges = torch.stack([torch.randint(n, (7,), generator=draw) for n in (4, 3)])
    return Sample((x, weight, edges, (4, 3)))


# Values and gradients against the definition ----------------------------------------------------


def test_every_width_and_float() -> None:
    for dtypes, tolerance in ((FLOATS[:2], None), (FLOATS[2:], 0.02)):
        samples = [sample(width, dtype=dtype) for width, dtype in product(WIDTHS, dtypes)]
        assert_op(
            op, oracle, samples, differentiable=BOTH, compile=False, rtol=tolerance, atol=tolerance
        )


def test_edge_cases() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample(3).args
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        Sample((torch.ones(n, 2, width), torch.ones(0, 2), none, (n, m)), smooth=False)
        for n, m, width in ((0, 0, 3), (4, 4, 3), (0, 4, 3), (4, 0, 3), (0, 2, 0))
    ]
    wide = sample(6)
    samples += [
        sample(0),
        sample(3, (4, 9), 9),  # empty groups
        sample(3, (1, 1), 4),  # loops on one node
        sample(3, (2, 9), 30),  # multi-edges
        Sample(ordered, smooth=False),
        Sample((*ordered[:2], ordered[2].int(), *ordered[3:]), smooth=False),
        Sample((wide.args[0].view(6, 2, 2, 3), *wide.args[1:]), smooth=False),  # heads
        Sample((sample(1).args[0].view(6, 2), *sample(1).args[1:]), smooth=False),  # one column
    ]
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 5001])
def test_hub(degree: int, end: int) -> None:
    # A target's pieces are folded forward, a source's backward.
    args = sample(17, (6, 5), degree + 30).args
    edges = args[2]
    edges[end] = 3
    edges[end, :: degree // 30][:30] = torch.arange(30) % 3
    assert int((edges[end] == 3).sum()) == degree
    samples = [Sample(args, smooth=False)]
    assert_op(op, oracle, samples, differentiable=BOTH, compile=False, atol=1e-3)


def test_nan_and_infinities() -> None:
    for width in (1, 3, 16, 19):
        for value in (NAN, INF, -INF):
            x, weight, edges, size = sample(width).args
            x[2, 1], weight[:] = value, torch.tensor([2.0, 1.0])
            out = op(x, weight, edges, size)
            heard = torch.zeros(size[1], dtype=torch.bool)
            heard[edges[1, edges[0] == 2]] = True
            assert torch.equal(out.isfinite().all(-1), ~heard.unsqueeze(1).expand(-1, 2))
            if value != value:
                assert out[heard].isnan().all()


def test_half_floats_are_accumulated_in_single_precision() -> None:
    n = 5000
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    for dtype in FLOATS[2:]:
        x, weight = torch.ones(n, 2, 1, dtype=dtype), torch.tensor([[0.5, 0.25]], dtype=dtype)
        out = op(x, weight.expand(n, 2), edges, (n, 1))
        assert out.dtype == dtype
        expected = torch.tensor([[[1250.0], [3750.0]]]).to(dtype)
        assert torch.equal(out, expected)  # in half floats it stalls


def test_weights_come_in_the_dtype_of_the_features() -> None:
    x, weight, edges, size = sample(3).args
    assert torch.equal(op(x, weight.double(), edges, size), op(x, weight, edges, size))


# Derivatives --------------------------------------------------------------------------------------


def test_derivatives() -> None:
    kernels = [torch.ops.gnnlib.gather_complex]
    assert_op(
        op, oracle, [smooth(), smooth(1)], differentiable=BOTH, double_backward=True,
        compile=False, opcheck=kernels,
    )  # fmt: skip
    for name in BOTH:  # each alone
        assert_op(
            op, oracle, [smooth(2)], differentiable=[name], double_backward=True, compile=False
        )


def test_the_product_with_a_hermitian_matrix_is_its_own_adjoint() -> None:
    x, weight, edges, _ = smooth(3).args
    both = torch.cat([edges, edges.flip(0)], 1)
    weight = torch.cat([weight, weight * torch.tensor([1.0, -1.0])])
    x = x.requires_grad_()
    out = op(x, weight, both, (4, 4))
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    (found,) = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(found, op(grad, weight, both, (4, 4)))


# Any call -----------------------------------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    dtype = draw(st.sampled_from(FLOATS))
    return sample(
        draw(st.integers(0, 40)), size, draw(st.integers(0, 60)), dtype, draw(st.integers(0, 99))
    )


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    assert_op(op, oracle, [drawn], differentiable=BOTH, compile=False, rtol=0.02, atol=0.05)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, weight, edges, size = sample(40, (900, 700), 9000).args
    edges[1, : 2 * PIECE + 9] = 4
    edges[0, 5000:] = 5
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            leaves = [(t + 0.1).requires_grad_() for t in (x, weight)]
            out = op(*leaves, edges.clone(), size)
            found.append([out.detach(), *torch.autograd.grad(out.square().sum(), leaves)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_bits_do_not_depend_on_the_batch() -> None:
    for width in (3, 70):
        x, weight, edges, size = sample(width, (20, 30), 3000, seed=1).args
        edges[1, : PIECE + 50] = 6
        x, weight = x + 0.1, weight * 1.1
        alone = op(x, weight, edges, size)
        others = sample(width, (7, 8), 777).args
        batch = torch.cat([others[2], edges + torch.tensor([[7], [8]])], 1)
        found = op(torch.cat([others[0], x]), torch.cat([others[1], weight]), batch, (27, 38))
        assert torch.equal(found[8:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    assert_op(op, oracle, [sample(3), sample(3, (7, 9), 20, seed=1)], differentiable=BOTH)


# Wrong calls --------------------------------------------------------------------------------------

X, WEIGHT, EDGES = torch.ones(3, 2, 4), torch.ones(2, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gather_complex(torch.ones(3, 4), EDGES, WEIGHT),
            ValueError,
            r"\[N_src, 2, \*\], real and imaginary parts, got torch.float32 \[3, 4\] \(use",
        ),
        (lambda: gather_complex(X.int(), EDGES, WEIGHT), ValueError, "got torch.int32"),
        (
            lambda: gather_complex(torch.ones(3, 2, dtype=torch.complex64), EDGES, WEIGHT),
            ValueError,
            r"got torch.complex64 \[3, 2\]",
        ),
        (
            lambda: gather_complex(X, EDGES, WEIGHT[:1]),
            ValueError,
            r"`weight` must be \[2, 2\], .*, got torch.float32 \[1, 2\] \(use torch.view_as_real",
        ),
        (
            lambda: gather_complex(X, EDGES, torch.ones(2, dtype=torch.complex64)),
            ValueError,
            r"got torch.complex64 \[2\]",
        ),
        (lambda: gather_complex(X[:2], EDGES, WEIGHT), IndexError, r"\[0, 2\), got 2"),
        (
            lambda: gather_complex(X, Adjacency.of(EDGES, 4), WEIGHT),
            ValueError,
            "a row per source node, 4, got 3",
        ),
        (
            lambda: gather_complex(X, EDGES, WEIGHT.to("meta")),
            ValueError,
            "`weight` must be where the features are, .*, got meta",
        ),
        (lambda: gather_complex(X, META, WEIGHT), ValueError, "the graph must be where .*meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
