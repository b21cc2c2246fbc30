"""`MagNetConv`: the pairs of nodes it works on, what it warns of, and its laws."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnlib import Adjacency  # first: it imports PyG without warnings

# isort: split
from gnnlib.layers import MagNetConv, _pairs
from gnnlib.models import MagNet
from gnnlib.testing import assert_layer


def draw(num_nodes: int, num_edges: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, num_nodes, 4, generator=g)
    edges = torch.randint(num_nodes, (2, num_edges), generator=g)
    return x[0], x[1], edges, torch.rand(num_edges, generator=g) + 0.2


# The pairs of a graph -----------------------------------------------------------------------------


def test_every_pair_has_one_entry_and_is_found_again() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 0, 3], [1, 0, 2, 2, 2, 1, 0]])
    adj = Adjacency.of(edge_index, 5)
    pairs = _pairs.Pairs.of(adj)
    assert _pairs.Pairs.of(Adjacency.of(edge_index, 5)) is pairs
    assert pairs.both.edge_index.tolist() == [[1, 3, 2, 2, 0, 0, 1, 2], [0, 0, 1, 2, 1, 3, 2, 2]]
    assert pairs.total.tolist() == [3, 1, 1, 2]
    assert pairs.balance.tolist() == [1, -1, 1, 0]
    transpose = pairs.both.T
    assert torch.equal(transpose.edge_index, pairs.both.edge_index.flip(0))
    assert transpose.T is pairs.both
    assert not pairs.undirected


def test_pairs_die_with_their_graph() -> None:
    gc.collect()
    edge_index = torch.tensor([[0, 1], [1, 2]])
    before = len(_pairs._known)
    _pairs.Pairs.of(Adjacency.of(edge_index, 3))
    assert len(_pairs._known) == before + 1
    del edge_index
    gc.collect()
    assert len(_pairs._known) == before


def test_pairs_found_in_inference_mode_serve_training() -> None:
    real, imag, edges, _ = draw(8, 30)
    conv = MagNetConv(4, 3, 2)
    with torch.inference_mode():
        conv(real, imag, edges)
    sum(part.sum() for part in conv(real, imag, edges)).backward()
    assert all(p.grad is not None for p in conv.parameters())


# Undirected graphs --------------------------------------------------------------------------------


def test_an_undirected_graph_is_warned_of_once() -> None:
    real, imag, edges, weight = draw(8, 20)
    edges = edges[:, edges[0] != edges[1]]
    both = torch.cat([edges, edges.flip(0)], 1)
    conv = MagNetConv(4, 3, 1)
    with pytest.warns(UserWarning, match="the graph is undirected .* `q` changes nothing") as told:
        conv(real, imag, both)
    assert told[0].filename == __file__  # the caller's line
    with pytest.warns(UserWarning, match="undirected") as told:
        MagNet(4, 3, 2, 2)(real.float(), both.clone())
    assert told[0].filename == __file__
    conv(real, imag, both)  # warnings are errors
    other = both.clone()
    half = weight[: edges.size(1)]
    conv(real, imag, other, torch.cat([half, 2 * half]))  # weights make it directed
    with pytest.warns(UserWarning, match="undirected"):
        conv(real, imag, other, torch.cat([half, half]))
    MagNetConv(4, 3, 1, q=0.0)(real, imag, both.clone())
    conv(real, imag, torch.tensor([[1, 2], [1, 2]]))  # no pairs, no direction to lose


# The laws -----------------------------------------------------------------------------------------


class Both(nn.Module):
    """The conv on features that are their own imaginary part, in another order of columns."""

    def __init__(self, conv: MagNetConv) -> None:
        super().__init__()
        self.conv = conv

    def reset_parameters(self) -> None:
        self.conv.reset_parameters()

    def forward(self, x: Any, edge_index: Any, edge_weight: Tensor | None = None) -> Any:
        if isinstance(x, tuple):
            return self.conv(x, x, edge_index, edge_weight)
        return self.conv(x, x.flip(1), edge_index, edge_weight)


@pytest.mark.parametrize("options", [
    {"K": 2, "learn_q": True, "q": 0.1}, {"K": 1}, {"K": 3, "q": 0.0, "bias": False},
])  # fmt: skip
def test_laws(options: dict[str, Any]) -> None:
    assert_layer(lambda i, o: Both(MagNetConv(i, o, **options)))


def test_laws_without_normalisation() -> None:
    assert_layer(
        lambda i, o: Both(MagNetConv(i, o, 2, normalization=None)),
        skip={"batch_independence": "the bound of the eigenvalues is that of all graphs"},
    )
