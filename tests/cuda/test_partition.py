"""Who does what on a GPU (csrc/cuda/partition.h), compiled for the CPU and held to its promises."""

import ctypes
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="compiles the partition, and there is no g++"
)


@pytest.fixture(scope="module")
def partition(tmp_path_factory: pytest.TempPathFactory) -> Any:
    built = tmp_path_factory.mktemp("partition") / "partition.so"
    folders = [f"-I{ROOT / name}" for name in ("tests/emulator", "csrc/cuda")]
    source = Path(__file__).with_name("partition.cpp")
    subprocess.run(
        ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", *folders, source, "-o", built], check=True
    )
    library = ctypes.CDLL(str(built))
    for name in ("piece_size", "num_places", "place_of", "num_pieces", "row_of"):
        getattr(library, name).restype = ctypes.c_int64
    return library


def of(function: Any, *args: Any, results: int) -> list[int]:
    """What a function writes, given 64-bit numbers and arrays of them."""
    out = (ctypes.c_int64 * results)()
    function(*(long(a) for a in args), out)
    return list(out)


def long(value: Any) -> Any:
    return value.ctypes if isinstance(value, np.ndarray) else ctypes.c_int64(value)


# Short rows, those around a piece's size and its multiples, and hubs.
LENGTHS = st.lists(
    st.one_of(
        st.integers(0, 3), st.integers(510, 515), st.integers(1022, 1027), st.integers(0, 5000)
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, begin=st.integers(0, 1500), after=st.integers(0, 1500))
def test_every_edge_of_a_hub_has_one_piece(
    partition: Any, lengths: list[int], begin: int, after: int
) -> None:
    rowptr = begin + np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    size, rows = partition.piece_size(), len(lengths)
    places = partition.num_places(long(rowptr[-1] + after))
    found = [of(partition.piece_at, rowptr, rows, place, results=3) for place in range(places)]
    pieces = {place: tuple(piece) for place, piece in enumerate(found) if piece[0] >= 0}
    expected = {}
    hubs = []
    for row, (low, high) in enumerate(pairwise(rowptr.tolist())):
        if high - low <= size:
            continue
        hubs.append([row, low, high])
        count = partition.num_pieces(long(low), long(high))
        starts = range(low, high, size)
        assert count == len(starts)
        for k, start in enumerate(starts):
            place = partition.place_of(long(low), long(high), long(k))
            assert place not in expected  # no two pieces share a place
            expected[place] = (row, start, min(start + size, high))
    assert pieces == expected
    # Each hub is finished once.
    buckets = range(places // 2)
    at = [of(partition.hub_at, rowptr, rows, bucket, results=3) for bucket in buckets]
    assert [hub for hub in at if hub[0] >= 0] == hubs


@settings(max_examples=200, deadline=None)
@given(begin=st.integers(0, 10**12), length=st.integers(0, 3000), exponent=st.integers(0, 5))
def test_shares_follow_each_other(partition: Any, begin: int, length: int, exponent: int) -> None:
    parts = 2**exponent
    shares = [
        of(partition.share_of, begin, begin + length, part, parts, results=2)
        for part in range(parts)
    ]
    assert shares[0][0] == begin
    assert shares[-1][1] == begin + length
    assert all(a[1] == b[0] for a, b in pairwise(shares))
    assert all(0 <= high - low <= -(-length // parts) for low, high in shares)


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 10**6), each=st.sampled_from([1, 2, 4, 8]))
def test_lanes_cover_the_width(partition: Any, width: int, each: int) -> None:
    columns, tiles, groups = of(partition.lanes_for, width, each, results=3)
    assert columns in (1, 2, 4, 8, 16, 32)
    assert columns * groups == 32
    assert columns * tiles * each >= width
    assert columns * (tiles - 1) * each < width  # no tile without a column
    assert tiles == 1 or columns == 32


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=30), begin=st.integers(0, 9))
def test_finds_the_row_of_an_edge(partition: Any, lengths: list[int], begin: int) -> None:
    rowptr = begin + np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    for row, (low, high) in enumerate(pairwise(rowptr.tolist())):
        for e in range(low, high):
            assert partition.row_of(rowptr.ctypes, long(len(lengths)), long(e)) == row
