"""`gather_softmax` is its definition: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn.aggr import SoftmaxAggregation

from gnnlib.ops import _gather_softmax, gather_reduce, gather_softmax
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 3, 4, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
PIECE = 2048  # edges of a row that a kernel folds at a time
NAN, INF = float("nan"), float("inf")
ALL = ["x", "t", "weight", "gate"]


def op(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    t: float | Tensor = 1.0,
    weight: Tensor | None = None,
    gate: Tensor | None = None,
) -> Tensor:
    return gather_softmax(x, Adjacency.of(edge_index, size), t, weight, gate)


def oracle(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    t: float | Tensor = 1.0,
    weight: Tensor | None = None,
    gate: Tensor | None = None,
) -> Tensor:
    """The definition, target by target, with every message written down."""
    src, dst = edge_index.long()
    rows = []
    for i in range(size[1]):
        edges = (dst == i).nonzero().flatten()
        if gate is not None:
            edges = edges[gate[src[edges]] != 0]
        message = x[src[edges]]
        if weight is not None:
            message = message * weight[edges].unsqueeze(-1)
        if gate is not None:
            message = message * gate[src[edges]].unsqueeze(-1)
        rows.append((torch.softmax(t * message, 0) * message).sum(0))
    return torch.stack(rows) if rows else x.new_zeros(0, x.size(1)) + 0 * x.sum()


def sample(
    width: int,
    size: tuple[int, int] = (6, 5),
    num_edges: int = 18,
    dtype: torch.dtype = torch.float32,
    options: int = 0,
    seed: int = 0,
) -> Sample:
    """With one temperature or one per channel, weights, and gates, by the bits of `options`."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(size[0], width, generator=draw).to(dtype)
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    gate = (torch.randint(0, 3, (size[0],), generator=draw) / 2).to(dtype)
    weight = torch.randn(num_edges, generator=draw).to(dtype)
    t = torch.randn(width if options & 1 else 1, generator=draw).to(dtype)
    factors = (weight if options & 2 else None, gate if options & 4 else None)
    return Sample((x, edges, size, t, *factors), smooth=False)


def smooth(seed: int = 0, options: int = 0) -> Sample:
    x, edges, size, t, weight, gate = sample(3, (4, 3), 7, torch.float64, options, seed).args
    return Sample((x, edges, size, t, weight, None if gate is None else gate / 2 + 0.25))


def check(samples: list[Sample], tolerance: float | None = None, **kwargs: Any) -> None:
    kwargs.setdefault("compile", False)
    for options in range(4):  # names must stand for a tensor in some sample
        group = [
            s for s in samples if ((s.args[4] is not None) + 2 * (s.args[5] is not None)) == options
        ]
        names = [name for k, name in enumerate(ALL) if k < 2 or options & (k - 1)]
        if group:
            assert_op(
                op, oracle, group, differentiable=names, rtol=tolerance, atol=tolerance, **kwargs
            )


# Values and gradients against the definition ----------------------------------------------------


def test_every_width_and_float() -> None:
    for dtypes, tolerance in ((FLOATS[:1], 2e-5), (FLOATS[1:2], None), (FLOATS[2:], 0.03)):
        check(
            [
                sample(width, dtype=dtype, options=(k + width) % 8, seed=width)
                for (k, width), dtype in product(enumerate(WIDTHS), dtypes)
            ],
            tolerance,
        )


@pytest.mark.parametrize("options", range(8))
def test_every_option(options: int) -> None:
    check([sample(width, dtype=torch.float64, options=options) for width in (1, 5, 19)])


@pytest.mark.parametrize("options", [0, 7])
def test_edge_cases(options: int) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample(3, options=options).args
    ordered[1].copy_(ordered[1][:, ordered[1][1].sort(stable=True).indices])
    samples = [
        Sample((torch.ones(n, width), none, (n, m), torch.ones(1), None, None), smooth=False)
        for n, m, width in ((0, 0, 3), (4, 4, 3), (0, 4, 3), (4, 0, 3), (0, 2, 0))
    ]
    samples += [
        sample(0, options=options),
        sample(3, (4, 9), 9, options=options),  # empty groups
        sample(3, (1, 1), 4, options=options),  # loops on one node
        sample(3, (2, 9), 30, options=options),  # multi-edges
        Sample(ordered, smooth=False),
        Sample((ordered[0], ordered[1].int(), *ordered[2:]), smooth=False),
    ]
    check(samples, 2e-5)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 5001])
