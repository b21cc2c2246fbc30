"""Distances are those of networkx; a sample is uniform; what is too large is refused."""

import gc
import weakref
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.ops import KHop, gather_reduce, k_hop
from gnnlib.ops import _k_hop as module
from gnnlib.testing import Sample, assert_op

Triples = list[tuple[int, int, int]]
OPS = [torch.ops.gnnlib.k_hop.default]


def oracle(edge_index: Tensor, num_nodes: int, k: int, undirected: bool = False) -> Triples:
    """``(target, distance, source)`` of all pairs, in order."""
    graph = nx.Graph() if undirected else nx.DiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edge_index.T.tolist())
    found = nx.all_pairs_shortest_path_length(graph, cutoff=k)
    return sorted((i, d, j) for j, near in found for i, d in near.items() if d > 0)


def triples(pairs: KHop) -> Triples:
    src, dst = pairs.pairs.tolist()
    return list(zip(dst, pairs.distance.tolist(), src, strict=True))


def random_graph(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(num_nodes, (2, num_edges), generator=draw)


def joined(sizes: list[int], per_node: float, seed: int = 0) -> Tensor:
    """Random graphs one after the other, as a batch has them."""
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    parts = [
        random_graph(max(size, 1), int(size * per_node), seed + i) + start
        for i, (size, start) in enumerate(zip(sizes, starts, strict=False))
    ]
    return torch.cat([torch.empty(2, 0, dtype=torch.long), *parts], 1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 40), max_size=5),
    st.floats(0, 3),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 100),
)
def test_distances_are_those_of_networkx(
    sizes: list[int], per_node: float, k: int, undirected: bool, seed: int
) -> None:
    edge_index, num_nodes = joined(sizes, per_node, seed), sum(sizes)
    pairs = k_hop(Adjacency.of(edge_index, num_nodes), k, undirected=undirected)
    assert triples(pairs) == oracle(edge_index, num_nodes, k, undirected)
    assert (pairs.num_nodes, pairs.num_hops) == (num_nodes, k)
    assert pairs.hop_ptr.shape == (num_nodes * k + 1,)


# On one word of bits, on several, on most, and node by node; alone and in a batch.
@pytest.mark.parametrize("sizes", [[64], [65], [150], [512], [513], [30, 700, 3, 200, 1]])
@pytest.mark.parametrize("per_node", [1.1, 4.0])
@pytest.mark.parametrize("undirected", [False, True])
def test_graphs_of_every_size(sizes: list[int], per_node: float, undirected: bool) -> None:
    edge_index, num_nodes = joined(sizes, per_node), sum(sizes)
    pairs = k_hop(Adjacency.of(edge_index, num_nodes), 4, undirected=undirected)
    assert triples(pairs) == oracle(edge_index, num_nodes, 4, undirected)


def test_nodes_may_be_in_any_order() -> None:
    # Graphs that lie scattered cannot be cut from their batch, and are searched as one.
    edge_index = joined([40] * 20, 2.0)
    order = torch.randperm(800, generator=torch.Generator().manual_seed(1))
    pairs = k_hop(Adjacency.of(order[edge_index], 800), 5)
    assert triples(pairs) == oracle(order[edge_index], 800, 5)


def test_a_batch_is_its_graphs() -> None:
    sizes = [5, 0, 70, 600, 1, 20]
    edge_index, start, expected = joined(sizes, 1.5), 0, []
    for size in sizes:
        inside = (edge_index[0] >= start) & (edge_index[0] < start + size)
        alone = k_hop(Adjacency.of(edge_index[:, inside] - start, size), 6)
        expected += [(i + start, d, j + start) for i, d, j in triples(alone)]
        start += size
    assert triples(k_hop(Adjacency.of(edge_index, start), 6)) == expected


def test_distances_follow_the_edges() -> None:
    path = torch.tensor([[0, 1, 2], [1, 2, 3]])
    assert triples(k_hop(path, 5)) == [(1, 1, 0), (2, 1, 1), (2, 2, 0), (3, 1, 2), (3, 2, 1),
                                       (3, 3, 0)]  # fmt: skip
    adj = Adjacency.of(path)
    assert triples(k_hop(adj.T, 5)) == triples(k_hop(adj, 5).T)


def test_self_loops_and_repeated_edges_do_not_matter() -> None:
    plain = random_graph(30, 50, seed=3)
    loops = torch.arange(30).expand(2, -1)
    messy = torch.cat([loops, plain, plain], 1)
    expected = oracle(plain, 30, 3)
    assert all(i != j for i, _, j in expected)
    assert triples(k_hop(Adjacency.of(messy, 30), 3)) == expected


@pytest.mark.parametrize("num_nodes", [0, 1, 5, 700])
def test_no_edges(num_nodes: int) -> None:
    pairs = k_hop(Adjacency.of(torch.empty(2, 0, dtype=torch.long), num_nodes), 3)
    assert pairs.num_pairs == 0
    assert pairs.hop_ptr.tolist() == [0] * (num_nodes * 3 + 1)
    assert pairs.adj.num_dst == pairs.T.adj.num_dst == num_nodes
    assert pairs.hop(2).num_edges == 0
    assert pairs.pairs.shape == (2, 0)


