"""The whole network against the paper's equations, layer by layer."""

import inspect
import math

import networkx as nx
import pytest
import torch
from torch.nn.functional import normalize
from torch_geometric.data import Batch, Data

from gnnlib.models import CoGNN, DRew
from gnnlib.ops import k_hop
from gnnlib.testing import assert_layer


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def ring(size):
    nodes = torch.arange(size)
    edges = torch.stack([nodes, nodes.roll(-1)])
    return torch.cat([edges, edges.flip(0)], 1)


@pytest.mark.parametrize("delay", [1, 2, math.inf])
@pytest.mark.parametrize("conv", ["gcn", "gin", "gatedgcn"])
def test_definition(conv, delay):
    num_nodes, edge_index = 11, ring(11)
    graph = nx.Graph(edge_index.T.tolist())
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    d = torch.tensor([[lengths[i][j] for j in range(num_nodes)] for i in range(num_nodes)])
    model = DRew(3, 8, 5, 2, conv=conv, delay=delay, l2_norm=True).eval()
    x = torch.randn(num_nodes, 3)
    states = [model.encoder(x)]
    for layer, (delayed, norm) in enumerate(zip(model.convs, model.norms, strict=True)):
        assert delayed.hops == layer + 1
        out = 0 if model.owns is None else model.owns[layer](states[-1])
        for hop in range(1, layer + 2):
            part = delayed.convs[hop - 1]
            state = states[layer - (0 if delay == math.inf else max(0, hop - delay))]
            near = (d == hop).double()
            if conv == "gcn":
                scale = near.sum(1).pow(-0.5).nan_to_num(posinf=0)
                out = out + (scale[:, None] * near * scale) @ state @ part.lin.weight.T + part.bias
            elif conv == "gin":
                out = out + part.nn(near @ state)
            else:
                gate = part.lin_target(states[-1])[:, None] + part.lin_source(state)
                gate = gate.sigmoid() * near[..., None]
                out = out + (gate * part.lin_value(state)).sum(1) / (gate.sum(1) + 1e-6)
        states.append(normalize(states[-1] + norm(out).relu(), dim=-1))
    torch.testing.assert_close(model(x, edge_index), model.decoder(states[-1]))


def test_batches_pools_and_pairs():
    model = DRew(3, 8, 3, 2, pool="mean", max_hops=2, norm="layer_norm").eval()
    graphs = [Data(x=torch.randn(n, 3), edge_index=ring(n)) for n in (3, 7, 12)]
    batch = Batch.from_data_list(graphs)
    out = model(batch.x, batch.edge_index, batch=batch.batch)
    alone = torch.cat([model(g.x, g.edge_index) for g in graphs])
    torch.testing.assert_close(out, alone)
    pairs = k_hop(batch.edge_index, model.num_hops)
    found = model(batch.x, batch.edge_index, batch=batch.batch, batch_size=3, k_hop=pairs)
    torch.testing.assert_close(found, out)


def test_is_called_as_other_models():
    theirs, ours = (list(inspect.signature(kind.forward).parameters) for kind in (CoGNN, DRew))
    assert ours[:7] == theirs[:7]
    x, weight = torch.randn(9, 3), torch.rand(18)
    model = DRew(3, 8, 2, 2).eval()
    hop = DRew(3, 8, 2, 2, max_hops=1).eval()
    for one, all_hops in zip(hop.convs, model.convs, strict=True):
        one.load_state_dict(all_hops.state_dict(), strict=False)
    for parts in ("encoder", "decoder", "norms"):
        getattr(hop, parts).load_state_dict(getattr(model, parts).state_dict())
    torch.nn.init.zeros_(model.convs[1].convs[1].lin.weight)  # the farther hop says nothing
    torch.testing.assert_close(model(x, ring(9), weight), hop(x, ring(9), weight))
    assert not torch.allclose(model(x, ring(9), weight), model(x, ring(9)))
    with pytest.raises(ValueError, match=r"GINConv.forward takes no `edge_weight`"):
        DRew(3, 8, 2, 2, conv="gin")(x, ring(9), weight)
    with pytest.raises(ValueError, match="DRew has no bipartite form"):
        model((x, x), ring(9))


@pytest.mark.parametrize("conv", ["gcn", pytest.param("gatedgcn", marks=pytest.mark.slow)])
def test_laws(conv):
    assert_layer(lambda i, o: DRew(i, 7, 3, o, conv=conv, norm=None))


def test_the_width_is_read_from_the_first_call():
    model = DRew(-1, 8, 3, 2)
    assert model(torch.randn(9, 3), ring(9)).shape == (9, 2)
    assert model.encoder.weight.shape == (8, 3)


def test_every_parameter_learns():
    for conv in ("gcn", "gin", "gatedgcn"):
        model = DRew(3, 8, 4, 2, conv=conv, learn_hop_weights=True)
        model(torch.randn(9, 3), ring(9)).square().sum().backward()
        silent = [name for name, p in model.named_parameters() if p.grad is None]
        assert not silent
        before = {name: p.clone() for name, p in model.named_parameters()}
        model.reset_parameters()
        changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
        assert any(name.startswith("convs.3.convs.3") for name in changed)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_layers": 0}, "`num_layers` must be at least 1"),
        ({"hidden_channels": 0}, "`hidden_channels` must be at least 1"),
        ({"out_channels": 0}, "`out_channels` must be at least 1"),
        ({"conv": "mean"}, "`conv` must be a function or one of"),
        ({"pool": "min"}, "`pool` must be one of"),
        ({"max_hops": 0}, "`max_hops` must be at least 1"),
        ({"delay": 0}, "`delay` must be"),
    ],
)
def test_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        DRew(
            **{"in_channels": 3, "hidden_channels": 4, "num_layers": 2, "out_channels": 1} | options
        )