def test_hub(degree: int, end: int) -> None:
    # A target's pieces are folded forward, a source's backward.
    for options in (0, 7):
        args = sample(17, (6, 5), degree + 30, torch.float64, options).args
        args[1][end] = 3
        args[1][end, :: degree // 30][:30] = torch.arange(30) % 3
        assert int((args[1][end] == 3).sum()) == degree
        check([Sample(args, smooth=False)])


@pytest.mark.parametrize("closed", [[0], [1], [0, 1]])
def test_hub_of_which_whole_pieces_are_absent(closed: list[int]) -> None:
    src = torch.tensor([0] * PIECE + [1] * 9)
    edges = torch.stack([src, torch.zeros_like(src)])
    x, gate = torch.tensor([[-1.0, 2.0], [-3.0, 1.0]]), torch.ones(2)
    gate[closed] = 0
    x[closed] = NAN
    check([Sample((x, edges, (2, 1), torch.ones(1), None, gate), smooth=False)], 1e-4)


@pytest.mark.parametrize("t", [1.0, -1.0, 0.0, 30.0])
def test_nan_and_infinities(t: float) -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, 2.0])
    draw, samples = torch.Generator().manual_seed(0), []
    for width, dtype in product([1, 3, 16, 19], FLOATS):
        args = sample(width, (9, 20), 40, dtype, seed=width).args
        args[0][:] = special[torch.randint(7, args[0].shape, generator=draw)].to(dtype)
        heat = torch.full((1,), t, dtype=dtype)
        samples.append(Sample((*args[:3], heat, *args[4:]), smooth=False))
    assert_op(op, oracle, samples, differentiable=["x"], compile=False)


def test_great_exponents_do_not_overflow() -> None:
    edges = torch.tensor([[0, 1, 2], [0, 0, 0]])
    for order in (edges, edges.flip(1)):
        for sign in (1.0, -1.0):
            x = sign * torch.tensor([[1e4], [2e4], [3e4]])
            out = op(x, order, (3, 1), 50.0)
            assert out.item() == x.max().item()
            assert op(x, order, (3, 1), -50.0).item() == x.min().item()


def test_between_mean_and_maximum() -> None:
    x, edges, size, *_ = sample(5, dtype=torch.float64).args
    adj = Adjacency.of(edges, size)
    torch.testing.assert_close(gather_softmax(x, adj, 0.0), gather_reduce(x, adj, reduce="mean"))
    torch.testing.assert_close(gather_softmax(x, adj, 1e4), gather_reduce(x, adj, reduce="max"))


def test_a_closed_source_is_absent() -> None:
    edges, gate = torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.tensor([0.5, 0.0, 0.0])
    for width in (1, 16, 17):
        x = torch.tensor([[1.0], [NAN], [2.0]]).repeat(1, width).requires_grad_()
        leaf = gate.clone().requires_grad_()
        out = op(x, edges, (3, 2), 2.0, None, leaf)
        assert torch.equal(out, torch.tensor([[0.5], [0.0]]).repeat(1, width))
        grad_x, grad_gate = torch.autograd.grad(out.sum(), (x, leaf))
        assert torch.equal(grad_x, torch.tensor([[0.5], [0.0], [0.0]]).repeat(1, width))
        assert grad_gate.tolist() == [width, 0.0, 0.0]


def test_half_floats_are_accumulated_in_single_precision() -> None:
    n = 5000
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    for dtype in FLOATS[2:]:
        x = torch.full((n, 1), 3.0, dtype=dtype)
        x[::2] = -3.0
        out = op(x, edges, (n, 1), 0.1)
        assert out.dtype == dtype
        expected = 3 * torch.tanh(torch.tensor(0.3))
        torch.testing.assert_close(out[0, 0], expected.to(dtype))


# As PyG has it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"t": 0.5},
        {"t": 0.5, "semi_grad": True},
        {"t": 2.0, "learn": True},
        {"t": -1.0, "learn": True, "channels": 5},
    ],
)
def test_is_softmax_aggregation(how: dict[str, Any]) -> None:
    aggr = SoftmaxAggregation(**how)
    x, edges, size, *_ = sample(5, dtype=torch.float32).args
    edges = edges[:, edges[1].sort(stable=True).indices]
    leaves = [x.requires_grad_(), *aggr.parameters()]
    expected = aggr(x[edges[0]], edges[1], dim_size=size[1])
    t, semi_grad = aggr.t, how.get("semi_grad", False)
    actual = gather_softmax(x, Adjacency.of(edges, size), t, semi_grad=semi_grad)
    torch.testing.assert_close(actual, expected)
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad(actual, leaves, grad)
    torch.testing.assert_close(found, torch.autograd.grad(expected, leaves, grad))


# Derivatives --------------------------------------------------------------------------------------


def test_derivatives() -> None:
    kernels = torch.ops.gnnlib
    reached = [kernels.gather_softmax, kernels.softmax_grad, kernels.softmax_dot]
    assert_op(
        op, oracle, [smooth(), smooth(1, 7)], differentiable=ALL, double_backward=True,
        compile=False, opcheck=reached,
    )  # fmt: skip
    for name in ALL:  # each alone
        assert_op(
            op, oracle, [smooth(2, 6)], differentiable=[name], double_backward=True, compile=False
        )


def test_second_derivatives_on_a_gpu_add_without_atomics() -> None:
    # Which would add in another order every time; a device without numbers shows what is called.
    x = torch.randn(6, 4, device="meta", requires_grad=True)
    ends, t = torch.zeros(60, dtype=torch.int64, device="meta"), torch.ones(4, device="meta")
    with profile() as called:
        _, _, _, out, *_ = _gather_softmax._softmax(x, ends, ends, None, 6, None, None, t)
        out.sum().backward()
    names = {event.name for event in called.events()}
    assert "aten::index_put" in names
    assert not names & {"aten::index_add", "aten::scatter_add"}


