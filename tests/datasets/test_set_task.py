"""Functions of multisets, against Python's own on each set."""

from collections import Counter
from functools import reduce
from operator import xor
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.loader import DataLoader

from gnnlib.datasets import SecondMinimum, SetTask
from gnnlib.datasets._set_task import SetFunction

FUNCTIONS = {
    "minimum": lambda numbers, _: min(numbers),
    "second_minimum": lambda numbers, _: sorted(numbers)[1],
    "maximum": lambda numbers, _: max(numbers),
    "parity": lambda numbers, _: reduce(xor, numbers),
    "sum": lambda numbers, bits: sum(numbers) % 2**bits,
}
SPLITS = ("train", "val", "test")


def number(row: torch.Tensor) -> int:
    """Read a row of bits as one reads a binary number."""
    assert set(row.tolist()) <= {0.0, 1.0}
    return int("".join(str(int(bit)) for bit in row), 2)


def numbers(rows: torch.Tensor) -> list[int]:
    return [number(row) for row in rows]


def test_all_functions_are_tested() -> None:
    assert set(FUNCTIONS) == set(get_args(SetFunction))


@settings(deadline=None, max_examples=30)
@given(
    function=st.sampled_from(sorted(FUNCTIONS)),
    split=st.sampled_from(SPLITS),
    num_sets=st.integers(1, 12),
    bits=st.integers(1, 32),
    low=st.integers(2, 6),
    more=st.integers(0, 9),
    seed=st.integers(-(2**70), 2**70),
)
def test_labels(function, split, num_sets, bits, low, more, seed) -> None:
    sets = SetTask(function, split, num_sets, bits, (low, low + more), seed)
    assert len(sets) == num_sets
    for data in sets:
        assert low <= len(data.x) <= low + more
        assert data.x.shape == (len(data.x), bits)
        assert data.y.shape == (1, bits)
        assert data.x.dtype == data.y.dtype == torch.float32
        assert number(data.y[0]) == FUNCTIONS[function](numbers(data.x), bits)


def test_equal_numbers_count_as_often_as_they_occur() -> None:
    # Two numbers of one bit: in half of the pairs the smallest is there twice.
    sets = SecondMinimum(num_sets=200, bits=1, sizes=(2, 2))
    doubled = [data for data in sets if data.x[0] == data.x[1]]
    assert 60 < len(doubled) < 140
    assert all(torch.equal(data.y[0], data.x[0]) for data in doubled)


@pytest.mark.parametrize("function", sorted(set(FUNCTIONS) - {"second_minimum"}))
def test_sets_of_one(function: str) -> None:
    for data in SetTask(function, num_sets=20, sizes=(1, 1)):
        assert torch.equal(data.x, data.y)


def test_default_sizes() -> None:
    sets = SecondMinimum()
    assert len(sets) == 65_536
    sizes = Counter(sets.slices["x"].diff().tolist())
    assert set(sizes) == set(range(2, 17))
    # Five standard deviations; the seed is fixed.
    expected = len(sets) / 15
    assert all(abs(count - expected) < 5 * expected**0.5 for count in sizes.values())
    assert abs(sets.x.mean() - 0.5) < 0.005
    for split in ("val", "test"):
        sets = SecondMinimum(split)
        assert len(sets) == 1024
        assert set(sets.slices["x"].diff().tolist()) == {32}


def test_the_second_minimum_is_a_set_task() -> None:
    one, two = SecondMinimum("val", 5, seed=3), SetTask("second_minimum", "val", 5, seed=3)
    assert repr(one) == "SecondMinimum(5)"
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.y, two.y)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
def test_the_seed_decides_the_sets_and_the_function_does_not(seed: int, split: str) -> None:
    sets = [SetTask(function, split, 5, seed=seed) for function in sorted(FUNCTIONS)]
    assert all(torch.equal(sets[0].x, other.x) for other in sets)
    assert not torch.equal(sets[0].x[:8], SetTask("sum", split, 5, seed=seed + 1).x[:8])


def test_splits_share_no_draws() -> None:
    drawn = [SetTask("sum", s, 5, sizes=(8, 8), seed=seed).x for seed in range(4) for s in SPLITS]
    for i, a in enumerate(drawn):
        assert not any(torch.equal(a, b) for b in drawn[:i])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    SecondMinimum(num_sets=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_a_data_set_as_pyg_knows_them() -> None:
    sets = SecondMinimum("val", 7, transform=lambda data: data.update({"seen": True}))
    assert sets[3].seen
    (batch,) = DataLoader(SecondMinimum("val", 7), batch_size=7)
    assert batch.x.shape == (7 * 32, 8)
    assert batch.y.shape == (7, 8)
    assert batch.batch.bincount().tolist() == [32] * 7


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"function must be one of 'minimum', .*, got 'median'"):
        SetTask("median")
    with pytest.raises(ValueError, match="split must be 'train', 'val' or 'test', got 'valid'"):
        SecondMinimum("valid")
    with pytest.raises(ValueError, match="num_sets must be at least 1, got 0"):
        SecondMinimum(num_sets=0)
    for bits in (0, 33):
        with pytest.raises(ValueError, match=f"bits must be between 1 and 32, got {bits}"):
            SecondMinimum(bits=bits)
    with pytest.raises(ValueError, match=r"smallest of at least 2 and a largest, got \(1, 3\)"):
        SecondMinimum(sizes=(1, 3))
    for sizes in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="smallest of at least 1 and a largest"):
            SetTask("parity", sizes=sizes)
