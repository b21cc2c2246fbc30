"""Stored pairs are those of the graph, alone and in a batch."""

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

import gnnlib  # first: it imports PyG without warnings

# isort: split
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose, ToSparseTensor, ToUndirected

from gnnlib.encodings import AddKHop
from gnnlib.ops import KHop, k_hop


def random_graph(num_nodes: int, num_edges: int, seed: int = 0) -> Data:
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(max(num_nodes, 1), (2, num_edges), generator=draw)
    return Data(x=torch.randn(num_nodes, 2), edge_index=edge_index, edge_attr=torch.ones(num_edges))


# Random, disconnected, with isolated nodes at the end, one node, none, a large one.
GRAPHS = [
    random_graph(20, 40), random_graph(30, 12, 1), Data(x=torch.ones(9, 2), edge_attr=torch.ones(1),
    edge_index=torch.tensor([[0], [1]])), random_graph(1, 0), random_graph(0, 0),
    random_graph(600, 900, 2),
]  # fmt: skip


def read(data: Data, k: int) -> KHop:
    return KHop.of(data.k_hop_index, data.k_hop_distance, k, data.num_nodes)


def oracle(data: Data, k: int, undirected: bool) -> list[tuple[int, int, int]]:
    graph = nx.Graph() if undirected else nx.DiGraph()
    graph.add_nodes_from(range(data.num_nodes))
    graph.add_edges_from(data.edge_index.T.tolist())
    found = nx.all_pairs_shortest_path_length(graph, cutoff=k)
    return sorted((i, d, j) for j, near in found for i, d in near.items() if d > 0)


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: f"{graph.num_nodes} nodes")
def test_the_pairs_of_a_graph(graph: Data, undirected: bool) -> None:
    before = {key: value.clone() for key, value in graph.to_dict().items()}
    data = AddKHop(3, undirected)(graph)
    src, dst = data.k_hop_index.tolist()
    found = list(zip(dst, data.k_hop_distance.tolist(), src, strict=True))
    assert found == oracle(graph, 3, undirected)
    # The input is as it was, and so is all else in the output.
    assert graph.to_dict().keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(graph[key], value)
        assert data[key] is graph[key]


def test_a_loader_joins_them() -> None:
    data = [AddKHop(4)(graph) for graph in GRAPHS]
    (batch,) = DataLoader(data, batch_size=len(data))
    whole = AddKHop(4)(Batch.from_data_list(GRAPHS))
    assert torch.equal(batch.k_hop_index, whole.k_hop_index)
    assert torch.equal(batch.k_hop_distance, whole.k_hop_distance)
    expected = k_hop(gnnlib.Adjacency.of(batch.edge_index, batch.num_nodes), 4)
    found = read(batch, 4)
    assert torch.equal(found.hop_ptr, expected.hop_ptr)
    assert torch.equal(found.col, expected.col)
    for graph, again in zip(data, batch.to_data_list(), strict=True):
        assert torch.equal(graph.k_hop_index, again.k_hop_index)
        assert torch.equal(graph.k_hop_distance, again.k_hop_distance)


@pytest.mark.parametrize("options", [{}, {"undirected": True}, {"num_samples": 2, "seed": 7}])
def test_a_batch_is_its_graphs(options: dict[str, Any]) -> None:
    transform = AddKHop(4, **options)
    data = [transform(graph) for graph in GRAPHS]
    batch = Batch.from_data_list(GRAPHS)
    whole = transform(batch)
    assert "k_hop_index" not in batch
    for graph, again in zip(data, whole.to_data_list(), strict=True):
        assert torch.equal(graph.k_hop_index, again.k_hop_index)
        assert torch.equal(graph.k_hop_distance, again.k_hop_distance)
    plain = Data(edge_index=batch.edge_index, batch=batch.batch, num_nodes=batch.num_nodes)
    assert torch.equal(transform(plain).k_hop_index, whole.k_hop_index)


def test_every_graph_of_a_batch_may_have_the_most_pairs() -> None:
    clique = Data(edge_index=torch.cartesian_prod(torch.arange(5), torch.arange(5)).T, num_nodes=5)
    batch = Batch.from_data_list([clique] * 3)
    assert AddKHop(2, max_pairs=20)(batch).k_hop_distance.numel() == 60
    with pytest.raises(ValueError, match="would find 20 pairs, more than `max_pairs`=19 "):
        AddKHop(2, max_pairs=19)(batch)


def test_batched_pairs_are_read_without_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.from_data_list([AddKHop(3)(graph) for graph in GRAPHS])

    def never(*_: object, **__: object) -> None:
        raise AssertionError("sorted")

    monkeypatch.setattr(Tensor, "sort", never)
    monkeypatch.setattr(Tensor, "argsort", never)
    assert read(batch, 3).num_pairs == batch.k_hop_distance.numel() > 0


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_graphs_and_other_transforms() -> None:
    graph = GRAPHS[0]
    sparse = ToSparseTensor(remove_edge_index=True, layout=torch.sparse_csr)(graph)
    assert torch.equal(AddKHop(3)(sparse).k_hop_index, AddKHop(3)(graph).k_hop_index)
    both = Compose([ToUndirected(), AddKHop(3)])(graph)
    assert torch.equal(both.k_hop_index, AddKHop(3, undirected=True)(graph).k_hop_index)


def test_a_seed_draws_the_same_nodes() -> None:
    graph = random_graph(60, 600)
    one, again, other = (AddKHop(2, num_samples=3, seed=seed)(graph) for seed in (0, 0, 1))
    assert torch.equal(one.k_hop_index, again.k_hop_index)
    assert not torch.equal(one.k_hop_index, other.k_hop_index)
    assert one.k_hop_index.size(1) <= 60 * 2 * 3
    free = AddKHop(2, num_samples=3)
    torch.manual_seed(0)
    first, second = free(graph).k_hop_index, free(graph).k_hop_index
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(free(graph).k_hop_index, first)


def test_the_repr_tells_every_parameter() -> None:
    expected = "AddKHop(k=3, undirected=True, num_samples=5, max_pairs=100, seed=1)"
    assert repr(AddKHop(3, undirected=True, num_samples=5, max_pairs=100, seed=1)) == expected
    options = [AddKHop(2), AddKHop(3), AddKHop(2, True), AddKHop(2, num_samples=1),
               AddKHop(2, max_pairs=9), AddKHop(2, seed=0)]  # fmt: skip
    assert len({repr(option) for option in options}) == len(options)


def test_bad_input() -> None:
    for k in (0, 1.0, "1", None):
        with pytest.raises(ValueError, match="`k` must be a whole number of at least 1"):
            AddKHop(k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`num_samples` must be"):
        AddKHop(1, num_samples=0)
    with pytest.raises(TypeError, match="edges of one kind; got HeteroData"):
        AddKHop(1)(HeteroData())
    with pytest.raises(ValueError, match="must have an `edge_index` or `adj_t`, got x"):
        AddKHop(1)(Data(x=torch.ones(2, 1)))
    with pytest.raises(ValueError, match="more than `max_pairs`=3 "):
        AddKHop(3, max_pairs=3)(GRAPHS[0])
    with pytest.raises(ValueError, match="an edge between two graphs of the batch"):
        AddKHop(3)(Data(edge_index=torch.tensor([[0], [2]]), batch=torch.tensor([0, 0, 1])))
