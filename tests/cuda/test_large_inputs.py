"""More than 2**31 values on a GPU: offsets are 64-bit throughout."""

import pytest
import torch

from gnnlib import Adjacency, ops

NODES, WIDTH = 2**24 + 8, 128  # 2**31 + 2**10 values

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(gpu: torch.device) -> torch.Tensor:
    free, _ = torch.cuda.mem_get_info(gpu)
    if free < 24 * 2**30:
        pytest.skip(f"needs 24 GiB of free memory on the GPU, found {free / 2**30:.0f}")
    x = torch.zeros(NODES, WIDTH, dtype=torch.float16, device=gpu)
    x[-1], x[-2] = 5, 7
    return x


def test_neighbours(nodes: torch.Tensor) -> None:
    edge_index = torch.tensor([[0, NODES - 1, NODES - 2], [0, 1, 1]], device=nodes.device)
    adj = Adjacency.of(edge_index, (NODES, 2))
    for reduce, expected in (("sum", 12), ("max", 7), ("mul", 35)):
        out = ops.gather_reduce(nodes, adj, reduce=reduce)
        assert out.tolist() == [[0] * WIDTH, [expected] * WIDTH]
    back = Adjacency.of(edge_index.flip(0), (2, NODES))
    out = ops.gather_reduce(nodes.new_ones(2, WIDTH), back)
    assert out[-2:].tolist() == [[1] * WIDTH] * 2
    assert int(out[1:-2].count_nonzero()) == 0


def test_the_gradient_of_neighbours(nodes: torch.Tensor) -> None:
    edge_index = torch.tensor([[0, NODES - 1, NODES - 2], [0, 1, 1]], device=nodes.device)
    nodes.requires_grad_()
    ops.gather_reduce(nodes, Adjacency.of(edge_index, (NODES, 2)), reduce="max").sum().backward()
    assert nodes.grad is not None
    assert nodes.grad[-2:].tolist() == [[1] * WIDTH, [0] * WIDTH]
    assert int(nodes.grad[1:-2].count_nonzero()) == 0


def test_segments(nodes: torch.Tensor) -> None:
    indptr = torch.tensor([0, NODES - 1, NODES], device=nodes.device)
    out, arg = ops.segment_max_csr(nodes, indptr)
    assert out.tolist() == [[7] * WIDTH, [5] * WIDTH]
    assert arg.tolist() == [[NODES - 2] * WIDTH, [NODES - 1] * WIDTH]


def test_groups(nodes: torch.Tensor) -> None:
    index = torch.tensor([NODES - 1, 0, NODES - 1], device=nodes.device)
    out = ops.scatter_sum(nodes[-3:], index, dim=0, dim_size=NODES)
    assert out[-1].tolist() == [5] * WIDTH
    assert out[0].tolist() == [7] * WIDTH
    assert int(out[1:-1].count_nonzero()) == 0
