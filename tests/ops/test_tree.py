"""Trees are those of a plain recursion, group by group; their GRU is torch's own cell."""

import pytest
import torch
from torch import Tensor, nn

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import _tree, tree_plan, tree_reduce
from gnnlib.ops._gru import gru_cell, gru_pair, gru_pair_grad
from gnnlib.ops._tree_gru import tree_gru
from gnnlib.testing import Sample, assert_op

LENGTHS = st.lists(st.integers(0, 40), max_size=12)
OPS = [torch.ops.gnnlib.tree_gru.default]


def groups_of(lengths: list[int], seed: int | None = None) -> Adjacency:
    """Groups of so many rows, which come in a random order if there is a seed."""
    ptr = torch.tensor([0, *lengths]).cumsum(0)
    count = int(ptr[-1])
    if seed is None:
        return Adjacency(ptr, torch.arange(count), None, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return Adjacency(ptr, order, order, count)


def oracle(op, x: Tensor, groups: Adjacency, empty: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """The tree of one group after the other, pair by pair."""

    def reduced(rows: list[Tensor]) -> Tensor:
        if len(rows) == 1:
            return rows[0]
        pairs = [op(a[None], b[None])[0] for a, b in zip(rows[::2], rows[1::2], strict=False)]
        return reduced(pairs + rows[len(rows) // 2 * 2 :])

    members = groups.col.split(groups.degree.tolist())
    rows = [reduced(list(x[m])) if len(m) else empty for m in members]
    return torch.stack(rows) if rows else x[:0]


def concatenated(a: Tensor, b: Tensor) -> Tensor:
    """Associates no more than it commutes."""
    return torch.tanh(2 * a - b + a * b)


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.booleans())
def test_a_tree_is_a_recursion(lengths: list[int], in_order: bool) -> None:
    groups = groups_of([*lengths, 1], None if in_order else 0)
    x = torch.randn(groups.num_edges, 3, dtype=torch.float64)
    expected = oracle(concatenated, x, groups, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(tree_reduce(concatenated, x, groups), expected)


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.booleans())
def test_the_plan_meets_every_row_once(lengths: list[int], in_order: bool) -> None:
    groups = groups_of(lengths, None if in_order else 1)
    plan = tree_plan(groups)
    left = [frozenset([row]) for row in range(groups.num_edges)]
    found = {}
    for level in plan:
        met = [left[a] | left[b] for a, b in level.pairs.view(-1, 2).tolist()]
        places = [*level.pairs.tolist(), *level.carried.tolist(), *level.finished.tolist()]
        assert sorted(places) == list(range(len(left)))
        for place, group in zip(level.finished.tolist(), level.group.tolist(), strict=True):
            found[group] = left[place]
        left = met + [left[place] for place in level.carried.tolist()]
    members = groups.col.split(groups.degree.tolist())
    assert found == {i: frozenset(m.tolist()) for i, m in enumerate(members) if len(m)}
    assert plan.num_pairs == sum(max(n - 1, 0) for n in lengths)
    assert len(plan.rounds) == (max((n - 1).bit_length() for n in lengths if n) + 1 if found else 0)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 3), st.integers(0, 3))
def test_torch_plans_as_the_kernel_does(lengths: list[int], before: int, behind: int) -> None:
    ptr = torch.tensor([before, *lengths]).cumsum(0)
    args = (ptr, int(ptr[-1]) + behind)
    for ours, kernel in zip(_tree._reference(*args), _tree._op(*args), strict=True):
        torch.testing.assert_close(ours, kernel, rtol=0, atol=0)


def test_a_plan_is_found_again_and_not_another_ones() -> None:
    groups = groups_of([3, 4], 0)
    assert tree_plan(groups) is tree_plan(groups)
    other = Adjacency(groups.rowptr, groups.col.flip(0), groups.col.flip(0), 7, check=False)
    assert tree_plan(other) is not tree_plan(groups)


def test_a_tree_of_a_module_learns() -> None:
    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(6, 3, dtype=torch.float64)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.tanh(self.lin(torch.cat([a, b], -1)))

    op, groups = Mix(), groups_of([5, 0, 1, 9], 3)
    x = torch.randn(15, 3, dtype=torch.float64, requires_grad=True)
    empty = torch.randn(3, dtype=torch.float64, requires_grad=True)
    leaves = [x, empty, *op.parameters()]
    out, expected = tree_reduce(op, x, groups, empty), oracle(op, x, groups, empty)
    torch.testing.assert_close(out, expected)
    grads = [torch.autograd.grad(o.square().sum(), leaves) for o in (out, expected)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_further_dimensions_ride_along() -> None:
    x, ptr = torch.randn(6, 2, 3), torch.tensor([0, 4, 6])
    out = tree_reduce(torch.add, x, ptr)
    torch.testing.assert_close(out, torch.stack([x[:4].sum(0), x[4:].sum(0)]))


def test_a_hub_of_a_million_rows() -> None:
    x = torch.ones(1_000_003, 1)
    ptr = torch.tensor([0, 1, 1_000_002, 1_000_003])
    assert tree_reduce(torch.add, x, ptr).flatten().tolist() == [1, 1_000_001, 1]


def test_bad_input() -> None:
    x, ptr = torch.randn(5, 2), torch.tensor([0, 3, 5])
    with pytest.raises(ValueError, match="must keep the shape"):
        tree_reduce(lambda a, b: torch.cat([a, b], -1), x, ptr)
    with pytest.raises(IndexError, match="must lie in"):
        tree_reduce(torch.add, x, torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="must not decrease"):
        tree_reduce(torch.add, x, torch.tensor([0, 4, 2]))
    with pytest.raises(ValueError, match=r"\[N \+ 1\] integers or an Adjacency"):
        tree_plan(torch.tensor([[0, 3]]))


# -- the gated recurrent unit -------------------------------------------------------------------


def gru_oracle(x: Tensor, ptr: Tensor, perm: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """torch's own cell, both ways round, in the tree above."""
    width = x.size(1)
    (w_ih, w_hh), (b_ih, b_hh) = weight.chunk(2), bias.chunk(2)

    def op(a: Tensor, b: Tensor) -> Tensor:
        there = torch.gru_cell(a, b, w_ih, w_hh, b_ih, b_hh)
        return (there + torch.gru_cell(b, a, w_ih, w_hh, b_ih, b_hh)) / 2

    order = torch.arange(x.size(0)) if perm is None else perm
    groups = Adjacency(ptr, order, perm, x.size(0))
    return oracle(op, x, groups, x.new_zeros(width))


def gru_sample(
    lengths: list[int], width: int = 3, dtype: torch.dtype = torch.float32, in_order: bool = False
) -> Sample:
    groups = groups_of(lengths, None if in_order else 5)
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, generator=draw).to(dtype)
        for shape in ((groups.num_edges, width), (6 * width, width), (6 * width,))
    )
    return Sample((x, groups.rowptr, groups.perm, weight * 0.3, bias * 0.3))


def test_the_tree_of_a_gru() -> None:
    samples = [
        gru_sample([5, 0, 1, 9]),
        gru_sample([2, 3], width=17, in_order=True),
        gru_sample([7, 1], width=16, dtype=torch.float64),
        gru_sample([0, 0], width=2),
        gru_sample([], width=2),
    ]
    assert_op(tree_gru, gru_oracle, samples, differentiable=[0, 3, 4], opcheck=OPS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_worked_on_in_float(dtype: torch.dtype) -> None:
    args = gru_sample([5, 0, 9], 20, dtype).args
    out = tree_gru(*args)
    wide = gru_oracle(*(a.double() if a.is_floating_point() else a for a in args))
    assert out.dtype == dtype
    torch.testing.assert_close(out, wide.to(dtype))


def test_many_pairs_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    args = [a.double() if a.is_floating_point() else a for a in gru_sample([50, 3, 41], 8).args]
    whole = tree_gru(*args)
    monkeypatch.setattr("gnnlib.ops._tree_gru._GATES", 7 * 2 * 48)
    torch.testing.assert_close(tree_gru(*args), whole)


@pytest.mark.parametrize("width", [1, 3, 16, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cell_is_torchs(width: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(width)
    gates, state = (torch.randn(6, 3 * width, generator=draw).to(dtype) * 3 for _ in range(2))
    h = torch.randn(6, width, generator=draw).to(dtype)
    r, z = (gates + state)[:, : 2 * width].sigmoid().chunk(2, 1)
    n = (gates[:, 2 * width :] + r * state[:, 2 * width :]).tanh()
    torch.testing.assert_close(gru_cell(gates, state, h), (1 - z) * n + z * h)


def test_gates_that_saturate() -> None:
    h = torch.tensor([[0.5, -0.5, 2.0]])
    for value in (1e4, -1e4, float("inf"), -float("inf")):
        gates = torch.full((1, 9), value)
        out = gru_cell(gates, torch.zeros(1, 9), h)
        expected = h if value > 0 else torch.full_like(h, -1.0)  # z is 1, or 0 and n is -1
        torch.testing.assert_close(out, expected)
    assert gru_cell(torch.full((1, 9), float("nan")), torch.zeros(1, 9), h).isnan().all()


def test_pairs_refuse_an_odd_row() -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"pairs of rows|shape"):
        gru_pair(torch.randn(3, 12), torch.randn(12), torch.randn(3, 2))


def test_pairs_refuse_a_gradient_of_another_width() -> None:
    h, gates, bias = torch.randn(400, 8), torch.randn(400, 48), torch.randn(48)
    with pytest.raises((ValueError, RuntimeError), match=r"columns of `h`|size"):
        gru_pair_grad(torch.randn(1600, 1), gates, bias, h)
