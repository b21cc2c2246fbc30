"""`gather_edge_relu` is its definition: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GINEConv

from gnnlib.ops import gather_edge_relu
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WIDTHS = [1, 3, 4, 15, 16, 17, 31, 32, 64, 100, 128, 129, 200]
PIECE = 2048  # edges of a row that a kernel folds at a time
NAN, INF = float("nan"), float("inf")
ALL = ["x", "edge", "gate"]


def op(
    x: Tensor, edge: Tensor, edge_index: Tensor, size: tuple[int, int], gate: Tensor | None = None
) -> Tensor:
    return gather_edge_relu(x, edge, Adjacency.of(edge_index, size), gate)


def oracle(
    x: Tensor, edge: Tensor, edge_index: Tensor, size: tuple[int, int], gate: Tensor | None = None
) -> Tensor:
    """The definition, target by target, with every message written down."""
    src, dst = edge_index.long()
    rows = []
    for i in range(size[1]):
        edges = (dst == i).nonzero().flatten()
        message = (x[src[edges]] + edge[edges]).relu()
        if gate is not None:
            of = gate[src[edges]].unsqueeze(-1)
            # Straight-through: what a closed source would say is worth zero, with a derivative.
            through = (of - of.detach()) * message.detach()
            message = torch.where(of == 0, through, of * message)
        rows.append(message.sum(0))
    return torch.stack(rows) if rows else x.new_zeros(0, x.size(1)) + 0 * (x.sum() + edge.sum())


def sample(
    width: int,
    size: tuple[int, int] = (6, 5),
    num_edges: int = 18,
    dtype: torch.dtype = torch.float32,
    gated: bool = False,
    seed: int = 0,
) -> Sample:
    # Numbers of few bits, whose sums are exact in float32, and often zero.
    draw = torch.Generator().manual_seed(seed)
    x, edge = (
        (torch.randint(-8, 9, (n, width), generator=draw) / 4).to(dtype)
        for n in (size[0], num_edges)
    )
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    gate = (torch.randint(0, 3, (size[0],), generator=draw) / 2).to(dtype) if gated else None
    return Sample((x, edge, edges, size, gate), smooth=False)


def smooth(seed: int = 0, gate: Tensor | None = None) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    x, edge = (torch.randn(n, 3, generator=draw, dtype=torch.float64) for n in (4, 7))
    edges = torch.stack([torch.randint(n, (7,), generator=draw) for n in (4, 3)])
    return Sample((x, edge, edges, (4, 3), gate))


# Values and gradients against the definition ----------------------------------------------------


@pytest.mark.parametrize("gated", [False, True])
def test_every_width_and_float(gated: bool) -> None:
    for dtypes, tolerance in ((FLOATS[:2], None), (FLOATS[2:], 0.02)):
        samples = [
            sample(width, dtype=dtype, gated=gated) for width, dtype in product(WIDTHS, dtypes)
        ]
        assert_op(
            op, oracle, samples, differentiable=ALL[: 2 + gated], compile=False,
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip


@pytest.mark.parametrize("gated", [False, True])
def test_edge_cases(gated: bool) -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample(3, gated=gated).args
    ordered[2].copy_(ordered[2][:, ordered[2][1].sort(stable=True).indices])
    samples = [
        Sample((torch.ones(n, width), torch.ones(0, width), none, (n, m)), smooth=False)
        for n, m, width in ((0, 0, 3), (4, 4, 3), (0, 4, 3), (4, 0, 3), (0, 2, 0))
    ]
    samples += [
        sample(0, gated=gated),
        sample(3, (4, 9), 9, gated=gated),  # empty groups
        sample(3, (1, 1), 4, gated=gated),  # loops on one node
        sample(3, (2, 9), 30, gated=gated),  # multi-edges
        Sample(ordered, smooth=False),
        Sample((*ordered[:2], ordered[2].int(), *ordered[3:]), smooth=False),
    ]
    assert_op(op, oracle, samples, differentiable=ALL[: 2 + gated], compile=False)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 5001])
def test_hub(degree: int, end: int) -> None:
    # A target's pieces are folded forward, a source's backward.
    for gated in (False, True):
        args = sample(17, (6, 5), degree + 30, gated=gated).args
        edges = args[2]
        edges[end] = 3
        edges[end, :: degree // 30][:30] = torch.arange(30) % 3
        assert int((edges[end] == 3).sum()) == degree
        samples = [Sample(args, smooth=False)]
        assert_op(op, oracle, samples, differentiable=ALL[: 2 + gated], compile=False, atol=1e-3)


def test_nan_and_infinities() -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0])
    draw, samples = torch.Generator().manual_seed(0), []
    for width, dtype in product([1, 3, 16, 19], FLOATS):
        args = sample(width, dtype=dtype).args
        for t in args[:2]:
            t[::2] = special[torch.randint(7, t[::2].shape, generator=draw)].to(dtype)
        samples.append(Sample(args, smooth=False))
    assert_op(op, oracle, samples, differentiable=["x", "edge"], compile=False)


def test_the_derivative_at_zero_is_zero() -> None:
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    edge = torch.tensor([[-1.0], [-1.0]], requires_grad=True)
    op(x, edge, torch.tensor([[0, 1], [0, 0]]), (2, 1)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0], [1.0]]
    assert edge.grad is not None
    assert edge.grad.tolist() == [[0.0], [1.0]]


def test_a_closed_source_is_absent_and_its_gate_learns() -> None:
    edges, gate = torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.tensor([0.5, 0.0, 0.0])
    for width in (1, 16, 17):
        x = torch.tensor([[1.0], [NAN], [2.0]]).repeat(1, width).requires_grad_()
        edge = torch.ones(3, width, requires_grad=True)
        leaf = gate.clone().requires_grad_()
        out = op(x, edge, edges, (3, 2), leaf)
        assert torch.equal(out, torch.tensor([[1.0], [0.0]]).repeat(1, width))
        grads = torch.autograd.grad(out, (x, edge, leaf), torch.full_like(out, 2.0))
        for rows in grads[:2]:
            assert torch.equal(rows, torch.tensor([[1.0], [0.0], [0.0]]).repeat(1, width))
        # 2 <1, relu(x + 1)> of each source, closed or not.
        torch.testing.assert_close(grads[2], width * torch.tensor([4.0, NAN, 6.0]), equal_nan=True)


def test_half_floats_are_accumulated_in_single_precision() -> None:
    n = 5000
    edges = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.long)])
    for dtype in FLOATS[2:]:
        x, edge = torch.full((n, 1), 1.0, dtype=dtype), torch.full((n, 1), -0.5, dtype=dtype)
        out = op(x, edge, edges, (n, 1))
        assert out.dtype == dtype
        assert out.item() == torch.tensor(2500.0).to(dtype).item()  # in half floats it stalls


def test_is_the_aggregation_of_gine() -> None:
    conv = GINEConv(torch.nn.Identity(), edge_dim=None)
    conv.eps.fill_(-1)  # nothing but the aggregation
    conv.lin = None
    x, edge, edges, _, _ = smooth(3).args
    torch.testing.assert_close(op(x, edge, edges, (4, 4)), conv(x, edges, edge))


# Derivatives --------------------------------------------------------------------------------------


def test_derivatives() -> None:
    kernels = [torch.ops.gnnlib.gather_edge_relu, torch.ops.gnnlib.edge_relu_grad]
    gate = torch.tensor([0.5, 1.0, 0.25, 0.75], dtype=torch.float64)
    assert_op(
        op, oracle, [smooth(), smooth(1, gate)], differentiable=ALL, double_backward=True,
        compile=False, opcheck=kernels,
    )  # fmt: skip
    for name in ALL:  # each alone
        assert_op(
            op, oracle, [smooth(2, gate)], differentiable=[name], double_backward=True,
            compile=False,
        )  # fmt: skip


def test_penalty_on_a_gradient() -> None:
    # The usual reason for a second derivative: the first is part of the loss.
    x, edge, edges, size, _ = smooth(4).args
    found = []
    for function in (op, oracle):
        leaves = [t.clone().requires_grad_() for t in (x, edge)]
        out = function(*leaves, edges, size)
        first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    torch.testing.assert_close(*found)


# Any shape, any stride, any index ---------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    width = draw(st.sampled_from([0, 1, 2, 9, 17, 65]))
    dtype, seed = draw(st.sampled_from(FLOATS)), draw(st.integers(0, 1000))
    return sample(width, size, draw(st.integers(0, 12)), dtype, draw(st.booleans()), seed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    names = ALL if drawn.args[4] is not None else ALL[:2]
    assert_op(op, oracle, [drawn], differentiable=names, compile=False, rtol=0.02, atol=0.02)


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


# The same bits, whatever else happens ---------------------------------------------------------


def results(x: Tensor, edge: Tensor, edges: Tensor, size: tuple[int, int]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (x, edge, torch.linspace(0, 1, size[0]))]
    out = op(*leaves[:2], edges, size, leaves[2])
    return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.cpu_only("threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, edge, edges, size, _ = sample(40, (900, 700), 9000).args
    edges[1, : 2 * PIECE + 9] = 4
    edges[0, 5000:] = 5
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(results(x + 0.1, edge, edges, size))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_bits_do_not_depend_on_the_batch() -> None:
    for width in (3, 70):
        x, edge, edges, size, _ = sample(width, (20, 30), 3000, seed=1).args
        edges[1, : PIECE + 50] = 6
        x, edge = x + 0.1, edge * 1.1
        alone = op(x, edge, edges, size)
        others = sample(width, (7, 8), 777).args
        batch = torch.cat([others[2], edges + torch.tensor([[7], [8]])], 1)
        found = op(torch.cat([others[0], x]), torch.cat([others[1], edge]), batch, (27, 38))
        assert torch.equal(found[8:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [sample(3, gated=True), sample(3), sample(3, (7, 9), 20, seed=1)]
    assert_op(op, oracle, samples, differentiable=ALL)


# Wrong calls --------------------------------------------------------------------------------------

X, EDGE, EDGES = torch.ones(3, 2), torch.ones(2, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gather_edge_relu(X, EDGE[:1], EDGES),
            ValueError,
            r"`edge` must be \[2, 2\], a row per edge as wide as `x`, got \[1, 2\] \(does it need",
        ),
        (lambda: gather_edge_relu(X, EDGE[:, :1], EDGES), ValueError, r"\[2, 2\], .*got \[2, 1\]"),
        (lambda: gather_edge_relu(X, EDGE[:, 0], EDGES), ValueError, r"\[2, 2\], .*got \[2\]"),
        (
            lambda: gather_edge_relu(X.view(3, 1, 2), EDGE.view(2, 1, 2), EDGES),
            ValueError,
            r"must be a matrix \[N_src, F\], got \[3, 1, 2\] \(use x.flatten\(1\)\)",
        ),
        (
            lambda: gather_edge_relu(X, EDGE.double(), EDGES),
            ValueError,
            "share a floating point dtype, got torch.float32 and torch.float64",
        ),
        (
            lambda: gather_edge_relu(X.int(), EDGE.int(), EDGES),
            ValueError,
            "got torch.int32 and torch.int32",
        ),
        (
            lambda: gather_edge_relu(X, EDGE, EDGES, torch.ones(2)),
            ValueError,
            r"`gate` must have one value per source node, 3, got \[2\]",
        ),
        (lambda: gather_edge_relu(X[:2], EDGE, EDGES), IndexError, r"\[0, 2\), got 2"),
        (
            lambda: gather_edge_relu(X, EDGE, Adjacency.of(EDGES, 4)),
            ValueError,
            "a row per source node, 4, got 3",
        ),
        (lambda: gather_edge_relu(torch.tensor(1.0), EDGE, EDGES), ValueError, "got a scalar"),
        (
            lambda: gather_edge_relu(X, EDGE.to("meta"), EDGES),
            ValueError,
            "`edge` must be where the features are, .*, got meta",
        ),
        (lambda: gather_edge_relu(X, EDGE, META), ValueError, "the graph must be where .*meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
