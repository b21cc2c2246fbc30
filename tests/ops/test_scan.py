"""A scan is a fold of one group after the other; its recurrent cells are torch's own."""

import pytest
import torch
from torch import Tensor, nn

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import segment_scan
from gnnlib.ops._segment_rnn import GRU, LSTM, segment_rnn
from gnnlib.testing import Sample, assert_op

OPS = [torch.ops.gnnlib.segment_rnn.default]


def groups_of(lengths: list[int], seed: int | None = None) -> Adjacency:
    """Groups of so many rows, which come in a random order if there is a seed."""
    ptr = torch.tensor([0, *lengths]).cumsum(0)
    count = int(ptr[-1])
    if seed is None:
        return Adjacency(ptr, torch.arange(count), None, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return Adjacency(ptr, order, order, count)


def oracle(step, x: Tensor, groups: Adjacency, initial: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """Row by row, group by group."""
    ends = []
    for members in groups.col.split(groups.degree.tolist()):
        state = initial[None]
        for row in x[members]:
            state = step(row[None], state)
        ends.append(state[0])
    return torch.stack(ends) if ends else initial.new_zeros(0, *initial.shape)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=10), st.booleans())
def test_a_scan_is_a_fold(lengths: list[int], in_order: bool) -> None:
    groups = groups_of(lengths, None if in_order else 0)
    x = torch.randn(groups.num_edges, 3, dtype=torch.float64)
    start = torch.randn(2, dtype=torch.float64)

    def step(row: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(state * 2 - row[:, :2] + row[:, 2:])

    out = segment_scan(step, x, groups, start)
    assert torch.equal(out, oracle(step, x, groups, start))


def test_a_module_learns_and_states_may_be_tuples() -> None:
    cell, groups = nn.LSTMCell(3, 4, dtype=torch.float64), groups_of([5, 0, 1, 9], 3)
    x = torch.randn(15, 3, dtype=torch.float64, requires_grad=True)
    start = tuple(torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    h, c = segment_scan(cell, x, groups, start)

    def step(row: Tensor, state: Tensor) -> Tensor:
        return torch.cat(cell(row, tuple(state.chunk(2, -1))), -1)

    expected = oracle(step, x, groups, torch.cat(start))
    leaves = [x, *start, *cell.parameters()]
    out = torch.cat([h, c], -1)
    torch.testing.assert_close(out, expected)
    grads = [torch.autograd.grad(o.square().sum(), leaves) for o in (out, expected)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_bad_input() -> None:
    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match="must keep the shape of the state"):
        segment_scan(lambda x, s: torch.cat([x, s], -1), x, torch.tensor([0, 3, 5]))
    with pytest.raises(IndexError, match="must lie in"):
        segment_scan(torch.add, x, torch.tensor([0, 6]))


# -- recurrent cells ----------------------------------------------------------------------------


def rnn_oracle(
    gates: Tensor, ptr: Tensor, perm: Tensor | None, weight: Tensor, bias: Tensor, initial: Tensor,
    kind: int,
) -> Tensor:  # fmt: skip
    """torch's own cells, to whom the gates are rows that an identity projects."""
    order = torch.arange(gates.size(0)) if perm is None else perm
    eye = torch.eye(gates.size(1), dtype=gates.dtype)
    none = gates.new_zeros(gates.size(1))

    def gru(row: Tensor, state: Tensor) -> Tensor:
        return torch.gru_cell(row, state, eye, weight, none, bias)

    def lstm(row: Tensor, state: Tensor) -> Tensor:
        return torch.cat(
            torch.lstm_cell(row, list(state.chunk(2, -1)), eye, weight, none, bias), -1
        )

    groups = Adjacency(ptr, order, perm, gates.size(0))
    if kind == GRU:
        return oracle(gru, gates, groups, initial)
    start = torch.cat([initial, torch.zeros_like(initial)])
    return oracle(lstm, gates, groups, start)[:, : initial.size(0)]


def sample(
    kind: int, lengths: list[int], width: int = 3, dtype: torch.dtype = torch.float32,
    in_order: bool = False,
) -> Sample:  # fmt: skip
    groups = groups_of(lengths, None if in_order else 5)
    num_gates = 3 if kind == GRU else 4
    draw = torch.Generator().manual_seed(0)
    gates, weight, bias, initial = (
        torch.randn(*shape, generator=draw).to(dtype) / 2
        for shape in (
            (groups.num_edges, num_gates * width),
            (num_gates * width, width),
            (num_gates * width,),
            (width,),
        )
    )
    return Sample((gates, groups.rowptr, groups.perm, weight, bias, initial, kind))


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_recurrent_cells(kind: int) -> None:
    samples = [
        sample(kind, [5, 0, 1, 9]),
        sample(kind, [2, 3, 3], width=17, in_order=True),
        sample(kind, [7, 1], width=16, dtype=torch.float64),
        sample(kind, [0, 0], width=2),
        sample(kind, [], width=2),
    ]
    assert_op(segment_rnn, rnn_oracle, samples, differentiable=[0, 3, 4, 5], opcheck=OPS)


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_recurrent_cells_in_half_types(kind: int) -> None:
    samples = [sample(kind, [5, 0, 9], 20, dtype) for dtype in (torch.float16, torch.bfloat16)]
    assert_op(
        segment_rnn, rnn_oracle, samples, differentiable=[0, 3, 4, 5], compile=False,
        rtol=0.05, atol=0.05,
    )  # fmt: skip
