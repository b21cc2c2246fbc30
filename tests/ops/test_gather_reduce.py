"""`gather_reduce` is its definition: for every dtype, shape, graph, processor and compiler."""

import ctypes
import gc
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric import EdgeIndex

import gnnlib
from gnnlib.ops import gather_reduce
from gnnlib.testing import Sample, assert_op

REDUCES = ["sum", "mean", "min", "max", "mul"]
WHOLE = ["sum", "min", "max", "mul"]  # of integers
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
WIDTHS = [1, 3, 4, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
PIECE = 2048  # edges of a row that a kernel folds at a time
NAN, INF = float("nan"), float("inf")
QUICK = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def op(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    weight: Tensor | None = None,
    reduce: str = "sum",
    gate: Tensor | None = None,
) -> Tensor:
    return gather_reduce(x, Adjacency.of(edge_index, size), weight, reduce, gate)


def oracle(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    weight: Tensor | None = None,
    reduce: str = "sum",
    gate: Tensor | None = None,
) -> Tensor:
    """The definition, target by target, with every message written down."""
    src, dst = edge_index.long()
    rows = []
    for i in range(size[1]):
        edges = (dst == i).nonzero().flatten()
        present = edges if gate is None else edges[gate[src[edges]] != 0]
        message = _message(x, src, present, weight, gate)
        if reduce in ("sum", "mean"):
            row = message.sum(0)
            count = torch.tensor(float(present.numel()), dtype=torch.float64)
            if gate is not None:
                count = gate[src[present]].sum()
                if gate.requires_grad:  # straight-through: worth zero, but with a derivative
                    absent = edges[gate[src[edges]] == 0]
                    through = gate[src[absent]] - gate[src[absent]].detach()
                    unseen = _message(x, src, absent, weight, None).detach()
                    row = row + (_as_column(through, unseen) * unseen).sum(0)
                    count = count + through.sum()
            if reduce == "mean" and present.numel():
                row = row / count
        elif reduce == "mul":
            row = message.prod(0)
        elif present.numel() == 0:
            row = message.sum(0)
        else:  # those that tie share the gradient evenly
            best = message.detach().amin(0) if reduce == "min" else message.detach().amax(0)
            won = (message == best) | (message.isnan() & best.isnan())
            row = torch.where(won, message, 0).sum(0)
            row = row / won.sum(0) if row.is_floating_point() else best
        rows.append(row.to(x.dtype))
    return torch.stack(rows) if rows else x.new_zeros(0, *x.shape[1:])


def _as_column(factor: Tensor, like: Tensor) -> Tensor:
    return factor.reshape(-1, *[1] * (like.dim() - 1))


def _message(
    x: Tensor, src: Tensor, edges: Tensor, weight: Tensor | None, gate: Tensor | None
) -> Tensor:
    message = x[src[edges]]
    if weight is not None:
        message = message * _as_column(weight[edges], x)
    if gate is not None:
        message = message * _as_column(gate[src[edges]], x)
    return message


class Draw:
    """Numbers of few bits: sums of them are exact in float32, and there are many ties."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def ids(self, high: int, *shape: int) -> Tensor:
        return torch.randint(max(high, 1), shape, generator=self.generator)

    def values(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        whole = torch.randint(-8, 9, shape, generator=self.generator)
        return (whole / 4).to(dtype) if dtype.is_floating_point else whole.to(dtype)

    def gate(self, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        gate = torch.randint(0, 3, (size,), generator=self.generator)
        return (gate / 2).to(dtype) if dtype.is_floating_point else gate.to(dtype)

    def smooth(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def edges(self, num_src: int, num_dst: int, num_edges: int) -> Tensor:
        return torch.stack([self.ids(num_src, num_edges), self.ids(num_dst, num_edges)])


def options(draw: Draw, num_src: int, num_edges: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """No factor, each factor, both."""
    weight, gate = draw.values(num_edges, dtype=dtype), draw.gate(num_src, dtype)
    return [{}, {"weight": weight}, {"gate": gate}, {"weight": weight, "gate": gate}]


# Values and gradients against the definition ----------------------------------------------------


@pytest.mark.parametrize("reduce", REDUCES)
def test_every_width_and_float(reduce: str) -> None:
    draw, samples = Draw(), []
    # Each width crosses other whole vectors, rests and tiles; the factors take turns.
    for k, (width, dtype) in enumerate(product(WIDTHS, FLOATS)):
        x, edges = draw.values(7, width, dtype=dtype), draw.edges(7, 9, 20)
        factors = options(draw, 7, 20, dtype)[(k + k // 4) % 4]
        samples.append(Sample((x, edges, (7, 9)), {"reduce": reduce, **factors}, smooth=False))
    assert_op(op, oracle, samples, differentiable=["x"], compile=False)


@pytest.mark.parametrize("reduce", REDUCES)
def test_gradients_of_every_argument(reduce: str) -> None:
    draw, samples = Draw(1), []
    for width, dtype in product([1, 5, 16, 37], FLOATS[:2]):
        x, edges = draw.values(6, width, dtype=dtype), draw.edges(6, 5, 18)
        samples += [
            Sample((x, edges, (6, 5)), {"reduce": reduce, **factors}, smooth=False)
            for factors in options(draw, 6, 18, dtype)
        ]
    assert_op(op, oracle, samples, differentiable=["x", "weight", "gate"], compile=False)


@pytest.mark.parametrize("reduce", REDUCES)
def test_gradients_of_half_floats(reduce: str) -> None:
    draw, samples = Draw(2), []
    for dtype in FLOATS[2:]:
        x, edges = draw.values(5, 4, dtype=dtype), draw.edges(5, 5, 8)
        samples += [
            Sample((x, edges, (5, 5)), {"reduce": reduce, **factors}, smooth=False)
            for factors in options(draw, 5, 8, dtype)
        ]
    differentiable = ["x", "weight", "gate"]
    assert_op(
        op, oracle, samples, differentiable=differentiable, compile=False, rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("reduce", REDUCES)
def test_edge_cases(reduce: str) -> None:
    draw = Draw(3)
    none = torch.empty(2, 0, dtype=torch.long)
    edges = draw.edges(4, 4, 9)
    ordered = edges[:, edges[1].sort(stable=True).indices]
    cases = [
        (draw.values(0, 3), none, (0, 0)),
        (draw.values(4, 3), none, (4, 4)),
        (draw.values(0, 3), none, (0, 4)),  # targets without any source
        (draw.values(4, 3), none, (4, 0)),
        (draw.values(4, 0), edges, (4, 4)),  # no columns
        (draw.values(0, 0), none, (0, 2)),
        (draw.values(0), none, (0, 3)),
        (draw.values(4), edges, (4, 4)),
        (draw.values(4, 1), edges, (4, 4)),
        (draw.values(4, 2, 3), edges, (4, 4)),
        (draw.values(4, 2, 0, 3), edges, (4, 4)),
        (draw.values(4, 3), edges, (4, 9)),  # empty groups
        (draw.values(4, 3), ordered, (4, 4)),
        (draw.values(4, 3), edges.int(), (4, 4)),
        (draw.values(1, 3), torch.zeros(2, 3, dtype=torch.long), (1, 1)),  # loops on one node
        (draw.values(4, 3), torch.tensor([[1, 1, 1, 2], [3, 3, 3, 3]]), (4, 4)),  # multi-edges
    ]
    samples = [
        Sample(case, {"reduce": reduce, **factors}, smooth=False)
        for case in cases
        for factors in options(draw, case[2][0], case[1].size(1), torch.float32)
    ]
    assert_op(op, oracle, samples, differentiable=["x", "weight", "gate"], compile=False)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1])
def test_hub(reduce: str, degree: int) -> None:
    draw = Draw(degree)
    edges = draw.edges(30, 4, degree + 40)
    edges[1, 20:-20] = 4
    edges = edges[:, torch.randperm(edges.size(1), generator=draw.generator)]
    factors = {"weight": draw.values(edges.size(1)), "gate": draw.gate(30)}
    samples = [
        Sample((draw.values(30, width), edges, (30, 6)), {"reduce": reduce, **given}, smooth=False)
        for width, given in ((5, {}), (33, factors))
    ]
    # Summed in another order than in the oracle, and divided.
    assert_op(op, oracle, samples, differentiable=["x", "weight", "gate"], compile=False, atol=1e-4)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("closed", [[0], [1], [0, 1]])
def test_hub_of_which_whole_pieces_are_absent(reduce: str, closed: list[int]) -> None:
    src = torch.tensor([0]).repeat(PIECE).tolist() + [1] * 9
    edges = torch.stack([torch.tensor(src), torch.zeros(PIECE + 9, dtype=torch.long)])
    x, gate = torch.tensor([[-1.0, 2.0], [-3.0, 1.0]]), torch.ones(2)
    gate[closed] = 0
    samples = [Sample((x, edges, (2, 1)), {"reduce": reduce, "gate": gate}, smooth=False)]
    # The gradient of a closed gate is a sum of thousands of ninths.
    assert_op(op, oracle, samples, differentiable=["x", "gate"], compile=False, rtol=1e-4)


@pytest.mark.parametrize("reduce", REDUCES)
def test_nan_infinities_and_ties(reduce: str) -> None:
    draw, samples = Draw(4), []
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 0, 2, 2], [0, 0, 1, 1, 2, 2, 3, 3, 4, 5]])
    for width, dtype in product([1, 3, 16, 19], FLOATS):
        special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, 1.0], dtype=dtype)
        x = special[draw.ids(7, 6, width)]
        x[2] = -INF  # a maximum of -inf alone is -inf
        samples += [
            Sample((x, edges, (6, 7)), {"reduce": reduce, "weight": weight}, smooth=False)
            for weight in (None, draw.values(10, dtype=dtype))
        ]
    # The gradient of a product is defined where the others of each message have a finite one.
    wanted = [] if reduce == "mul" else ["x"]
    assert_op(op, oracle, samples, differentiable=wanted, compile=False)
    x = torch.full((2, 1), -INF if reduce == "max" else INF)
    assert torch.equal(op(x, torch.tensor([[0, 1], [0, 0]]), (2, 1), reduce=reduce), x[:1])


@pytest.mark.parametrize("reduce", REDUCES)
def test_a_closed_source_is_absent(reduce: str) -> None:
    edges = torch.tensor([[0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])
    for dtype, width in product(FLOATS, [1, 16, 17]):
        x = Draw(5).values(4, width, dtype=dtype)
        x[2] = NAN
        gate = torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=dtype)
        out = op(x, edges, (4, 2), reduce=reduce, gate=gate)
        first, second = x[0].double(), x[1].double() / 2
        expected = {
            "sum": first + second,
            "mean": (first + second) / 1.5,
            "min": torch.minimum(first, second),
            "max": torch.maximum(first, second),
            "mul": first * second,
        }[reduce]
        torch.testing.assert_close(out[0], expected.to(dtype))
        empty = torch.ones_like if reduce == "mul" else torch.zeros_like
        assert torch.equal(out[1], empty(out[1]))
        if dtype is torch.float32:
            sample = Sample((x, edges, (4, 2)), {"reduce": reduce, "gate": gate}, smooth=False)
            assert_op(op, oracle, [sample], differentiable=["x"], compile=False)


@pytest.mark.parametrize("reduce", ["sum", "min", "max"])
def test_integers(reduce: str) -> None:
    draw, samples = Draw(6), []
    for dtype, width in product(INTEGERS, [1, 5, 70]):
        x, edges = draw.values(6, width, dtype=dtype), draw.edges(6, 7, 19)
        x[0] = torch.iinfo(dtype).min
        factors = options(draw, 6, 19, dtype)[width % 4]
        samples.append(Sample((x, edges, (6, 7)), {"reduce": reduce, **factors}))
    assert_op(op, oracle, samples, compile=False)


def test_views_with_a_lazy_sign() -> None:
    x = torch.complex(Draw().values(4, 3), Draw(1).values(4, 3)).conj().imag
    assert x.is_neg()
    edges = Draw(7).edges(4, 4, 9)
    torch.testing.assert_close(op(x, edges, (4, 4)), oracle(x.resolve_neg(), edges, (4, 4)))


def test_half_floats_are_accumulated_in_single_precision() -> None:
    n = 5000
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    for dtype, gate in product([torch.float16, torch.bfloat16], [None, torch.ones(n)]):
        x = torch.full((n, 1), 50.0, dtype=dtype)
        out = gather_reduce(x, Adjacency.of(edges, (n, 1)), reduce="mean", gate=gate)
        assert out.dtype == dtype
        assert out.item() == 50.0  # where the sum, 250000, is no float16


def test_mean_of_half_floats_has_a_gradient_at_a_great_hub() -> None:
    n = 70_000  # no float16
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    x = torch.zeros(n, 1, dtype=torch.float16, requires_grad=True)
    op(x, edges, (n, 1), reduce="mean").backward(torch.full((1, 1), 1000.0, dtype=torch.float16))
    torch.testing.assert_close(x.grad, torch.full_like(x, 1000 / n))


# Derivatives ----------------------------------------------------------------------------------


def test_gradcheck() -> None:
    draw = Draw(8)
    edges = draw.edges(4, 3, 7)
    weight, gate = draw.smooth(7), torch.tensor([0.5, 1.0, 0.25, 0.75], dtype=torch.float64)

    def samples(reduces: list[str], gates: list[Tensor | None]) -> list[Sample]:
        x = draw.smooth(4, 2)
        return [
            Sample((x, edges, (4, 3)), {"reduce": reduce, "weight": w, "gate": g})
            for reduce, w, g in product(reduces, [None, weight], gates)
        ]

    names = ["x", "weight", "gate"]
    smooth = samples(["sum", "mean"], [None, gate])
    assert_op(op, oracle, smooth, differentiable=names, double_backward=True, compile=False)
    smooth = samples(["min", "max"], [None, gate])
    assert_op(op, oracle, smooth, differentiable=names, compile=False)
    # Finite differences open a closed gate a little: just what straight-through pretends.
    closed = torch.tensor([0.5, 0.0, 0.25, 1.0], dtype=torch.float64)
    assert_op(op, oracle, samples(["sum"], [closed]), differentiable=names, compile=False)


def test_opcheck() -> None:
    draw, kernels = Draw(22), torch.ops.gnnlib
    args, weight, gate = (
        (draw.smooth(4, 2), draw.edges(4, 3, 7), (4, 3)),
        draw.smooth(7),
        torch.ones(4),
    )
    both = {"weight": weight, "gate": gate.double()}
    names = ["x", "weight", "gate"]
    for reduce, smooth, ops in (
        ("sum", True, [kernels.gather_reduce, kernels.edge_dot]),
        # Not smooth: their derivative, which they do not have, is not asked for.
        ("max", False, [kernels.message_share, kernels.message_grad, kernels.message_dot]),
    ):
        samples = [Sample(args, {"reduce": reduce, **both}, smooth=smooth)]
        assert_op(op, oracle, samples, differentiable=names, compile=False, opcheck=ops)


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_ties_share_as_amax_does(reduce: str) -> None:
    num_src, num_dst = 9, 3
    edges = torch.cartesian_prod(torch.arange(num_src), torch.arange(num_dst)).t()
    x = Draw(9).ids(3, num_src, 21).double().requires_grad_()
    grad = Draw(10).smooth(num_dst, 21)
    extremum = torch.amax if reduce == "max" else torch.amin
    (expected,) = torch.autograd.grad(extremum(x, 0).expand(num_dst, -1), x, grad)
    (actual,) = torch.autograd.grad(op(x, edges, (num_src, num_dst), reduce=reduce), x, grad)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_tied_products_are_found_again(reduce: str) -> None:
    # (x * w) * g and x * (w * g) round apart; the backward pass must meet the forward's bits.
    draw = Draw(11)
    edges = draw.edges(40, 10, 200)
    for dtype in FLOATS:
        x, weight = draw.smooth(40, 19).to(dtype), draw.smooth(200).to(dtype)
        gate = draw.smooth(40).abs().to(dtype)
        x.requires_grad_()
        out = op(x, edges, (40, 10), weight, reduce, gate)
        out.sum().backward()
        exact = oracle(x.double(), edges, (40, 10), weight.double(), reduce, gate.double())
        (expected,) = torch.autograd.grad(exact.sum(), x)
        torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_gradient_of_a_closed_gate_is_that_of_an_open_one(reduce: str, weighted: bool) -> None:
    draw = Draw(12)
    x, edges, grad = draw.smooth(5, 3), draw.edges(5, 4, 12), draw.smooth(4, 3)
    weight = draw.smooth(12) if weighted else torch.ones(12, dtype=torch.float64)
    for closed in ([1], [1, 3], [0, 1, 2, 3, 4]):
        gate = torch.full((5,), 0.5, dtype=torch.float64)
        gate[closed] = 0
        gate.requires_grad_()
        args = (x, edges, (5, 4), weight if weighted else None, reduce, gate)
        (actual,) = torch.autograd.grad(op(*args), gate, grad)
        expected = torch.zeros(5, dtype=torch.float64)
        mean = op(*args).detach()
        for e, (j, i) in enumerate(edges.t().tolist()):
            change = weight[e] * x[j]
            if reduce == "mean":
                count = sum(gate[k].item() for k in edges[0, edges[1] == i])
                change = (change - mean[i]) / count if count else change
            expected[j] += change @ grad[i]
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_extrema_have_no_second_derivative(reduce: str) -> None:
    edges, weight = torch.tensor([[0, 1], [1, 0]]), torch.ones(2, requires_grad=True)
    for wanted in ("x", "weight"):
        x = torch.ones(2, 2, requires_grad=wanted == "x")
        leaf = {"x": x, "weight": weight}[wanted]
        out = op(x, edges, (2, 2), weight if wanted == "weight" else None, reduce)
        (grad,) = torch.autograd.grad((out * out).sum(), leaf, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            torch.autograd.grad(grad.sum(), leaf)


def test_infinite_losers_do_not_spoil_the_gradient_of_a_gate() -> None:
    x, gate = torch.tensor([[-INF], [2.0]]), torch.tensor([0.5, 0.5], requires_grad=True)
    op(x, torch.tensor([[0, 1], [0, 0]]), (2, 1), reduce="max", gate=gate).sum().backward()
    assert gate.grad is not None
    assert gate.grad.tolist() == [0.0, 2.0]


# Any shape, any stride, any index ---------------------------------------------------------------


def strided(x: Tensor, how: str) -> Tensor:
    if x.numel() < 2:
        return x
    if how == "transposed":
        return x.mT.contiguous().mT if x.dim() > 1 else x
    if how == "sliced":
        wide = x.new_full((*x.shape, 3), 7)
        wide[..., 1] = x
        return wide[..., 1]
    return x


@st.composite
def calls(draw: Any) -> Sample:
    source = Draw(draw(st.integers(0, 1000)))
    num_src, num_dst = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    num_edges = draw(st.integers(0, 12)) if num_src and num_dst else 0
    shape = (num_src, *draw(st.lists(st.sampled_from([0, 1, 2, 9, 17]), max_size=2)))
    dtype = draw(st.sampled_from(FLOATS + INTEGERS))
    reduce = draw(
        st.sampled_from(REDUCES if dtype.is_floating_point else ["sum", "min", "max", "mul"])
    )
    how = st.sampled_from(["plain", "transposed", "sliced"])
    factors = draw(st.sampled_from(options(source, num_src, num_edges, dtype)))
    return Sample(
        (
            strided(source.values(*shape, dtype=dtype), draw(how)),
            strided(source.edges(num_src, num_dst, num_edges), draw(how)),
            (num_src, num_dst),
        ),
        {"reduce": reduce} | {name: strided(t, draw(how)) for name, t in factors.items()},
        smooth=False,
    )


@QUICK
@given(calls())
def test_any_call(sample: Sample) -> None:
    x = sample.args[0]
    differentiable = ["x"] if x.is_floating_point() else []
    assert_op(op, oracle, [sample], differentiable=differentiable, compile=False)


@QUICK
@given(st.data())
def test_any_bad_index_is_named(data: Any) -> None:
    num_src, num_dst = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    num_edges = data.draw(st.integers(1, 40))
    edges = Draw(data.draw(st.integers(0, 99))).edges(num_src, num_dst, num_edges)
    end = data.draw(st.integers(0, 1))
    size = (num_src, num_dst)[end]
    big = st.sampled_from([size, size + 1, 2**31, 2**40, 2**63 - 1])
    value = data.draw(st.sampled_from([-1, -2, -size, -(2**31), -(2**63)]) | big)
    edges[end, data.draw(st.integers(0, num_edges - 1))] = value
    rule = rf"must hold {('source', 'target')[end]} nodes in \[0, {size}\), got {value} \("
    with pytest.raises(IndexError, match=rule):
        op(torch.ones(num_src, 2), edges, (num_src, num_dst))


@pytest.mark.cpu_only("threads")
def test_the_first_bad_index_is_named_on_any_number_of_threads() -> None:
    edges = torch.zeros(2, 200_000, dtype=torch.long)
    edges[0, 60_000], edges[1, 50_000], edges[0, 150_000] = 77, 66, 55
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            with pytest.raises(IndexError, match=r"target nodes .* got 66"):
                op(torch.ones(5, 1), edges, (5, 5))
    finally:
        torch.set_num_threads(before)


# The same bits, whatever else happens ---------------------------------------------------------


def results(x: Tensor, adj: Adjacency, weight: Tensor, gate: Tensor, reduce: str) -> list[Tensor]:
    x, weight, gate = (t.detach().clone().requires_grad_() for t in (x, weight, gate))
    out = gather_reduce(x, adj, weight, reduce, gate)
    incoming = torch.linspace(-1, 1, out.size(1)).expand_as(out)
    return [out.detach(), *torch.autograd.grad(out, (x, weight, gate), incoming)]


@pytest.mark.cpu_only("threads")
@pytest.mark.parametrize("reduce", REDUCES)
def test_bits_do_not_depend_on_the_number_of_threads(reduce: str) -> None:
    draw, num_nodes, num_edges = Draw(13), 3000, 30_000
    edges = draw.edges(num_nodes, num_nodes, num_edges)
    edges[:, : 3 * PIECE] = torch.stack([edges[0, : 3 * PIECE], torch.full((3 * PIECE,), 7)])
    edges[0, -2 * PIECE :] = 5
    x, weight, gate = torch.randn(num_nodes, 20), torch.randn(num_edges), torch.rand(num_nodes)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(results(x, Adjacency.of(edges.clone(), num_nodes), weight, gate, reduce))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.cpu_only("on a GPU the bits are the same from run to run, not in any batch")
@pytest.mark.parametrize("width", [3, 40])
@pytest.mark.parametrize("reduce", REDUCES)
def test_bits_do_not_depend_on_the_batch(reduce: str, width: int) -> None:
    draw, num_nodes, num_edges = Draw(14), 50, 2 * PIECE + 300
    edges = draw.edges(num_nodes, num_nodes, num_edges)
    edges[1, : PIECE + 77] = 3
    x, weight, gate = torch.randn(num_nodes, width), torch.randn(num_edges), torch.rand(num_nodes)
    alone = results(x, Adjacency.of(edges, num_nodes), weight, gate, reduce)
    for before, after in ((0, 9), (1, 0), (1234, 77)):
        # Other graphs before and after, with edges of theirs before, between and after these.
        total = before + num_nodes + after
        others = torch.cat([draw.ids(before, 600), before + num_nodes + draw.ids(after, 50)])
        others = others[: 600 * bool(before)] if not after else others[600 * (not before) :]
        place = torch.randperm(num_edges + others.numel())
        ours = place[:num_edges].sort().values
        batch = torch.empty(2, place.numel(), dtype=torch.long)
        batch[:, place[num_edges:]] = others
        batch[:, ours] = edges + before
        wide_x, wide_gate = torch.randn(total, width), torch.rand(total)
        wide_weight = torch.randn(place.numel())
        wide_x[before : before + num_nodes] = x
        wide_gate[before : before + num_nodes] = gate
        wide_weight[ours] = weight
        found = results(wide_x, Adjacency.of(batch, total), wide_weight, wide_gate, reduce)
        nodes = slice(before, before + num_nodes)
        within = [found[0][nodes], found[1][nodes], found[2][ours], found[3][nodes]]
        assert all(map(torch.equal, alone, within))


# Every processor --------------------------------------------------------------------------------

SCRIPT = """
import sys, torch
torch.ops.load_library(sys.argv[1])
found = {}
for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    for width in (1, 16, 17, 70):
        g = torch.Generator().manual_seed(width)
        edges = torch.randint(9, (2, 3000), generator=g)
        edges[1, :2500] = 4
        x = torch.randn(9, width, generator=g).to(dtype)
        weight = torch.randn(3000, generator=g).to(dtype)
        gate = torch.rand(9, generator=g).to(dtype)
        op = torch.ops.gnnlib
        graph = op.coo_to_csr(edges, 9, 9)
        other = op.csr_transpose(*graph, 9)
        for code, reduce in enumerate(("sum", "mean", "min", "max", "mul")):
            factors = (weight, None if reduce == "mean" else gate)
            out = op.gather_reduce(x, *graph, *other, *factors, code)
            new = [out]
            if reduce in ("min", "max", "mul") and dtype.itemsize > 2:
                share = op.message_share(x, out, x, *graph, *factors, code)
                new += [share, op.message_grad(share, out, x, *other, *factors, code)]
                new += [op.message_dot(share, out, x, *graph, *factors, code)]
            found[f"{reduce} {width} {dtype}"] = new
        found[f"dot {width} {dtype}"] = [op.edge_dot(x, x, *graph, *other, 1)]
    for heads, features in ((1, 16), (3, 1), (2, 8), (3, 5), (5, 7), (8, 4), (16, 2), (2, 40)):
        value = torch.randn(9, heads * features, generator=g).to(dtype)
        scores = torch.randn(3000, heads, generator=g).to(dtype)
        segments = (graph[0], graph[2])
        alpha = op.segment_softmax(scores, *segments)
        total = op.segment_logsumexp(scores, *segments)
        found[f"heads {heads} {features} {dtype}"] = [
            op.gather_reduce(value, *graph, *other, scores, gate, 0),
            op.edge_dot(value, value, *graph, *other, heads),
            op.gather_attend(value, scores, *graph, *other, gate),
            alpha, op.segment_softmax_grad(alpha, scores, *segments),
            total, op.segment_logsumexp_grad(total, scores, total, *segments),
        ]
torch.save(found, sys.argv[2])
"""


def run_variant(isa: str, path: Path) -> subprocess.CompletedProcess[str]:
    library = Path(gnnlib.__file__).with_name("_C.abi3.so")
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(library), str(path)],
        env=os.environ | {"GNNLIB_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.cpu_only("instruction sets")
@pytest.mark.skipif("GNNLIB_SANITIZE" in os.environ, reason="built for one instruction set")
@pytest.mark.skipif(not gnnlib._library.AVAILABLE, reason="the extension is not built")
def test_all_instruction_sets_agree(tmp_path: Path) -> None:
    found = {}
    for isa in ("baseline", "avx2", "avx512"):
        done = run_variant(isa, tmp_path / isa)
        assert done.returncode == 0, done.stderr
        found[isa] = torch.load(tmp_path / isa)
    for isa, name in product(("avx2", "avx512"), found["baseline"]):
        for a, b in zip(found[isa][name], found["baseline"][name], strict=True):
            rounding = {torch.float64: 1e-12, torch.float32: 1e-5}.get(a.dtype, 0.02)
            scale = max(1.0, b.double().abs().max().item())
            torch.testing.assert_close(a, b, rtol=rounding, atol=rounding * scale, msg=name)
    if sys.platform == "linux" and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        # Fused multiplications round once: had the variable no effect, all bits were the same.
        name = "sum 70 torch.float32"
        assert not torch.equal(found["avx2"][name][0], found["baseline"][name][0])


@pytest.mark.cpu_only("instruction sets")
@pytest.mark.skipif("GNNLIB_SANITIZE" in os.environ, reason="built for one instruction set")
@pytest.mark.skipif(not gnnlib._library.AVAILABLE, reason="the extension is not built")
def test_an_unknown_instruction_set_is_refused(tmp_path: Path) -> None:
    done = run_variant("sse9", tmp_path / "x")
    assert "GNNLIB_ISA must be baseline, avx2 or avx512, got sse9" in done.stderr


# Compilers --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("reduce", REDUCES)
def test_compiles(reduce: str) -> None:
    draw = Draw(15)
    samples = []
    for num_nodes, num_edges in ((5, 12), (8, 3)):
        for factors in options(draw, num_nodes, num_edges, torch.float32)[::3]:
            edges = draw.edges(num_nodes, num_nodes, num_edges)
            sample = (draw.values(num_nodes, 3), edges, (num_nodes, num_nodes))
            samples.append(Sample(sample, {"reduce": reduce, **factors}, smooth=False))
    assert_op(op, oracle, samples, differentiable=["x", "weight", "gate"])


def with_adjacency(x: Tensor, adj: Adjacency) -> Tensor:
    return gather_reduce(x, adj, reduce="mean")


def with_edge_index(x: Tensor, edge_index: Tensor) -> Tensor:
    return gather_reduce(x, Adjacency.of(edge_index, x.size(0)), reduce="mean")


@pytest.mark.parametrize("kind", ["edge_index", "adjacency", "adjacency_and_T", "adjacency.T"])
def test_one_compilation_serves_all_sizes(kind: str) -> None:
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    function = with_edge_index if kind == "edge_index" else with_adjacency
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    draw = Draw(16)
    kept = []
    for num_nodes in range(4, 14):
        edges = draw.edges(num_nodes, num_nodes, 3 * num_nodes - 5)
        graph: Any = edges if kind == "edge_index" else Adjacency.of(edges, num_nodes)
        if kind != "edge_index":
            kept.append((graph, edges))
        if kind == "adjacency_and_T":
            graph.T  # noqa: B018 (built here, once, and not in the compiled graph)
        if kind == "adjacency.T":
            graph, edges = graph.T, edges.flip(0)
        x = draw.values(num_nodes, 3).requires_grad_()
        out = compiled(x, graph)
        expected = oracle(x, edges, (num_nodes, num_nodes), reduce="mean")
        torch.testing.assert_close(out, expected)
        grad = draw.values(num_nodes, 3)
        actual = torch.autograd.grad(out, x, grad)
        torch.testing.assert_close(actual, torch.autograd.grad(expected, x, grad))
    assert counter.frame_count <= 2


def test_the_transpose_of_an_argument_is_not_built_again() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph

    adj = Adjacency.of(Draw(17).edges(5, 5, 9), 5)
    x = torch.ones(5, 2, requires_grad=True)
    for graph in (adj, adj.T):
        torch._dynamo.reset()
        torch.compile(with_adjacency, fullgraph=True, backend=backend)(x, graph)
    assert not any("csr_transpose" in graph.code for graph in graphs)
    torch._dynamo.reset()
    fresh = Adjacency.of(Draw(17).edges(5, 5, 9), 5)
    torch.compile(with_adjacency, fullgraph=True, backend=backend)(x, fresh)
    assert graphs[-1].code.count("torch.ops.gnnlib.csr_transpose") == 1


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_inductor() -> None:
    # No pointwise work around the operators, as compiling that takes half a minute.
    compiled = torch.compile(gather_reduce, fullgraph=True, dynamic=True)
    x, edges, grad = Draw(18).values(6, 4), Draw(19).edges(6, 6, 14), Draw(20).values(6, 4)
    x.requires_grad_()
    out, expected = compiled(x, edges), oracle(x, edges, (6, 6))
    torch.testing.assert_close(out, expected)
    actual = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(actual, torch.autograd.grad(expected, x, grad))


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = torch.nn.Linear(3, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return gather_reduce(self.lin(x), edge_index, reduce="max")


def test_exports() -> None:
    draw, layer = Draw(20), Layer()
    sizes = ({0: torch.export.Dim.AUTO}, {1: torch.export.Dim.AUTO})
    for dynamic in (None, sizes):
        x, edges = draw.values(5, 3), draw.edges(5, 5, 9)
        program = torch.export.export(layer, (x, edges), dynamic_shapes=dynamic)
        if dynamic:
            x, edges = draw.values(8, 3), draw.edges(8, 8, 4)
        torch.testing.assert_close(program.module()(x, edges), layer(x, edges))


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gather_reduce(X, EDGES, reduce="add"),
            ValueError,
            r"sum, mean, min, max, mul, got 'add'",
        ),
        (lambda: gather_reduce(torch.tensor(1.0), EDGES), ValueError, "a row per .*got a scalar"),
        (lambda: gather_reduce(X[:2], EDGES), IndexError, r"\[0, 2\), got 2 \(does `x` have a row"),
        (
            lambda: gather_reduce(X, Adjacency.of(EDGES, 4)),
            ValueError,
            r"`x` must have a row per source node, 4, got 3 \(is the graph transposed",
        ),
        (
            lambda: gather_reduce(X, Adjacency.of(EDGES, (3, 4)).T),
            ValueError,
            r"`x` must have a row per source node, 4, got 3",
        ),
        (
            lambda: gather_reduce(X, EDGES, weight=torch.ones(3)),
            ValueError,
            r"`weight` must have one value per edge, 2, got \[3\]",
        ),
        (
            lambda: gather_reduce(X, EDGES, weight=torch.ones(2, 4)),
            ValueError,
            r"one value per edge, 2, got \[2, 4\]",
        ),
        (
            lambda: gather_reduce(X, EDGES, gate=torch.ones(2)),
            ValueError,
            r"`gate` must have one value per source node, 3, got \[2\]",
        ),
        (
            lambda: gather_reduce(X.long(), EDGES, reduce="mean"),
            ValueError,
            r"`reduce`=mean needs floating point features, got torch.int64 \(use x.float\(\)\)",
        ),
        (
            lambda: gather_reduce(X.long(), EDGES, reduce="mean", gate=torch.ones(3).long()),
            ValueError,
            r"`reduce`=mean needs floating point",
        ),
        (
            lambda: gather_reduce(X.long(), EDGES, torch.full((2,), 0.5)),
            ValueError,
            r"`weight` must be whole numbers for torch.int64 features, got torch.float32 \(use",
        ),
        (
            lambda: gather_reduce(X.int(), EDGES, gate=torch.full((3,), 0.5)),
            ValueError,
            r"`gate` must be whole numbers for torch.int32",
        ),
        (lambda: gather_reduce(X.bool(), EDGES), ValueError, r"real numbers, got torch.bool \(use"),
        (lambda: gather_reduce(X + 1j, EDGES), ValueError, r"real numbers, got torch.complex64"),
        (
            lambda: gather_reduce(X, Adjacency.of(EDGES.to("meta"), 3)),
            ValueError,
            "the graph must be where the features are, .*, got meta",
        ),
        (
            lambda: gather_reduce(X, EDGES, weight=torch.ones(2, device="meta")),
            ValueError,
            "`weight` must be where the features are, .*, got meta",
        ),
        (
            lambda: gather_reduce(X, EDGES, gate=torch.ones(3, device="meta")),
            ValueError,
            "`gate` must be where the features are, .*, got meta",
        ),
        (
            lambda: gather_reduce(X, EDGES.float()),
            TypeError,
            r"got torch.float32 \(use edge_index.l",
        ),
        (
            lambda: gather_reduce(X, EDGES[0]),
            ValueError,
            r"`edge_index` must be \[2, E\], got \[2\] \(is it transposed",
        ),
        (lambda: gather_reduce(X, [[0], [1]]), TypeError, "Adjacency, got list"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.filterwarnings("ignore:Sparse")
def test_takes_every_kind_of_graph() -> None:
    dense = torch.tensor([[0.0, 1, 1, 0], [0, 0, 0, 2], [3, 0, 0, 0]])  # 4 sources, 3 targets
    x = Draw(21).values(4, 2)
    expected = (dense != 0).float() @ x
    target, source = dense.nonzero().t()
    edge_index = torch.stack([source, target])
    sized = EdgeIndex(edge_index, sparse_size=(4, 4))
    for graph in (
        Adjacency.of(edge_index, (4, 3)),
        dense.to_sparse_coo(),
        dense.to_sparse_csr(),
        dense.to_sparse_csc(),
        edge_index,
        edge_index.int(),
        EdgeIndex(edge_index),
        sized,
        sized.sort_by("row").values,
        sized.sort_by("col").values,
    ):
        torch.testing.assert_close(gather_reduce(x, graph)[:3], expected)


@pytest.mark.cpu_only("the heap of the C library")
def test_no_call_leaks():
    """Live heap bytes stay flat. (torch 2.13 leaks string arguments; our operators have none.)"""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("the C library does not count its live bytes (mallinfo2 is glibc's)")

    class Mallinfo(ctypes.Structure):
        _fields_ = [(f"field{k}", ctypes.c_size_t) for k in range(10)]

    libc.mallinfo2.restype = Mallinfo
    edge_index = torch.randint(30, (2, 90))
    x = torch.randn(30, 4, requires_grad=True)
    weight = torch.rand(90, requires_grad=True)

    def work():
        adj = gnnlib.Adjacency.of(edge_index.clone(), 30)
        for reduce in REDUCES:
            gather_reduce(x, adj, weight, reduce).sum().backward()
        gnnlib.ops.edge_dot(x, x, adj).sum().backward()

    def live():
        gc.collect()
        return libc.mallinfo2().field7

    for _ in range(50):
        work()
    before = live()
    for _ in range(500):
        work()
    # A leak of one small string per call would be 96 kB.
    assert live() - before < 20_000
