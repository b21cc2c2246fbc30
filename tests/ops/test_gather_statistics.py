"""`gather_statistics` against its definition, message by message."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnlib import Adjacency
from gnnlib.ops import gather_reduce, gather_statistics
from gnnlib.testing import Sample, assert_op

ALL = ("sum", "mean", "min", "max", "var", "std", "count")
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NAN, INF = float("nan"), float("inf")
QUICK = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def op(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    statistics: Any = ALL,
    weight: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, ...]:
    return gather_statistics(x, Adjacency.of(edge_index, size), statistics, weight, gate)


def oracle(
    x: Tensor,
    edge_index: Tensor,
    size: tuple[int, int],
    statistics: Any = ALL,
    weight: Tensor | None = None,
    gate: Tensor | None = None,
) -> tuple[Tensor, ...]:
    src, dst = edge_index
    found: dict[str, list[Tensor]] = {name: [] for name in ALL}
    for i in range(size[1]):
        edges = (dst == i).nonzero().flatten()
        if gate is not None:
            edges = edges[gate[src[edges]] != 0]
        m = x[src[edges]]
        factor = x.new_ones(edges.numel())
        if weight is not None:
            factor = factor * weight[edges]
        if gate is not None:
            factor = factor * gate[src[edges]]
        m = m * factor.view(-1, *[1] * (m.dim() - 1))
        zero = m.sum(0)
        n = edges.numel()
        divisor = n if gate is None else gate[src[edges]].sum()
        var = ((m - zero / max(n, 1)) ** 2).sum(0) / max(n, 1)
        constant = var == 0
        values = {
            "sum": zero,
            "mean": zero / divisor if n else zero,
            "min": tied(m, m.detach().amin(0)) if n else zero,
            "max": tied(m, m.detach().amax(0)) if n else zero,
            "var": var,
            "std": torch.where(constant, 0, torch.where(constant, 1, var).sqrt()),
            "count": torch.tensor(n),
        }
        for name, value in values.items():
            found[name].append(value)
    empty = {name: x.new_zeros(0, *x.shape[1:]) for name in ALL}
    empty["count"] = torch.zeros(0, dtype=torch.long)
    return tuple(torch.stack(found[s]) if found[s] else empty[s] for s in statistics)


def tied(m: Tensor, best: Tensor) -> Tensor:
    won = (m == best) | (m.isnan() & best.isnan())
    return torch.where(won, m, 0).sum(0) / won.sum(0)


def numbers(draw: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randint(-8, 9, shape, generator=draw) / 4).to(dtype)


def edges_of(draw: torch.Generator, num_src: int, num_dst: int, num_edges: int) -> Tensor:
    ends = (torch.randint(n, (num_edges,), generator=draw) for n in (num_src, num_dst))
    return torch.stack(list(ends))


@pytest.mark.parametrize("statistics", [ALL, ("std",), ("min", "max"), ("mean",), ("max", "sum")])
def test_every_width_and_float(statistics: tuple[str, ...]) -> None:
    draw, samples = torch.Generator().manual_seed(0), []
    edges = edges_of(draw, 6, 7, 30)
    for width, dtype in product([1, 3, 16, 19, 130], FLOATS):
        x = numbers(draw, 6, width, dtype=dtype)
        weight = numbers(draw, 30, dtype=dtype)
        samples += [Sample((x, edges, (6, 7), statistics, w), smooth=False) for w in (None, weight)]
    # Roots and quotients are rounded in the type of the result.
    assert_op(op, oracle, samples, differentiable=["x"], compile=False, rtol=2e-2, atol=2e-2)
    wide = [s for s in samples if s.args[0].dtype is torch.float64]
    assert_op(op, oracle, wide, differentiable=["x"], compile=False)


@pytest.mark.parametrize("ordered", [True, False])
def test_laws(ordered: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    edges = edges_of(draw, 8, 6, 40)
    if ordered:
        edges = edges[:, edges[1].argsort(stable=True)]
    x = torch.randn(8, 17, generator=draw, dtype=torch.float64)
    weight = torch.rand(40, generator=draw, dtype=torch.float64) + 0.5
    samples = [
        Sample((x, edges, (8, 6)), {"statistics": statistics, "weight": w})
        for statistics in (ALL, ("var",), ("min", "std"))
        for w in (None, weight)
    ]
    assert_op(
        op,
        oracle,
        samples,
        differentiable=["x", "weight"],
        opcheck=[torch.ops.gnnlib.gather_statistics.default],
    )


def test_sum_and_mean_have_a_second_derivative() -> None:
    draw = torch.Generator().manual_seed(2)
    edges = edges_of(draw, 5, 4, 12)
    x = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    weight = torch.rand(12, generator=draw, dtype=torch.float64)
    sample = Sample((x, edges, (5, 4)), {"statistics": ("sum", "mean"), "weight": weight})
    assert_op(op, oracle, [sample], differentiable=["x", "weight"], double_backward=True)
    var = op(x.requires_grad_(), edges, (5, 4), ("var",))[0]
    (grad,) = torch.autograd.grad(var.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad.sum().backward()


def test_gates() -> None:
    draw = torch.Generator().manual_seed(3)
    edges = edges_of(draw, 6, 5, 30)
    x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    x[4] = NAN
    gate = torch.tensor([1.0, 0.5, 0.0, 0.25, 0.0, 1.0], dtype=torch.float64)
    weight = torch.rand(30, generator=draw, dtype=torch.float64)
    for w in (None, weight):
        sample = Sample((x, edges, (6, 5)), {"gate": gate, "weight": w}, smooth=False)
        assert_op(op, oracle, [sample], differentiable=["x"], compile=False)
    # An open gate's gradient is that of its messages.
    x[4] = 1.0
    gate = torch.rand(6, generator=draw, dtype=torch.float64) + 0.2
    sample = Sample((x, edges, (6, 5)), {"gate": gate, "weight": weight})
    assert_op(op, oracle, [sample], differentiable=["x", "gate", "weight"], compile=False)


def test_a_closed_gate_learns_through_sum_and_mean_as_gather_reduce_does() -> None:
    draw = torch.Generator().manual_seed(4)
    edges = edges_of(draw, 6, 5, 30)
    x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    gate = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    for reduce in ("sum", "mean"):
        grads = []
        for function in (
            lambda g, r=reduce: gather_reduce(x, Adjacency.of(edges, (6, 5)), reduce=r, gate=g),
            lambda g, r=reduce: op(x, edges, (6, 5), (r,), gate=g)[0],
        ):
            leaf = gate.clone().requires_grad_()
            function(leaf).square().sum().backward()
            assert leaf.grad is not None
            grads.append(leaf.grad)
        torch.testing.assert_close(*grads)
        assert grads[0][gate == 0].abs().min() > 0


def test_a_common_offset_costs_no_precision() -> None:
    draw = torch.Generator().manual_seed(5)
    edges = edges_of(draw, 50, 3, 400)
    x = torch.randn(50, 20, generator=draw)
    far = (x.double() + 4096).float()
    x = (far.double() - 4096).float()
    var, std = op(far, edges, (50, 3), ("var", "std"))
    torch.testing.assert_close(var, oracle(x.double(), edges, (50, 3), ("var",))[0].float())
    torch.testing.assert_close(std * std, var)


@pytest.mark.parametrize("width", [1, 5, 40])
def test_a_hub(width: int) -> None:
    draw = torch.Generator().manual_seed(6)
    edges = edges_of(draw, 300, 4, 9000)
    edges[1, :7000] = 2
    x = torch.randn(300, width, generator=draw, dtype=torch.float64)
    gate = (torch.rand(300, generator=draw) < 0.7).double()
    weight = torch.rand(9000, generator=draw, dtype=torch.float64)
    samples = [
        Sample((x, edges, (300, 4)), {"gate": g, "weight": w}, smooth=False)
        for g, w in product((None, gate), (None, weight))
    ]
    assert_op(op, oracle, samples, differentiable=["x"], compile=False)


def test_nan_and_infinities() -> None:
    edges = torch.tensor([[0, 1, 1, 0, 2, 1, 3, 1], [0, 0, 1, 1, 2, 2, 3, 3]])
    for width in (1, 17):
        x = torch.tensor([[INF], [1.0], [-INF], [NAN]]).expand(4, width)
        total, mean, low, high, var, _, count = op(x, edges, (4, 4))
        assert total[:, 0].tolist()[:3] == [INF, INF, -INF]
        assert mean[:, 0].tolist()[:3] == [INF, INF, -INF]
        assert low[:, 0].tolist()[:3] == [1, 1, -INF]
        assert high[:, 0].tolist()[:3] == [INF, INF, 1]
        assert var.isnan().all()
        assert all(t[3].isnan().all() for t in (total, mean, low, high, var))
        assert count.tolist() == [2, 2, 2, 2]


@QUICK
@given(st.data())
def test_any_graph(data: Any) -> None:
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    num_src, num_dst = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 6))
    num_edges = data.draw(st.integers(0, 30)) if num_dst else 0
    shape = (num_src, *data.draw(st.lists(st.sampled_from([0, 1, 2, 9, 17]), max_size=2)))
    edges = edges_of(draw, num_src, max(num_dst, 1), num_edges)
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    gate = numbers(draw, num_src, dtype=torch.float64).abs()
    weight = numbers(draw, num_edges, dtype=torch.float64)
    chosen = tuple(data.draw(st.lists(st.sampled_from(ALL), max_size=4)))
    sample = Sample(
        (x, edges, (num_src, num_dst), chosen),
        {
            "weight": data.draw(st.sampled_from([None, weight])),
            "gate": data.draw(st.sampled_from([None, gate])),
        },
        smooth=False,
    )
    wanted = ["x"] if set(chosen) - {"count"} else []
    assert_op(op, oracle, [sample], differentiable=wanted, compile=False)


def test_a_wrong_call_says_what_to_do() -> None:
    x, edges = torch.ones(2, 1), torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"`statistics` must be a list of sum, .*, got 'median'"):
        gather_statistics(x, edges, ("mean", "median"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be a list of .*, got 'mean'"):
        gather_statistics(x, edges, "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"floating point, got torch.int64"):
        gather_statistics(x.long(), edges)
    with pytest.raises(ValueError, match=r"`weight` must have one value per edge, 2, got"):
        gather_statistics(x, edges, weight=torch.ones(3))
    with pytest.raises(IndexError, match=r"must hold target nodes in"):
        gather_statistics(x, edges + 1)
