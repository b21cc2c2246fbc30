"""`additive_score` is its definition: for every dtype, shape, graph and compiler."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GATv2Conv

from gnnlib.ops import additive_score
from gnnlib.testing import Sample, assert_op

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Heads and their columns: as wide as vectors and not, in one vector and across them.
SHAPES = [
    (1, 1), (3, 1), (16, 1), (37, 1), (1, 3), (5, 3), (7, 4), (2, 8), (3, 8), (9, 8), (40, 8),
    (4, 12), (3, 15), (1, 16), (8, 16), (3, 17), (2, 24), (4, 32), (1, 64), (2, 100), (300, 2),
]  # fmt: skip
PIECE = 2048  # edges of a row that a kernel takes at a time
NAN, INF = float("nan"), float("inf")
ALL = ["x_src", "x_dst", "att"]


def op(
    x_src: Tensor, x_dst: Tensor, att: Tensor, edge_index: Tensor, size: tuple[int, int],
    negative_slope: float = 0.2,
) -> Tensor:  # fmt: skip
    return additive_score(x_src, x_dst, att, Adjacency.of(edge_index, size), negative_slope)


def oracle(
    x_src: Tensor, x_dst: Tensor, att: Tensor, edge_index: Tensor, size: tuple[int, int],
    negative_slope: float = 0.2,
) -> Tensor:  # fmt: skip
    """The definition, edge by edge."""
    assert (x_src.size(0), x_dst.size(0)) == size
    leaky_relu = torch.nn.functional.leaky_relu
    scores = [
        (att * leaky_relu(x_src[j] + x_dst[i], negative_slope)).sum(-1)
        for j, i in edge_index.t().tolist()
    ]
    nothing = 0 * (x_src.sum() + x_dst.sum() + att.sum())
    return torch.stack(scores) if scores else x_src.new_zeros(0, att.size(0)) + nothing


def sample(
    shape: tuple[int, int],
    size: tuple[int, int] = (5, 4),
    num_edges: int = 9,
    dtype: torch.dtype = torch.float32,
    slope: float = 0.25,
    seed: int = 0,
) -> Sample:
    # Numbers of few bits, whose sums are exact in float32, and often zero.
    draw = torch.Generator().manual_seed(seed)
    src, dst, att = (
        (torch.randint(-8, 9, n, generator=draw) / 4).to(dtype)
        for n in ((size[0], *shape), (size[1], *shape), shape)
    )
    edges = torch.stack([torch.randint(n, (num_edges,), generator=draw) for n in size])
    return Sample((src, dst, att, edges, size, slope), smooth=False)


def smooth(seed: int = 0) -> Sample:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((4, 2, 3), (3, 2, 3), (2, 3))
    tensors = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    edges = torch.stack([torch.randint(n, (7,), generator=draw) for n in (4, 3)])
    return Sample((*tensors, edges, (4, 3), 0.2))


# Values and gradients against the definition ----------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_shape_and_float(dtype: torch.dtype) -> None:
    tolerance = 0.02 if dtype.itemsize == 2 else None
    samples = [sample(shape, dtype=dtype) for shape in SHAPES]
    assert_op(
        op, oracle, samples, differentiable=ALL, compile=False, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0, 2.0, -0.5])
def test_every_slope(slope: float) -> None:
    samples = [sample(shape, dtype=torch.float64, slope=slope) for shape in ((2, 3), (3, 8))]
    assert_op(op, oracle, samples, differentiable=ALL, compile=False)


def test_edge_cases() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    ordered = sample((2, 3)).args
    ordered[3].copy_(ordered[3][:, ordered[3][1].sort(stable=True).indices])
    samples = [
        Sample(
            (torch.ones(n, *shape), torch.ones(m, *shape), torch.ones(shape), none, (n, m)),
            smooth=False,
        )
        for n, m, shape in (
            (0, 0, (2, 3)),
            (0, 4, (2, 3)),
            (4, 0, (2, 3)),
            (4, 5, (2, 3)),
            (0, 2, (0, 0)),
        )
    ]
    samples += [
        sample((2, 0)),
        sample((0, 2)),
        sample((0, 0)),
        sample((2, 3), (1, 1), 4),  # loops on one node
        sample((2, 3), (2, 9), 30),  # multi-edges
        Sample(ordered, smooth=False),
        Sample((*ordered[:3], ordered[3].int(), *ordered[4:]), smooth=False),
    ]
    assert_op(op, oracle, samples, differentiable=ALL, compile=False)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("degree", [PIECE, PIECE + 1, 5001])
def test_hub(degree: int, end: int) -> None:
    for shape in ((2, 17), (3, 8)):
        args = sample(shape, num_edges=degree + 30).args
        edges = args[3]
        edges[end] = 3
        edges[end, :: degree // 30][:30] = torch.arange(30) % 3
        assert int((edges[end] == 3).sum()) == degree
        by_order = Sample(args, smooth=False)
        assert_op(op, oracle, [by_order], differentiable=ALL, compile=False, atol=1e-2)


def test_nan_and_infinities() -> None:
    special = torch.tensor([NAN, INF, -INF, 0.0, 1.0, 2.0])
    draw, samples = torch.Generator().manual_seed(0), []
    for shape, dtype in product([(1, 1), (2, 3), (3, 8), (2, 19)], FLOATS):
        args = sample(shape, dtype=dtype).args
        for x in args[:2]:
            x[::2] = special[torch.randint(6, x[::2].shape, generator=draw)].to(dtype)
        samples.append(Sample(args, smooth=False))
    # Not of `att`: where infinities of several edges cancel to NaN, it meets each node's but once.
    assert_op(op, oracle, samples, differentiable=ALL[:2], compile=False)


def test_nodes_without_edges_do_not_spoil_the_gradient() -> None:
    src, dst, att, _, _, slope = sample((2, 3), (3, 4)).args
    src[1], dst[2:] = NAN, INF
    edges = torch.tensor([[0, 2, 0], [0, 1, 1]])
    by_order = Sample((src, dst, att, edges, (3, 4), slope), smooth=False)
    assert_op(op, oracle, [by_order], differentiable=ALL, compile=False)


def test_half_floats_are_accumulated_in_single_precision() -> None:
    edge = torch.zeros(2, 1, dtype=torch.long)
    for dtype in FLOATS[2:]:
        x, y = torch.full((1, 1, 4096), 8.0, dtype=dtype), torch.full((1, 1, 4096), 8, dtype=dtype)
        att = torch.full((1, 4096), 1 / 64, dtype=dtype)
        att[0, 2048:] *= -1
        att[0, -1] = 0
        # In half floats the first 2048 products lose the last.
        assert op(x, y, att, edge, (1, 1)).item() == 0.25


def test_is_the_score_of_gatv2() -> None:
    conv = GATv2Conv(3, 5, heads=2, add_self_loops=False).double()
    edges = sample((1, 1), (6, 6), 20).args[3]
    x = torch.randn(6, 3, dtype=torch.float64)
    _, (_, alpha) = conv(x, edges, return_attention_weights=True)
    ends = [lin(x).view(6, 2, 5) for lin in (conv.lin_l, conv.lin_r)]
    power = op(*ends, conv.att[0], edges, (6, 6)).exp()
    total = torch.zeros(6, 2, dtype=x.dtype).index_add(0, edges[1], power)
    torch.testing.assert_close(power / total[edges[1]], alpha)


# Derivatives --------------------------------------------------------------------------------------


def test_derivatives() -> None:
    kernels = [torch.ops.gnnlib.additive_score, torch.ops.gnnlib.additive_grad]
    assert_op(
        op, oracle, [smooth()], differentiable=ALL, double_backward=True, compile=False,
        opcheck=kernels,
    )  # fmt: skip
    for name in ALL:  # each alone takes another way
        assert_op(
            op, oracle, [smooth(1)], differentiable=[name], double_backward=True, compile=False
        )


def test_penalty_on_a_gradient() -> None:
    *tensors, edges, size, slope = smooth(4).args
    found = []
    for function in (op, oracle):
        leaves = [t.clone().requires_grad_() for t in tensors]
        out = function(*leaves, edges, size, slope)
        first = torch.autograd.grad(out.sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    torch.testing.assert_close(*found)


# Any shape, any stride, any index ---------------------------------------------------------------


@st.composite
def calls(draw: Any) -> Sample:
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    shape = draw(st.integers(0, 9)), draw(st.sampled_from([0, 1, 2, 4, 8, 9, 17, 65]))
    dtype, seed = draw(st.sampled_from(FLOATS[:2])), draw(st.integers(0, 1000))
    return sample(shape, size, draw(st.integers(0, 12)), dtype, seed=seed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(calls())
def test_any_call(drawn: Sample) -> None:
    assert_op(op, oracle, [drawn], differentiable=ALL, compile=False)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_bad_index_is_named(data: Any) -> None:
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    args = sample((1, 2), size, data.draw(st.integers(1, 40))).args
    end = data.draw(st.integers(0, 1))
    value = data.draw(st.sampled_from([-1, -size[end], size[end], 2**31, 2**63 - 1, -(2**63)]))
    args[3][end, data.draw(st.integers(0, args[3].size(1) - 1))] = value
    with pytest.raises(IndexError, match=rf"in \[0, {size[end]}\), got {value} \("):
        op(*args)


# The same bits, whatever else happens ---------------------------------------------------------


@pytest.mark.cpu_only("threads")
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    for shape in ((1, 1), (5, 8)):
        *tensors, edges, size, _ = sample(shape, (9000, 7000), 40_000).args
        edges[1, : 2 * PIECE + 9] = 4
        edges[0, 5000:9000] = 5
        found = []
        try:
            for count in (1, 2, 4):
                torch.set_num_threads(count)
                leaves = [(t + 0.1).requires_grad_() for t in tensors]
                out = op(*leaves, edges, size)
                found.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
        finally:
            torch.set_num_threads(before)
        for other in found[1:]:
            assert all(map(torch.equal, found[0], other))


def test_bits_do_not_depend_on_the_batch() -> None:
    for shape in ((3, 8), (2, 35)):
        src, dst, att, edges, size, _ = sample(shape, (20, 30), 3000, seed=1).args
        edges[1, : PIECE + 50] = 6
        src, dst = src + 0.1, dst * 1.1
        alone = op(src, dst, att, edges, size)
        others = sample(shape, (7, 8), 777).args
        batch = torch.cat([others[3], edges + torch.tensor([[7], [8]])], 1)
        ends = (torch.cat([a, b]) for a, b in zip(others[:2], (src, dst), strict=True))
        assert torch.equal(op(*ends, att, batch, (27, 38))[777:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [sample((2, 3)), sample((2, 3), (7, 9), 20, seed=1)]
    assert_op(op, oracle, samples, differentiable=ALL)


# Wrong calls --------------------------------------------------------------------------------------

X, ATT, EDGES = torch.ones(3, 2, 4), torch.ones(2, 4), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: additive_score(X.flatten(1), X, ATT, EDGES),
            ValueError,
            r"`x_src` must be \[N_src, H, C\], got \[3, 8\] \(use x.view\(-1, heads, C\)\)",
        ),
        (
            lambda: additive_score(X, X[:2], ATT, EDGES),
            ValueError,
            r"`x_dst` must be \[3, 2, 4\], a row per target node .*, got \[2, 2, 4\]",
        ),
        (
            lambda: additive_score(X, X, ATT.unsqueeze(0), EDGES),
            ValueError,
            r"`att` must be \[2, 4\], a row per head .*, got \[1, 2, 4\]",
        ),
        (
            lambda: additive_score(X, X.double(), ATT, EDGES),
            ValueError,
            "`x_src` and `x_dst` must share .*, got torch.float32 and torch.float64",
        ),
        (
            lambda: additive_score(X, X, ATT.half(), EDGES),
            ValueError,
            "`x_src` and `att` must share .*, got torch.float32 and torch.float16",
        ),
        (
            lambda: additive_score(X.int(), X.int(), ATT.int(), EDGES),
            ValueError,
            "got torch.int32 and torch.int32",
        ),
        (lambda: additive_score(X[:2], X[:2], ATT, EDGES), IndexError, r"\[0, 2\), got 2"),
        (
            lambda: additive_score(X, X, ATT, Adjacency.of(EDGES, 4)),
            ValueError,
            "a row per source node, 4, got 3",
        ),
        (
            lambda: additive_score(X, X, ATT.to("meta"), EDGES),
            ValueError,
            "`att` must be where the features are, .*, got meta",
        ),
        (lambda: additive_score(X, X, ATT, META), ValueError, "the graph must be where .*meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
