"""What all curvatures do alike with a caller's edges."""

from collections.abc import Callable
from functools import partial

import networkx as nx
import pytest
import torch

from gnnlib import Adjacency  # noqa: F401  (first: it imports PyG without warnings)

# isort: split
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from transports import NAMED, edges_of

from gnnlib.rewiring import curvature

Curvature = Callable[..., Tensor]


def bounds(*args: object, **options: object) -> Tensor:
    return torch.stack(curvature.jost_liu(*args, **options))  # type: ignore[arg-type]


CURVATURES: dict[str, Curvature] = {
    "forman": curvature.forman,
    "augmented 3": curvature.augmented_forman,
    "augmented 4": partial(curvature.augmented_forman, cycles=4),
    "balanced": curvature.balanced_forman,
    "ollivier": curvature.ollivier_ricci,
    "jost_liu": bounds,
    "resistance": curvature.effective_resistance,
    "sketched": partial(curvature.effective_resistance, dense_limit=8, epsilon=0.5),
}
every = pytest.mark.parametrize("of", CURVATURES.values(), ids=CURVATURES.keys())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, equal_nan=True)


@every
def test_some_edges(of: Curvature) -> None:
    edges = edges_of(NAMED["karate"])
    value = of(edges)
    assert value.shape[-1] == edges.size(1)
    assert value.dtype == torch.float64
    some = torch.tensor([5, 3, 100, 3])
    close(of(edges, edges=some), value[..., some])
    mask = torch.arange(edges.size(1)) % 3 == 0
    close(of(edges, edges=mask), value[..., mask])
    assert of(edges, edges=mask & False).shape[-1] == 0
    with pytest.raises(IndexError, match=r"\[0, 156\)"):
        of(edges, edges=torch.tensor([156]))
    with pytest.raises(ValueError, match=r"mask must be \[156\]"):
        of(edges, edges=mask[1:])


@every
def test_order_of_edges(of: Curvature) -> None:
    edges = edges_of(NAMED["hubs"])
    order = torch.randperm(edges.size(1), generator=torch.Generator().manual_seed(0))
    close(of(edges[:, order]), of(edges)[..., order])
    close(of(edges.flip(0)), of(edges))
    close(of(edges.int()), of(edges))
    close(of(EdgeIndex(edges)), of(edges))


@every
def test_loops_repetitions_and_isolated_nodes(of: Curvature) -> None:
    edges = edges_of(NAMED["tree"]) + 2
    value = of(edges)
    more = torch.cat([torch.tensor([[0, 7], [0, 7]]), edges, edges[:, :5]], 1)
    given = more.clone()
    found = of(more, 90)
    assert found[..., :2].isnan().all()
    close(found[..., 2:], torch.cat([value, value[..., :5]], -1))
    assert torch.equal(more, given)
    for size in (None, 3):
        assert of(torch.empty(2, 0, dtype=torch.long), size).shape[-1] == 0
    assert of(torch.tensor([[1], [1]])).isnan().all()


@every
def test_a_batch_gives_what_its_graphs_give(of: Curvature) -> None:
    parts = [Data(edge_index=edges_of(graph), num_nodes=len(graph) + 1) for graph in NAMED.values()]
    batch = Batch.from_data_list(parts)
    alone = [of(part.edge_index, part.num_nodes) for part in parts]
    close(of(batch.edge_index, batch.num_nodes), torch.cat(alone, -1))


@every
def test_directed_graphs_are_refused_or_taken_both_ways(of: Curvature) -> None:
    edges = edges_of(NAMED["petersen"])
    with pytest.raises(ValueError, match="undirected=True"):
        of(edges[:, :15])
    for undirected in (False, "no", 1):
        with pytest.raises(ValueError, match=r"`undirected` must be None .* or True .* got"):
            of(edges[:, :15], undirected=undirected)
    close(of(edges[:, :15], undirected=True), of(edges)[..., :15])


@every
def test_bad_edges_are_refused(of: Curvature) -> None:
    with pytest.raises(IndexError, match="num_nodes"):
        of(edges_of(NAMED["square"]), 3)
    for size in (4.0, True, "4"):
        with pytest.raises(ValueError, match="`num_nodes` must be a whole number"):
            of(edges_of(NAMED["square"]), size)
    with pytest.raises(TypeError, match=r"\[2, E\], got Data \(pass data\.edge_index\)"):
        of(Data(edge_index=edges_of(NAMED["square"])))
    with pytest.raises(TypeError, match=r"`edges` must be a tensor of positions .*got list \(use"):
        of(edges_of(NAMED["square"]), edges=[0, 1])
    with pytest.raises(TypeError, match="integers"):
        of(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"\[2, E\]"):
        of(torch.ones(3, 2, dtype=torch.long))


@every
def test_on_any_number_of_threads(of: Curvature) -> None:
    edges = edges_of(nx.barabasi_albert_graph(120, 4, seed=0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(of(edges))
    finally:
        torch.set_num_threads(before)
    close(found[0], found[1])
