"""`gather_activate`: the same bits whatever else happens, compilers, and wrong calls."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from activate_cases import ALL, PIECE, op, oracle, sample

from gnnlib.ops import gather_activate
from gnnlib.ops._gather_activate import ACTIVATIONS
from gnnlib.testing import assert_op

# The same bits, whatever else happens ---------------------------------------------------------


def results(x_src: Tensor, x_dst: Tensor, edges: Tensor, act: str) -> list[Tensor]:
    weight, gate = torch.linspace(-1, 1, edges.size(1)), torch.linspace(0, 1, x_src.size(0))
    leaves = [t.clone().requires_grad_() for t in (x_src, x_dst, weight, gate)]
    out = op(*leaves[:2], edges, act, *leaves[2:])
    return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.cpu_only("threads")
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_bits_do_not_depend_on_the_number_of_threads(act: str) -> None:
    x_src, x_dst, edges, *_ = sample(40, (900, 700), 9000).args
    edges[1, : 2 * PIECE + 9] = 4
    edges[0, 5000:] = 5
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(results(x_src + 0.1, x_dst, edges, act))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_bits_do_not_depend_on_the_batch(act: str) -> None:
    for width in (3, 70):
        x_src, x_dst, edges, *_ = sample(width, (20, 30), 3000, seed=1).args
        edges[1, : PIECE + 50] = 6
        x_src, x_dst = x_src + 0.1, x_dst * 1.1
        alone = op(x_src, x_dst, edges, act)
        others = sample(width, (7, 8), 777).args
        batch = torch.cat([others[2], edges + torch.tensor([[7], [8]])], 1)
        ends = (torch.cat([others[k], x]) for k, x in enumerate((x_src, x_dst)))
        assert torch.equal(op(*ends, batch, act)[8:], alone)


# Compilers --------------------------------------------------------------------------------------


def test_compiles() -> None:
    samples = [
        sample(3, act="gelu", factors="wg"),
        sample(3),
        sample(3, (7, 9), 20, "elu", factors="g", seed=1),
    ]
    assert_op(op, oracle, samples, differentiable=ALL)


# Wrong calls --------------------------------------------------------------------------------------

X, EDGES = torch.ones(3, 2), torch.tensor([[0, 1], [1, 2]])
META = Adjacency.of(EDGES.to("meta"), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gather_activate(X, X, EDGES, "softplus"),
            ValueError,
            "`act` must be one of identity, relu, .*, got 'softplus'",
        ),
        (
            lambda: gather_activate(X, X, EDGES, "relu", alpha=0.1),
            ValueError,
            "`alpha` belongs to leaky_relu and elu, got 0.1 for 'relu'",
        ),
        (
            lambda: gather_activate(X, X[:2], EDGES),
            ValueError,
            r"`x_dst` must be \[3, 2\], a row per target node as wide as `x_src`, got \[2, 2\]",
        ),
        (lambda: gather_activate(X, X[:, :1], EDGES), ValueError, r"\[3, 2\], .*got \[3, 1\]"),
        (
            lambda: gather_activate(X.view(3, 1, 2), X, EDGES),
            ValueError,
            r"must be a matrix \[N_src, F\], got \[3, 1, 2\] \(use x_src.flatten\(1\)\)",
        ),
        (
            lambda: gather_activate(X, X.double(), EDGES),
            ValueError,
            "share a floating point dtype, got torch.float32 and torch.float64",
        ),
        (
            lambda: gather_activate(X.int(), X.int(), EDGES),
            ValueError,
            "got torch.int32 and torch.int32",
        ),
        (
            lambda: gather_activate(X, X, EDGES, weight=torch.ones(3)),
            ValueError,
            r"`weight` must have one value per edge, 2, got \[3\]",
        ),
        (
            lambda: gather_activate(X, X, EDGES, gate=torch.ones(2)),
            ValueError,
            r"`gate` must have one value per source node, 3, got \[2\]",
        ),
        (lambda: gather_activate(X[:2], X[:2], EDGES), IndexError, r"\[0, 2\), got 2"),
        (
            lambda: gather_activate(X, X, Adjacency.of(EDGES, 4)),
            ValueError,
            "a row per source node, 4, got 3",
        ),
        (lambda: gather_activate(torch.tensor(1.0), X, EDGES), ValueError, "got a scalar"),
        (
            lambda: gather_activate(X, X.to("meta"), EDGES),
            ValueError,
            "`x_dst` must be where the features are, .*, got meta",
        ),
        (lambda: gather_activate(X, X, META), ValueError, "the graph must be where .*meta"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_kernels_check_what_they_are_told() -> None:
    adj = Adjacency.of(EDGES, 3)
    graph = (adj.rowptr, adj.col, adj.perm)
    with pytest.raises(ValueError, match=r"`act` must be in \[0, 7\], got 8"):
        torch.ops.gnnlib.gather_activate(X, X, *graph, None, None, None, None, None, 8, 0.0)
    half = X.half()
    with pytest.raises(ValueError, match="needs float32 or float64"):
        torch.ops.gnnlib.activate_dot(half, half, half, *graph, 0, 0.0)
