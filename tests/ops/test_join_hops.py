"""Several hops in one sum, against reducing them one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib import Adjacency
from gnnlib.ops import _join_hops as module
from gnnlib.ops import gather_reduce, join_hops, k_hop


def dense(pairs, hop, norm, loops):
    """The matrix of one hop: which nodes are heard, and how loud."""
    matrix = torch.zeros(pairs.num_nodes, pairs.num_nodes, dtype=torch.float64)
    source, target = pairs.pairs[:, pairs.distance == hop]
    matrix[target, source] = 1
    if loops:
        matrix += torch.eye(pairs.num_nodes)
    degree = matrix.sum(1, keepdim=True)
    if norm == "mean":
        return matrix / degree.clamp(min=1)
    if norm == "sym":
        # A node that nobody reaches at this distance may be heard at it: there it weighs nothing.
        scale = torch.where(degree > 0, degree.pow(-0.5), 0)
        return matrix * scale * scale.T
    return matrix


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.data(),
    st.integers(0, 8),
    st.integers(0, 25),
    st.integers(1, 5),
    st.sampled_from(["none", "mean", "sym"]),
    st.booleans(),
)
def test_hop_by_hop(data, num_nodes, num_edges, num_hops, norm, loops):
    size = (2, num_edges if num_nodes else 0)
    edge_index = torch.randint(max(num_nodes, 1), size, generator=torch.Generator().manual_seed(1))
    pairs = k_hop(Adjacency.of(edge_index, num_nodes), num_hops)
    first = data.draw(st.integers(1, num_hops))
    count = data.draw(st.integers(1, num_hops - first + 1))
    slots = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    states = torch.randn(max(slots) + 1, num_nodes, 2, dtype=torch.float64)
    options = {"norm": norm, "loops": loops, "dtype": torch.float64}
    adj, weight = join_hops(pairs, slots, first, **options)
    found = gather_reduce(states.flatten(0, 1), adj, weight)
    wanted = sum(dense(pairs, first + k, norm, loops) @ states[s] for k, s in enumerate(slots))
    torch.testing.assert_close(found, wanted)
    number = module._NUMBER[norm]
    reference = module._reference(
        pairs.hop_ptr, pairs.col, num_hops, first, torch.tensor(slots), number, loops
    )
    assert torch.equal(adj.rowptr, reference[0])
    assert torch.equal(adj.col, reference[1])
    if weight is not None:
        torch.testing.assert_close(weight, reference[2])
    assert join_hops(pairs, slots, first, **options)[0] is adj


def test_refused():
    pairs = k_hop(torch.tensor([[0, 1], [1, 2]]), 2)
    with pytest.raises(ValueError, match="must name a state"):
        join_hops(pairs, ())
    with pytest.raises(ValueError, match=r"must lie in \[1, 2\], got 2 from `first`=2"):
        join_hops(pairs, (0, 0), 2)
    with pytest.raises(ValueError, match="`norm` must be one of"):
        join_hops(pairs, (0,), norm="rows")
    with pytest.raises(ValueError, match="`norm` must be 0, 1 or 2"):
        torch.ops.gnnlib.join_hops(pairs.hop_ptr, pairs.col, 2, 1, torch.tensor([0]), 3, False)
    with pytest.raises(ValueError, match=r"must lie in \[1, 2\]"):
        torch.ops.gnnlib.join_hops(pairs.hop_ptr, pairs.col, 2, 2, torch.tensor([0, 1]), 0, False)


def test_opcheck():
    pairs = k_hop(torch.tensor([[0, 1, 2], [2, 2, 3]]), 2)
    for norm in (0, 1, 2):
        arguments = (pairs.hop_ptr, pairs.col, 2, 1, torch.tensor([0, 1]), norm, True)
        torch.library.opcheck(torch.ops.gnnlib.join_hops.default, arguments)
