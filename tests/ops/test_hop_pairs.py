"""Pairs by distance are the same from every side, and wrong ones are refused."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from gnnlib.ops import KHop, gather_reduce, k_hop

NODES, HOPS = 40, 4


@pytest.fixture
def pairs() -> KHop:
    edge_index = torch.randint(NODES, (2, 60), generator=torch.Generator().manual_seed(0))
    return k_hop(Adjacency.of(edge_index, NODES), HOPS)


def equal(a: KHop, b: KHop) -> bool:
    sizes = (a.num_nodes, a.num_hops) == (b.num_nodes, b.num_hops)
    return sizes and torch.equal(a.hop_ptr, b.hop_ptr) and torch.equal(a.col, b.col)


def members(adj: Adjacency) -> list[list[int]]:
    return [part.tolist() for part in adj.col.split(adj.degree.tolist())]


def test_every_side_shows_the_same_pairs(pairs: KHop) -> None:
    src, dst, distance = *pairs.pairs.tolist(), pairs.distance.tolist()
    found = list(zip(dst, distance, src, strict=True))
    assert found == sorted(found)
    assert pairs.num_pairs == len(found) > 100
    by_hop = [[j for i, d, j in found if (i, d) == (row // HOPS, row % HOPS + 1)]
              for row in range(NODES * HOPS)]  # fmt: skip
    assert members(pairs.by_hop) == by_hop
    of_node = [by_hop[i * HOPS : (i + 1) * HOPS] for i in range(NODES)]
    assert members(pairs.adj) == [[j for hop in hops for j in hop] for hops in of_node]
    for k in range(1, HOPS + 1):
        assert members(pairs.hop(k)) == by_hop[k - 1 :: HOPS]
    back = pairs.T
    src, dst, distance = *back.pairs.tolist(), back.distance.tolist()
    assert list(zip(dst, distance, src, strict=True)) == sorted((j, d, i) for i, d, j in found)
    assert equal(back.T, pairs)


def test_what_was_built_is_kept(pairs: KHop) -> None:
    assert pairs.adj is pairs.adj
    assert pairs.by_hop is pairs.by_hop
    assert pairs.hop(2) is pairs.hop(2)
    assert pairs.T is pairs.T
    with torch.inference_mode():
        third = pairs.hop(3)
    assert not third.col.is_inference()


def test_stored_pairs_are_read_as_they_come(pairs: KHop) -> None:
    index, distance = pairs.pairs, pairs.distance
    read = KHop.of(index, distance, HOPS, NODES)
    assert equal(read, pairs)
    assert KHop.of(index, distance, HOPS, NODES) is read
    assert KHop.of(index, distance.clone(), HOPS, NODES) is not read
    more = KHop.of(index.int(), distance.to(torch.uint8), HOPS + 2, NODES + 1)
    assert torch.equal(more.pairs, index)
    assert torch.equal(more.distance, distance)
    assert (more.num_hops, more.num_nodes) == (HOPS + 2, NODES + 1)
    index[0, 0] = (index[0, 0] + 1) % NODES  # neither what was read nor its cache changes with it
    assert equal(read, pairs)
    assert KHop.of(index, distance, HOPS, NODES) is not read


def test_pairs_in_any_order_are_sorted(pairs: KHop) -> None:
    order = torch.randperm(pairs.num_pairs, generator=torch.Generator().manual_seed(0))
    assert equal(KHop.of(pairs.pairs[:, order], pairs.distance[order], HOPS, NODES), pairs)
    with torch.inference_mode():
        index, distance = pairs.pairs.clone(), pairs.distance.clone()
        assert equal(KHop.of(index, distance, HOPS, NODES), pairs)


def test_travels(pairs: KHop) -> None:
    _ = pairs.hop(2), pairs.T  # what is kept travels too, or is built anew
    assert equal(pickle.loads(pickle.dumps(pairs)), pairs)
    assert equal(copy.deepcopy(pairs), pairs)
    leaves, spec = tree_flatten(pairs)
    assert all(isinstance(leaf, (Tensor, type(None))) for leaf in leaves)
    again = tree_unflatten(leaves, spec)
    assert equal(again, pairs)
    assert again.hop(2).col is pairs.hop(2).col
    assert repr(pairs) == f"KHop(num_nodes=40, num_hops=4, num_pairs={pairs.num_pairs})"
    with pytest.raises(ValueError, match="`hop_ptr` must have an entry"):
        pickle.loads(pickle.dumps(KHop(pairs.hop_ptr, pairs.col, NODES, HOPS + 1)))


def test_in_compiled_graphs(pairs: KHop) -> None:
    x, index, distance = torch.randn(NODES, 3), pairs.pairs, pairs.distance
    order = torch.randperm(pairs.num_pairs, generator=torch.Generator().manual_seed(0))

    def given(x: Tensor, pairs: KHop) -> Tensor:
        return gather_reduce(x, pairs.by_hop) + gather_reduce(x, pairs.T.by_hop)

    def read(x: Tensor, index: Tensor, distance: Tensor) -> Tensor:
        return gather_reduce(x, KHop.of(index, distance, HOPS, NODES).by_hop)

    for function, args in ((given, (x, pairs)), (read, (x, index[:, order], distance[order]))):
        compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*args), function(*args))


def test_bad_input(pairs: KHop) -> None:
    index, distance = pairs.pairs, pairs.distance
    for k in (0, HOPS + 1, 1.5):
        with pytest.raises(ValueError, match=r"`k` must be a whole number in \[1, 4\]"):
            pairs.hop(k)
    with pytest.raises(ValueError, match=r"must be \[2, P\]"):
        KHop.of(index.T, distance, HOPS, NODES)
    with pytest.raises(ValueError, match="one value per pair"):
        KHop.of(index, distance[1:], HOPS, NODES)
    with pytest.raises(ValueError, match="`num_hops` must be a whole number of at least 1"):
        KHop.of(index, distance, 0, NODES)
    with pytest.raises(ValueError, match="`distance` must hold integers"):
        KHop.of(index, distance.float(), HOPS, NODES)
    with pytest.raises(ValueError, match=r"`distance` must lie in \[1, 3\], got 4"):
        KHop.of(index, distance, HOPS - 1, NODES)
    with pytest.raises(ValueError, match=r"`distance` must lie in \[1, 4\], got 0"):
        KHop.of(index, distance - 1, HOPS, NODES)
    with pytest.raises(IndexError, match=r"nodes in \[0, 39\), got 39"):
        KHop.of(index, distance, HOPS, NODES - 1)
    with pytest.raises(IndexError, match="got -1"):
        KHop.of(index - 1, distance, HOPS, NODES)
    twice = torch.cat([index, index], 1), torch.cat([distance, distance])
    with pytest.raises(ValueError, match="holds one twice"):
        KHop.of(*twice, HOPS, NODES)
