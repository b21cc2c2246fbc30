"""`gather_activate` is its definition: for every activation, dtype, shape and graph."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from activate_cases import ALL, PIECE, TORCH, names, op, oracle, sample, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gnnlib.ops import gather_activate
from gnnlib.ops._gather_activate import ACTIVATIONS
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 3, 4, 8, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
NAN, INF = float("nan"), float("inf")
SHARP = ("identity", "relu", "leaky_relu")  # which are linear on both sides of 0
# Torch's own subtract from 1, in the tails.
SLOPE = (8 / math.pi) ** 0.5
PRECISE = {
    **TORCH,
    "gelu": lambda v: v * torch.erfc(-v * 0.5**0.5) / 2,
    "gelu_tanh": lambda v: v * torch.sigmoid(SLOPE * (v + 0.044715 * v**3)),
}


# Values and gradients against the definition ----------------------------------------------------


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_width_and_float(act: str) -> None:
    for dtypes, tolerance in ((FLOATS[:2], None), (FLOATS[2:], 0.02)):
        samples = [
            sample(width, act=act, dtype=dtype, factors="wg" if k % 2 else "")
            for k, (width, dtype) in enumerate(product(WIDTHS, dtypes))
        ]
        samples += [sample(19, act=act, dtype=dtype, factors=f) for dtype in dtypes for f in "wg"]
        assert_op(
            op, oracle, samples, differentiable=ALL, compile=False, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_activation_is_precise_everywhere(act: str) -> None:
    # One edge a target, whose message is a number of a grid: near zero, in the bends, in the tails.
    grid = torch.cat([torch.linspace(-45, 45, 20001), torch.logspace(-30, 0, 999), torch.zeros(1)])
    grid = torch.cat([grid, -grid])
    edges = torch.zeros(2, 1, dtype=torch.long)
    for dtype in FLOATS[:2]:
        x = grid.to(dtype).unsqueeze(0)
        wide, leaf = x.double().requires_grad_(), x.clone().requires_grad_()
        out, expected = op(leaf, torch.zeros_like(x), edges, act), PRECISE[act](wide)
        slope, true_slope = (
            torch.autograd.grad(value.sum(), of)[0] for value, of in ((out, leaf), (expected, wide))
        )
        # Slopes cross zero, and what they are made of does not; values of the tails are small, and
        # right to the rounding of their exponents.
        unit = torch.finfo(dtype).eps
        assert ((out.double() - expected).abs() <= unit * (8 * expected.abs() + 0.01)).all()
        assert ((slope.double() - true_slope).abs() <= 32 * unit).all()


@pytest.mark.parametrize("factors", ["", "wg"])
def test_edge_cases(factors: str) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample(3, factors=factors).args
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        Sample((torch.ones(n, width), torch.ones(m, width), none, "tanh"), smooth=False)
        for n, m, width in ((0, 0, 3), (4, 4, 3), (0, 4, 3), (4, 0, 3), (0, 2, 0))
    ]
    samples += [
        sample(0, factors=factors),
        sample(3, (4, 9), 9, factors=factors),  # empty groups
        sample(3, (1, 1), 4, factors=factors),  # loops on one node
        sample(3, (2, 9), 30, factors=factors),  # multi-edges
        Sample(ordered, smooth=False),
        Sample((*ordered[:2], ordered[2].int(), *ordered[3:]), smooth=False),
    ]
    assert_op(op, oracle, samples, differentiable=names(factors), compile=False)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 5001])
def test_hub(degree: int, end: int) -> None:
    # A target's pieces are folded forward, a source's backward.
    for act, factors in (("relu", ""), ("elu", "wg")):
        args = sample(17, (6, 5), degree + 30, act, factors=factors).args
        edges = args[2]
        edges[end] = 3
        edges[end, :: degree // 30][:30] = torch.arange(30) % 3
        assert int((edges[end] == 3).sum()) == degree
        samples = [Sample(args, smooth=False)]
        assert_op(
            op, oracle, samples, differentiable=names(factors), compile=False, rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_nan_and_infinities(act: str) -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0])
    draw, samples = torch.Generator().manual_seed(0), []
    for width, dtype in product([1, 3, 16, 19], FLOATS):
        x_src, x_dst, edges, *rest = sample(width, (12, 12), act=act, dtype=dtype).args
        x_src[::2] = special[torch.randint(7, x_src[::2].shape, generator=draw)].to(dtype)
        samples.append(Sample((x_src, x_dst, edges, *rest), smooth=False))
    tolerance = {} if act in SHARP else {"rtol": 0.02, "atol": 0.02}
    # Smooth derivatives at infinity are 0 * inf in torch's formulas, one way or another.
    checked = ["x_src", "x_dst"] if act in SHARP else []
    assert_op(op, oracle, samples, differentiable=checked, compile=False, **tolerance)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_derivative_at_zero_is_that_of_torch(act: str) -> None:
    for width in (1, 16):
        x = torch.ones(1, width, requires_grad=True)
        op(x, -torch.ones(1, width), torch.zeros(2, 1, dtype=torch.long), act).sum().backward()
        zero = torch.zeros(1, width, requires_grad=True)
        TORCH[act](zero).sum().backward()
        torch.testing.assert_close(x.grad, zero.grad)


def test_a_closed_source_is_absent_and_its_gate_learns() -> None:
    edges, gate = torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.tensor([0.5, 0.0, 0.0])
    weight = torch.tensor([1.0, 3.0, 2.0])
    for width in (1, 16, 17):
        x_src = torch.tensor([[1.0], [NAN], [2.0]]).repeat(1, width).requires_grad_()
        x_dst = torch.ones(2, width, requires_grad=True)
        leaf, factor = gate.clone().requires_grad_(), weight.clone().requires_grad_()
        out = op(x_src, x_dst, edges, "relu", factor, leaf)
        assert torch.equal(out, torch.tensor([[1.0], [0.0]]).repeat(1, width))
        leaves = (x_src, x_dst, factor, leaf)
        grads = torch.autograd.grad(out, leaves, torch.full_like(out, 2.0))
        assert torch.equal(grads[0], torch.tensor([[1.0], [0.0], [0.0]]).repeat(1, width))
        assert torch.equal(grads[1], torch.tensor([[1.0], [0.0]]).repeat(1, width))
        assert torch.equal(grads[2], width * torch.tensor([2.0, 0.0, 0.0]))
        # 2 w <1, relu(x + 1)> of each source, closed or not.
        torch.testing.assert_close(grads[3], width * torch.tensor([4.0, NAN, 12.0]), equal_nan=True)


def test_half_floats_are_accumulated_in_single_precision() -> None:
    n = 5000
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    for dtype in FLOATS[2:]:
        x_src, x_dst = torch.full((n, 1), 1.0, dtype=dtype), torch.full((1, 1), -0.5, dtype=dtype)
        out = op(x_src, x_dst, edges)
        assert out.dtype == dtype
        assert out.item() == torch.tensor(2500.0).to(dtype).item()  # in half floats it stalls


def test_alpha() -> None:
    x_src, x_dst, edges, *_ = sample(5).args
    adj = Adjacency.of(edges, (6, 5))
    for act, function in (("leaky_relu", functional.leaky_relu), ("elu", functional.elu)):
        found = gather_activate(x_src, x_dst, adj, act, alpha=0.3)
        message = function(x_src[edges[0]] + x_dst[edges[1]], 0.3)
        torch.testing.assert_close(found, torch.zeros(5, 5).index_add(0, edges[1], message))


def test_memory_is_for_nodes_only() -> None:
    # What autograd keeps is no larger than what went in.
    x_src, x_dst, edges, *_ = sample(64, (50, 50), 5000).args
    kept: list[int] = []

    def pack(t: Tensor) -> Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        op(x_src.requires_grad_(), x_dst.requires_grad_(), edges)
    assert max(kept) <= 5000


# Derivatives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_derivatives(act: str) -> None:
    ops = torch.ops.gnnlib
    kernels = [ops.gather_activate, ops.activate_grad, ops.activate_dot]
    assert_op(
        op, oracle, [smooth(act), smooth(act, "wg", 1)], differentiable=ALL, double_backward=True,
        compile=False, opcheck=kernels,
    )  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_each_derivative_alone(name: str) -> None:
    assert_op(
        op, oracle, [smooth("silu", "wg", 2)], differentiable=[name], double_backward=True,
        compile=False,
    )  # fmt: skip


def test_penalty_on_a_gradient() -> None:
    # The usual reason for a second derivative: the first is part of the loss.
    x_src, x_dst, edges, act, *_ = smooth("elu", seed=4).args
    found = []
    for function in (op, oracle):
        leaves = [t.clone().requires_grad_() for t in (x_src, x_dst)]
        out = function(*leaves, edges, act)
        first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    torch.testing.assert_close(*found)


# Any shape, any stride, any index ---------------------------------------------------------------


@st.composite
def calls(draw: Any) -> tuple[Sample, str]:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    width = draw(st.sampled_from([0, 1, 2, 9, 17, 65]))
    dtype, seed = draw(st.sampled_from(FLOATS)), draw(st.integers(0, 1000))
    act, factors = draw(st.sampled_from(ACTIVATIONS)), draw(st.sampled_from(["", "w", "g", "wg"]))
    return sample(width, size, draw(st.integers(0, 12)), act, dtype, factors, seed), factors


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: tuple[Sample, str]) -> None:
    call, factors = drawn
    assert_op(
        op, oracle, [call], differentiable=names(factors), compile=False, rtol=0.02, atol=0.02
    )


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_bad_index_is_named(data: Any) -> None:
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    args = sample(2, size, data.draw(st.integers(1, 40))).args
    end = data.draw(st.integers(0, 1))
    value = data.draw(st.sampled_from([-1, -size[end], size[end], 2**31, 2**63 - 1, -(2**63)]))
    args[2][end, data.draw(st.integers(0, args[2].size(1) - 1))] = value
    with pytest.raises(IndexError, match=rf"in \[0, {size[end]}\), got {value} \("):
        op(*args)
