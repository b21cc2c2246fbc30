"""More than 2**31 elements: offsets are 64-bit throughout. Each test needs about 5 GiB."""

import pytest
import torch

from gnnlib import Adjacency, ops

HUGE = 2**31 + 2**10
NODES = HUGE // 128

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes() -> torch.Tensor:
    x = torch.zeros(NODES, 128, dtype=torch.int8)
    x[-1], x[-2] = 5, 7
    return x


def test_neighbours(nodes: torch.Tensor) -> None:
    edge_index = torch.tensor([[0, NODES - 1, NODES - 2], [0, 1, 1]])
    adj = Adjacency.of(edge_index, (NODES, 2))
    assert ops.gather_reduce(nodes, adj).tolist() == [[0] * 128, [12] * 128]
    assert ops.gather_reduce(nodes, adj, reduce="max").tolist() == [[0] * 128, [7] * 128]
    back = Adjacency.of(edge_index.flip(0), (2, NODES))
    out = ops.gather_reduce(torch.ones(2, 128, dtype=torch.int8), back)
    assert out[-2:].tolist() == [[1] * 128] * 2
    assert int(out[1:-2].count_nonzero()) == 0


def test_a_segment_and_its_arg(nodes: torch.Tensor) -> None:
    src = nodes.flatten()
    indptr = torch.tensor([0, HUGE - 1, HUGE])
    out, arg = ops.segment_max_csr(src, indptr)
    assert out.tolist() == [7, 5]
    assert arg.tolist() == [HUGE - 256, HUGE - 1]
    assert ops.segment_csr(src[-200:], torch.tensor([0, 200])).tolist() == [
        120
    ]  # 72 * 7 + 128 * 5, in int8


def test_many_groups(nodes: torch.Tensor) -> None:
    index = torch.tensor([NODES - 1, 0, NODES - 1])
    out = ops.scatter_sum(nodes[-3:], index, dim=0, dim_size=NODES)
    assert out[-1].tolist() == [5] * 128
    assert out[0].tolist() == [7] * 128
    assert int(out[1:-1].count_nonzero()) == 0


def test_expansion() -> None:
    indptr = torch.tensor([0, HUGE - 2, HUGE])
    out = ops.gather_csr(torch.tensor([1, 2], dtype=torch.int8), indptr)
    assert out[-3:].tolist() == [1, 2, 2]
    assert out.numel() == HUGE
