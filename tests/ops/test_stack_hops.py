"""Several hops over a table of states, against reading them hop by hop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib import Adjacency
from gnnlib.ops import _stack_hops as module
from gnnlib.ops import gather_reduce, k_hop, stack_hops


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data(), st.integers(0, 8), st.integers(0, 25), st.integers(1, 5))
def test_hop_by_hop(data, num_nodes, num_edges, num_hops):
    size = (2, num_edges if num_nodes else 0)
    edge_index = torch.randint(max(num_nodes, 1), size, generator=torch.Generator().manual_seed(1))
    pairs = k_hop(Adjacency.of(edge_index, num_nodes), num_hops)
    first = data.draw(st.integers(1, num_hops))
    count = data.draw(st.integers(1, num_hops - first + 1))
    slots = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    states = torch.randn(max(slots) + 1, num_nodes, 2)
    adj = stack_hops(pairs, slots, first)
    found = gather_reduce(states.flatten(0, 1), adj).view(num_nodes, count, 2)
    for k, slot in enumerate(slots):
        wanted = gather_reduce(states[slot], pairs.hop(first + k))
        torch.testing.assert_close(found[:, k], wanted)
    slot = torch.tensor(slots)
    reference = module._reference(pairs.hop_ptr, pairs.col, num_hops, first, slot)
    assert torch.equal(adj.rowptr, reference[0])
    assert torch.equal(adj.col, reference[1])
    assert stack_hops(pairs, slots, first) is adj


def test_refused():
    pairs = k_hop(torch.tensor([[0, 1], [1, 2]]), 2)
    for slots, first, rule in (
        ((), 1, "must name a state"),
        ((0, -1), 1, "must name a state"),
        ((0, 0), 2, r"must lie in \[1, 2\], got 2 from `first`=2"),
        ((0,), 0, r"must lie in \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=rule):
            stack_hops(pairs, slots, first)
    with pytest.raises(ValueError, match=r"must lie in \[1, 2\]"):
        torch.ops.gnnlib.stack_hops(pairs.hop_ptr, pairs.col, 2, 2, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="must have 3 rows a node"):
        torch.ops.gnnlib.stack_hops(pairs.hop_ptr[:-2], pairs.col, 3, 1, torch.tensor([0]))
