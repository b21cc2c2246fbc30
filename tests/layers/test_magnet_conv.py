"""`MagNetConv` against the paper's definition in dense complex matrices, and its laws."""

import copy
import warnings
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnlib import Adjacency, Edges  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import ChebConv

from gnnlib.layers import ComplexReLU, MagNetConv

DOUBLE = {"dtype": torch.float64}


def draw(
    num_nodes: int, num_edges: int, width: int = 4, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, and a graph in which pairs both ways, self loops and multi-edges are likely."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2, num_nodes, width, generator=g, **DOUBLE)
    edges = torch.randint(max(num_nodes, 1), (2, num_edges), generator=g)
    half = num_edges // 4
    edges[:, :half] = edges[:, half : 2 * half].flip(0)
    return x[0], x[1], edges, torch.rand(num_edges, generator=g, **DOUBLE) + 0.2


def dense(edge_index: Tensor, weight: Tensor | None, num_nodes: int) -> Tensor:
    """``A[u, v]``, the sum of the weights of the edges from u to v."""
    ones = torch.ones(edge_index.size(1), **DOUBLE)
    a = torch.zeros(num_nodes, num_nodes, **DOUBLE)
    return a.index_put(tuple(edge_index), ones if weight is None else weight, accumulate=True)


def laplacian(a: Tensor, q: Any, normalization: str | None) -> Tensor:
    """The magnetic Laplacian, complex128."""
    sym = (a + a.T) / 2
    degree = sym.sum(1)
    phase = torch.exp(2j * torch.pi * q * (a - a.T))
    if normalization is None:
        return torch.diag(degree) - sym * phase
    root = torch.where(degree > 0, degree, 1).rsqrt() * (degree > 0)
    return torch.eye(len(a)) - root[:, None] * sym * root * phase


def oracle(
    conv: MagNetConv, real: Tensor, imag: Tensor, edge_index: Tensor,
    weight: Tensor | None = None, lambda_max: float | None = None, q: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The polynomial term by term, real and imaginary parts as one number."""
    a = dense(edge_index, weight, len(real))
    lap = laplacian(a, conv.q if q is None else q, conv.normalization)
    if lambda_max is None:
        largest = (a.sum(0) + a.sum(1)).max() if len(a) else torch.tensor(0.0)
        largest = largest if largest > 0 else torch.tensor(1.0)
        lambda_max = 2.0 if conv.normalization == "sym" else largest
    lap = 2 * lap / lambda_max - torch.eye(len(real))
    terms = [torch.complex(real, imag)]
    terms.append(lap @ terms[0])
    while len(terms) <= conv.K:
        terms.append(2 * lap @ terms[-1] - terms[-2])
    out = sum(t @ lin.weight.T.to(t.dtype) for t, lin in zip(terms, conv.lins, strict=False))
    if conv.bias is not None:
        out = out + (1 + 1j) * conv.bias
    return out.real, out.imag


def make(*args: Any, **kwargs: Any) -> MagNetConv:
    torch.manual_seed(0)
    conv = MagNetConv(*args, **kwargs).double()
    if conv.bias is not None:
        nn.init.normal_(conv.bias)
    return conv


# The paper's definition ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("K", "q", "normalization"), [*product([1, 2, 5], [0.25, 0.1], ["sym", None])]
)
def test_is_the_definition(K: int, q: float, normalization: Any) -> None:  # noqa: N803
    real, imag, edges, weight = draw(11, 40)
    conv = make(4, 3, K, q, normalization=normalization)
    for factor in (None, weight):
        found = conv(real, imag, edges, factor)
        torch.testing.assert_close(found, oracle(conv, real, imag, edges, factor), **CLOSE)
        given = conv(real, imag, edges, factor, lambda_max=1.7)
        expected = oracle(conv, real, imag, edges, factor, 1.7)
        torch.testing.assert_close(given, expected, **CLOSE)


CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def test_single_precision_is_close_to_the_definition() -> None:
    real, imag, edges, weight = draw(60, 400, width=16)
    conv = make(16, 8, 3)
    expected = oracle(conv, real, imag, edges, weight)
    found = copy.deepcopy(conv).float()(real.float(), imag.float(), edges, weight.float())
    for a, b in zip(found, expected, strict=True):
        assert (a.double() - b).abs().max() < 1e-6 * b.abs().max()


@pytest.mark.parametrize("edges", [
    [(0, 1)], [(1, 0)], [(0, 1), (1, 0)], [(0, 0)], [(0, 0), (0, 1)], [(0, 1), (0, 1), (1, 0)],
    [(2, 2), (2, 2), (2, 1), (1, 2)], [(0, 1), (0, 1)],
])  # fmt: skip
@pytest.mark.parametrize("normalization", ["sym", None])
def test_every_kind_of_pair(edges: list[tuple[int, int]], normalization: Any) -> None:
    real, imag, _, _ = draw(3, 0)
    edge_index = torch.tensor(edges).T
    conv = make(4, 3, 2, 0.2, normalization=normalization)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = conv(real, imag, edge_index)
    torch.testing.assert_close(found, oracle(conv, real, imag, edge_index), **CLOSE)


@pytest.mark.parametrize("normalization", ["sym", None])
def test_gradients_are_those_of_the_definition(normalization: Any) -> None:
    real, imag, edges, weight = draw(9, 30)
    conv = make(4, 3, 3, 0.15, learn_q=True, normalization=normalization)
    found = []
    for function in (conv, lambda *args: oracle(conv, *args)):
        leaves = [t.clone().requires_grad_() for t in (real, imag, weight)]
        out = torch.cat(function(leaves[0], leaves[1], edges, leaves[2]), 1)
        loss = (out * torch.linspace(-1, 2, out.numel(), **DOUBLE).view_as(out)).sum()
        found.append(torch.autograd.grad(loss, [*leaves, *conv.parameters()]))
    torch.testing.assert_close(*found, **CLOSE)
    assert all(g.any() for g in found[0])


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_graph(data: Any) -> None:
    num_nodes = data.draw(st.integers(1, 7))
    num_edges, seed = data.draw(st.integers(0, 25)), data.draw(st.integers(0, 999))
    real, imag, edges, weight = draw(num_nodes, num_edges, seed=seed)
    conv = make(
        4, 2, data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.0, 0.07, 0.25])),
        normalization=data.draw(st.sampled_from(["sym", None])),
    )  # fmt: skip
    factor = data.draw(st.sampled_from([None, weight]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = conv(real, imag, edges, factor)
    torch.testing.assert_close(found, oracle(conv, real, imag, edges, factor), **CLOSE)


@pytest.mark.parametrize("K", [1, 2, 4])
def test_without_a_phase_it_is_pygs_cheb_conv(K: int) -> None:  # noqa: N803
    real, imag, edges, weight = draw(10, 40)
    edges, weight = (t[..., edges[0] != edges[1]] for t in (edges, weight))  # ChebConv drops loops
    conv, cheb = make(4, 3, K, q=0.0), ChebConv(4, 3, K + 1).double()
    cheb.load_state_dict(conv.state_dict())  # the names are the same
    both, half = torch.cat([edges, edges.flip(0)], 1), torch.cat([weight, weight]) / 2
    for x, found in zip((real, imag), conv(real, imag, edges, weight), strict=True):
        lambda_max = torch.tensor(2.0, **DOUBLE)
        expected = cheb(x, both, half, lambda_max=lambda_max)
        torch.testing.assert_close(found, expected, **CLOSE)


def test_turned_edges_conjugate() -> None:
    real, imag, edges, weight = draw(10, 40)
    conv = make(4, 3, 2, bias=False)
    there = conv(real, imag, edges, weight)
    back = conv(real, -imag, edges.flip(0), weight)
    torch.testing.assert_close(there, (back[0], -back[1]), **CLOSE)


def test_a_gated_edge_is_absent() -> None:
    real, imag, edges, weight = draw(10, 40)
    listen, broadcast = (
        torch.rand(2, 10, generator=torch.Generator().manual_seed(0)) < 0.6
    ).double()
    kept = (listen[edges[1]] * broadcast[edges[0]]).bool()
    conv = make(4, 3, 2)
    given = Edges.of(edges, weight, size=10).masked(broadcast, listen)
    found = conv.forward_edges(torch.stack([real, imag], 1), given)
    expected = oracle(conv, real, imag, edges[:, kept], weight[kept])
    torch.testing.assert_close((found[:, 0], found[:, 1]), expected, **CLOSE)


def test_a_bound_for_each_graph_makes_the_unnormalised_form_independent_of_the_batch() -> None:
    conv = make(4, 3, 2, normalization=None)
    graphs = [draw(6, 15, seed=1), draw(9, 50, seed=2)]
    bounds = [2 * dense(e, w, len(x)).add(dense(e, w, len(x)).T).sum(1).max() / 2
              for x, _, e, w in graphs]  # fmt: skip
    alone = [conv(*graph) for graph in graphs]
    edges = torch.cat([graphs[0][2], graphs[1][2] + 6], 1)
    parts = [torch.cat([graph[k] for graph in graphs]) for k in (0, 1, 3)]
    bound = torch.cat([bounds[0].expand(6), bounds[1].expand(9)])
    together = conv(parts[0], parts[1], edges, parts[2], lambda_max=bound)
    for k in (0, 1):
        torch.testing.assert_close(together[k], torch.cat([out[k] for out in alone]), **CLOSE)


# What is learned ----------------------------------------------------------------------------------


def test_q_learns() -> None:
    real, imag, edges, _ = draw(12, 40)
    teacher = make(4, 2, 2, q=0.06)
    expected = torch.cat(teacher(real, imag, edges), 1).detach()
    conv = make(4, 2, 2, q=0.2, learn_q=True)
    conv.lins.load_state_dict(teacher.lins.state_dict())
    conv.bias = nn.Parameter(teacher.bias.detach().clone())
    parameter = conv.q_logit
    assert conv.q.item() == pytest.approx(0.2)
    optimizer = torch.optim.Adam([parameter], lr=0.05)
    for _ in range(300):
        loss = (torch.cat(conv(real, imag, edges), 1) - expected).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert conv.q_logit is parameter
    assert conv.q.item() == pytest.approx(0.06, abs=1e-3)


@pytest.mark.parametrize(("q", "begins"), [(0.25, 0.245), (0.0, 0.005), (0.1, 0.1)])
def test_a_learned_q_stays_in_range_and_begins_where_it_can_move(q: float, begins: float) -> None:
    conv = make(4, 2, 1, q=q, learn_q=True)
    assert conv.q.item() == pytest.approx(begins)
    nn.init.constant_(conv.q_logit, 99.0)
    assert conv.q.item() == 0.25
    conv.reset_parameters()
    assert conv.q.item() == pytest.approx(begins)
    assert make(4, 2, 1, q=q).q == q


# ComplexReLU --------------------------------------------------------------------------------------


def test_complex_relu_keeps_the_right_half_plane() -> None:
    real = torch.tensor([1.0, 0.0, -1e-9, -2.0, 3.0], requires_grad=True)
    imag = torch.tensor([-5.0, 4.0, 7.0, 1.0, 0.5], requires_grad=True)
    a, b = ComplexReLU()(real, imag)
    assert a.tolist() == [1.0, 0.0, 0.0, 0.0, 3.0]
    assert b.tolist() == [-5.0, 4.0, 0.0, 0.0, 0.5]
    (2 * a + b).sum().backward()
    assert real.grad.tolist() == [2, 2, 0, 0, 2]
    assert imag.grad.tolist() == [1, 1, 0, 0, 1]


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 4), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MagNetConv(4, 0, 1), "must be at least 1, .* got 4 and 0"),
        (lambda: MagNetConv(0, 2, 1), "got 0 and 2"),
        (lambda: MagNetConv(4, 2, 0), "`K` must be at least 1, got 0"),
        (lambda: MagNetConv(4, 2, 1, q=0.3), r"`q` must be in \[0, 0.25\], got 0.3"),
        (lambda: MagNetConv(4, 2, 1, q=-0.1), "got -0.1"),
        (lambda: MagNetConv(4, 2, 1, normalization="rw"), "must be 'sym' or None, got 'rw'"),
        (lambda: MagNetConv(4, 2, 1)(X, X[:2], EDGES), r"got one \[2, 4\]"),
        (lambda: MagNetConv(4, 2, 1)((X, X), X, EDGES), "got one tuple .*no bipartite form"),
        (lambda: MagNetConv(4, 2, 1)(X, X, EDGES, torch.ones(3)), "one row per edge, 2, got 3"),
        (lambda: MagNetConv(4, 2, 1)(X, X, Adjacency.of(EDGES, (3, 4))), "`size`"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