def test_the_derivative_of_a_constant_softmax() -> None:
    # Of the second order too, as autograd has it where the softmax is detached.
    x, edges, size, *_ = smooth(3).args
    x.requires_grad_()
    src, dst = edges
    share = torch.zeros(len(src), x.size(1), dtype=x.dtype)
    for i in range(size[1]):
        share[dst == i] = torch.softmax(0.7 * x[src[dst == i]].detach(), 0)
    expected = torch.zeros(size[1], x.size(1), dtype=x.dtype).index_add(0, dst, share * x[src])
    actual = gather_softmax(x, Adjacency.of(edges, size), 0.7, semi_grad=True)
    firsts = [
        torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)[0] for out in (actual, expected)
    ]
    torch.testing.assert_close(*firsts)
    seconds = [torch.autograd.grad(first.sin().sum(), x)[0] for first in firsts]
    torch.testing.assert_close(*seconds)


# Any shape, any stride, any index ---------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    width = draw(st.sampled_from([0, 1, 2, 9, 17, 65]))
    options, seed = draw(st.integers(0, 7)), draw(st.integers(0, 1000))
    return sample(width, size, draw(st.integers(0, 12)), torch.float64, options, seed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    check([drawn])


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_bad_index_is_named(data: Any) -> None:
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    args = sample(2, size, data.draw(st.integers(1, 40))).args
    end = data.draw(st.integers(0, 1))
    value = data.draw(st.sampled_from([-1, -size[end], size[end], 2**31, 2**63 - 1, -(2**63)]))
    args[1][end, data.draw(st.integers(0, args[1].size(1) - 1))] = value
    with pytest.raises(IndexError, match=rf"in \[0, {size[end]}\), got {value} \("):
        op(*args)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    for width in (1, 40):
        args, found = sample(width, (900, 700), 9000, options=7).args, []
        args[1][1, : 2 * PIECE + 9] = 4
        args[1][0, 5000:] = 5
        try:
            for count in (1, 2, 4):
                torch.set_num_threads(count)
                leaves = [args[k].clone().requires_grad_() for k in (0, 3, 4, 5)]
                out = op(leaves[0], *args[1:3], *leaves[1:])
                found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
        finally:
            torch.set_num_threads(before)
        for other in found[1:]:
            assert all(map(torch.equal, found[0], other))


def test_bits_do_not_depend_on_the_batch() -> None:
    for width in (3, 70):
        x, edges, size, *_ = sample(width, (20, 30), 3000, seed=1).args
        edges[1, : PIECE + 50] = 6
        alone = op(x, edges, size)
        others = sample(width, (7, 8), 777).args
        batch = torch.cat([others[1], edges + torch.tensor([[7], [8]])], 1)
        found = op(torch.cat([others[0], x]), batch, (27, 38))
        assert torch.equal(found[8:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [sample(3, options=7), sample(3, (7, 9), 20, options=6, seed=1)]
    check(samples, compile=True)


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gather_softmax(X.int(), EDGES),
            ValueError,
            r"`x` must be floating point, got torch.int32 \(use x.float\(\)\)",
        ),
        (
            lambda: gather_softmax(X.view(3, 1, 2), EDGES),
            ValueError,
            r"must be a matrix \[N_src, F\], got \[3, 1, 2\] \(use x.flatten\(1\)\)",
        ),
        (
            lambda: gather_softmax(X, EDGES, torch.ones(3)),
            ValueError,
            r"`t` must have one element or one per channel, 2, got \[3\]",
        ),
        (
            lambda: gather_softmax(X, EDGES, torch.ones(2).double()),
            ValueError,
            "`x` and `t` must share a dtype, got torch.float32 and torch.float64",
        ),
        (
            lambda: gather_softmax(X, EDGES, torch.ones(1, requires_grad=True), semi_grad=True),
            ValueError,
            "`semi_grad` must be False where `t` is learnt",
        ),
        (
            lambda: gather_softmax(X, EDGES, weight=torch.ones(3)),
            ValueError,
            r"`weight` must have one value per edge, 2, got \[3\]",
        ),
        (
            lambda: gather_softmax(X, EDGES, gate=torch.ones(2)),
            ValueError,
            r"`gate` must have one value per source node, 3, got \[2\]",
        ),
        (lambda: gather_softmax(X[:2], EDGES), IndexError, r"\[0, 2\), got 2"),
        (
            lambda: gather_softmax(X, Adjacency.of(EDGES, 4)),
            ValueError,
            "a row per source node, 4, got 3",
        ),
        (lambda: gather_softmax(torch.tensor(1.0), EDGES), ValueError, "got a scalar"),
        (
            lambda: gather_softmax(X, EDGES, torch.ones(1, device="meta")),
            ValueError,
            "`t` must be where the features are, .*, got meta",
        ),
        (lambda: gather_softmax(X, META), ValueError, "the graph must be where .*meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
