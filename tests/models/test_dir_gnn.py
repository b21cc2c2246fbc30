"""Dir-GNN against the paper's network written out, and its options."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from gnnlib.layers import DirectedConv  # first: it imports PyG without warnings

# isort: split
from torch_geometric.nn import SAGEConv

from gnnlib.models import DirGNN
from gnnlib.testing import assert_layer


def graph(num_nodes: int = 20, num_edges: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num_nodes, 5, generator=g)
    return x, torch.randint(num_nodes, (2, num_edges), generator=g)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("jk", ["max", "cat", None])
def test_definition(jk: Any, unit: bool) -> None:
    """Dir-GCN of three layers, written from the paper's code with dense matrices."""
    torch.manual_seed(0)
    x, edge_index = graph()
    model = DirGNN(5, 8, 3, 4, alpha=0.3, jk=jk, normalize=unit, dropout=0.9).eval()
    a = torch.zeros(20, 20).index_put(tuple(edge_index), torch.ones(70), accumulate=True)
    scale = [d.pow(-0.5).masked_fill(d == 0, 0) for d in (a.sum(1), a.sum(0))]
    s = scale[0][:, None] * a * scale[1]
    h, layers = x, []
    for k, layer in enumerate(model.convs):
        comes, goes = (c.lin(m @ h) + c.bias for c, m in
                       ((layer.conv_in, s.T), (layer.conv_out, s)))  # fmt: skip
        h = 0.3 * goes + 0.7 * comes
        if k < 2 or jk:
            h = h.relu()
            h = normalize(h, dim=1) if unit else h
        layers.append(h)
    if jk == "cat":
        h = model.lin(torch.cat(layers, 1))
    elif jk == "max":
        h = model.lin(torch.stack(layers).max(0).values)
    assert h.shape == (20, 4)
    torch.testing.assert_close(model(x, edge_index), h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conv", ["gcn", "sage", "gat"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("jk", ["max", "cat", None])
def test_everything_learns(conv: Any, num_layers: int, jk: Any) -> None:
    torch.manual_seed(0)
    x, edge_index = graph()
    model = DirGNN(5, 8, num_layers, 2, conv=conv, jk=jk, learn_alpha=True, dropout=0.1)
    model(x, edge_index).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_all_layers_share_what_they_learn_of_alpha() -> None:
    model = DirGNN(5, 8, 3, 2, alpha=0.25, learn_alpha=True)
    assert len({id(layer.alpha) for layer in model.convs}) == 1
    assert sum("logit" in name for name, _ in model.named_parameters()) == 1
    torch.testing.assert_close(model.convs[0].alpha(), torch.tensor(0.25))


def test_laws() -> None:
    assert_layer(lambda i, o: DirGNN(i, 7, 2, o, learn_alpha=True, normalize=True))


def test_options() -> None:
    x, edge_index = graph()
    model = DirGNN(5, 8, 2, 2, conv=partial(SAGEConv, aggr="max"))
    assert model(x, edge_index).shape == (20, 2)
    with pytest.raises(ValueError, match="`conv` must be a function or one of gcn, sage, gat"):
        DirGNN(5, 8, 2, 2, conv="gin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`jk` must be one of max, cat or None, got 'lstm'"):
        DirGNN(5, 8, 2, 2, jk="lstm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`num_layers` must be at least 1, got 0"):
        DirGNN(5, 8, 0, 2)
    assert all(isinstance(layer, DirectedConv) for layer in model.convs)