def test_more_hops_than_nodes() -> None:
    ring = torch.stack([torch.arange(7), (torch.arange(7) + 1) % 7])
    pairs = k_hop(ring, 100)
    assert pairs.num_hops == 100
    assert pairs.distance.bincount(minlength=7)[1:].tolist() == [7] * 6


def arrays(sizes: list[int], per_node: float, *options: object, back: bool = False) -> Sample:
    """What the operator is called with."""
    adj = Adjacency.of(joined(sizes, per_node), sum(sizes))
    ways = (adj.rowptr, adj.col, *((adj.T.rowptr, adj.T.col) if back else (None, None)))
    return Sample((*ways, *options))


def operator(rowptr: Tensor, col: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
    given = [t.contiguous() if isinstance(t, Tensor) else t for t in (rowptr, col, *rest)]
    return tuple(module._op(*given))  # type: ignore[return-value]


def test_the_operator_is_its_reference() -> None:
    seed = torch.tensor([12345])
    samples = [
        arrays([30, 3], 2.0, 3, 10**6, 0, None),
        arrays([30, 3], 2.0, 3, 10**6, 0, None, back=True),
        arrays([600], 2.0, 3, 10**6, 0, None),
        arrays([600, 70], 3.0, 4, 10**6, 5, seed),
        arrays([2], 0.0, 2, 0, 0, None),
        arrays([], 0.0, 2, 0, 0, None),
    ]
    assert_op(operator, module._reference, samples, opcheck=OPS)


@pytest.mark.parametrize("num_samples", [0, 2])
def test_counts_are_those_of_the_pairs(num_samples: int) -> None:
    adj = Adjacency.of(joined([40, 600], 2.5), 640)
    roots = torch.tensor([0, 639, 7, 7])
    seed = torch.tensor([1]) if num_samples else None
    hop_ptr, _ = module._op(adj.rowptr, adj.col, None, None, 4, 10**7, num_samples, seed)
    expected = hop_ptr[roots * 4 + 4] - hop_ptr[roots * 4]
    for count in (module._count_op, module._count_reference):
        assert torch.equal(count(adj.rowptr, adj.col, None, None, roots, 4, num_samples), expected)


def test_the_pairs_are_kept_with_the_adjacency() -> None:
    edge_index = random_graph(20, 40)
    adj = Adjacency.of(edge_index, 20)
    pairs = k_hop(adj, 3)
    assert k_hop(adj, 3) is pairs
    assert k_hop(Adjacency.of(edge_index, 20), 3) is pairs
    assert k_hop(adj, 2) is not pairs
    assert k_hop(adj, 3, undirected=True) is not pairs
    with pytest.raises(ValueError, match="more than `max_pairs`=1 "):
        k_hop(adj, 3, max_pairs=1)
    dead = weakref.ref(pairs)
    del adj, edge_index, pairs
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("num_samples", [None, 3])
def test_a_graph_on_a_gpu_is_searched_by_the_cpu(
    undirected: bool, num_samples: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def searched(*args: Any) -> tuple[Tensor, Tensor]:
        found.extend(arg.device.type for arg in args if isinstance(arg, Tensor))
        return torch.empty(11, dtype=torch.int64), torch.empty(7, dtype=torch.int64)

    monkeypatch.setattr(module, "_op", searched)
    with FakeTensorMode():  # so that it takes no GPU to have such a graph
        rowptr, col = (torch.empty(n, dtype=torch.int64, device="cuda:0") for n in (6, 9))
        adj = Adjacency(rowptr, col, None, 5, check=False)
        pairs = k_hop(adj, 2, undirected=undirected, num_samples=num_samples)
    assert set(found) == {"cpu"}
    assert {pairs.hop_ptr.device, pairs.col.device} == {torch.device("cuda:0")}


def test_in_a_compiled_graph() -> None:
    adj, x = Adjacency.of(random_graph(20, 40), 20), torch.randn(20, 3)

    def far(x: Tensor, adj: Adjacency) -> Tensor:
        return gather_reduce(x, k_hop(adj, 3).adj)

    compiled = torch.compile(far, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, adj), far(x, adj))


# -- sampling -----------------------------------------------------------------------------------


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sizes", [[30, 3], [150], [600, 40]])
@pytest.mark.parametrize("num_samples", [1, 4])
def test_a_sample_is_a_part_of_every_hop(sizes: list[int], num_samples: int) -> None:
    adj = Adjacency.of(joined(sizes, 3.0), sum(sizes))
    whole = k_hop(adj, 4)
    part = k_hop(adj, 4, num_samples=num_samples, generator=seeded(0))
    assert set(triples(part)) <= set(triples(whole))
    assert triples(part) == sorted(triples(part))
    assert torch.equal(part.hop_ptr.diff(), whole.hop_ptr.diff().clamp(max=num_samples))
    again = k_hop(adj, 4, num_samples=num_samples, generator=seeded(0))
    other = k_hop(adj, 4, num_samples=num_samples, generator=seeded(1))
    assert torch.equal(part.col, again.col)
    assert not torch.equal(part.col, other.col)
    one, before = None, torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = k_hop(adj, 4, num_samples=num_samples, generator=seeded(0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.col, part.col)


def test_a_sample_is_uniform() -> None:
    star = torch.stack([torch.arange(1, 21), torch.zeros(20, dtype=torch.long)])
    adj, draw = Adjacency.of(star, 21), seeded(0)
    drawn = torch.cat([k_hop(adj, 1, num_samples=5, generator=draw).col for _ in range(2000)])
    counts = drawn.bincount(minlength=21)[1:]
    assert counts.sum() == 10_000
    assert (counts - 500).abs().max() < 90  # the standard deviation is 19


def test_every_draw_of_a_generator_is_another() -> None:
    adj, draw = Adjacency.of(random_graph(50, 400), 50), seeded(0)
    first, second = (k_hop(adj, 2, num_samples=2, generator=draw).col for _ in range(2))
    assert not torch.equal(first, second)


# -- bad input ----------------------------------------------------------------------------------


def clique(size: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(size), torch.arange(size)).T


def test_too_many_pairs_are_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the pairs were looked for")

    monkeypatch.setattr(module, "_op", never)
    with pytest.raises(ValueError, match=r"would find 90 pairs, more than `max_pairs`=89 .*small"):
        k_hop(clique(10), 1, max_pairs=89)
    with pytest.raises(ValueError, match="about 89,700 pairs"):
        k_hop(clique(300), 2, max_pairs=80_000)
    with pytest.raises(ValueError, match="about 1,500 pairs"):
        k_hop(clique(300), 2, max_pairs=1_000, num_samples=5)


def test_an_estimate_stops_when_it_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    count = module._count_op
    monkeypatch.setattr(module, "_count_op", lambda *args: counted.append(args) or count(*args))
    monkeypatch.setattr(module, "_ENOUGH", 5_000)
    with pytest.raises(ValueError, match="about 89,700 pairs"):
        k_hop(clique(300), 3, max_pairs=80_000)
    assert sum(len(args[4]) for args in counted if args[5] == 3) == 32


@pytest.mark.parametrize("seed", range(6))
def test_what_fits_is_never_refused(seed: int) -> None:
    """Of few nodes that have all the pairs, a sample sees too many or too few."""
    names = torch.randperm(10_000, generator=seeded(seed))
    adj = Adjacency.of(names[clique(200)], 10_000)
    with pytest.raises(ValueError, match=r"would find about .* pairs|found more than"):
        k_hop(adj, 2, max_pairs=200 * 199 - 1)
    assert k_hop(adj, 2, max_pairs=200 * 199).num_pairs == 200 * 199


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.floats(0, 3), st.integers(1, 5), st.booleans(), st.integers(0, 100))
def test_what_refuses_at_once_is_certain(
    size: int, per_node: float, k: int, undirected: bool, seed: int
) -> None:
    adj = Adjacency.of(random_graph(size, int(size * per_node), seed), size)
    bound = module._at_least(adj, k, undirected, torch.arange(size))
    assert bound <= k_hop(adj, k, undirected=undirected).num_pairs


def test_an_estimate_that_is_not_certain_is_told_after_counting() -> None:
    # Every node has ten neighbours, and nobody has pairs for all.
    ring = torch.arange(1000).repeat(10), torch.arange(1, 11).repeat_interleave(1000)
    with pytest.raises(ValueError, match="would find about 10,000 pairs"):
        k_hop(torch.stack([ring[0], (ring[0] + ring[1]) % 1000]), 1, max_pairs=9_999)


def test_what_an_estimate_misses_stops_at_the_limit() -> None:
    adj = Adjacency.of(clique(30), 100_000)
    with pytest.raises(ValueError, match="found more than `max_pairs`=800 pairs"):
        k_hop(adj, 2, max_pairs=800)
    assert k_hop(adj, 2, max_pairs=870).num_pairs == 870
    with pytest.raises(ValueError, match="more than `max_pairs`=800 "):
        module._reference(adj.rowptr, adj.col, None, None, 2, 800, 0, None)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_a_number_of_hops_is_whole(k: object) -> None:
    with pytest.raises(ValueError, match="`k` must be a whole number of at least 1, got"):
        k_hop(clique(3), k)  # type: ignore[arg-type]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"same kind.*got 3 sources and 2 targets"):
        k_hop(Adjacency.of(torch.tensor([[2], [1]]), (3, 2)), 2)
    with pytest.raises(ValueError, match="`num_samples` must be a whole number of at least 1"):
        k_hop(clique(3), 1, num_samples=0)
    for most in (-1, 1.5):
        with pytest.raises(ValueError, match="`max_pairs` must be a whole number of at least 0"):
            k_hop(clique(3), 1, max_pairs=most)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pointers, one per node and hop"):
        k_hop(clique(3), 10**9)
