"""Co-GNN against the paper's network written out, and its options."""

import pytest
import torch
from torch.nn.functional import layer_norm
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv

from gnnlib.layers import CooperativeConv, record_actions
from gnnlib.models import CoGNN, ModelConfig, build


def graph(seed=0, num_nodes=20, num_edges=70):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(num_nodes, 5, generator=g)
    return x, torch.randint(num_nodes, (2, num_edges), generator=g)


def test_definition():
    """Co-GNN(sum, mean), written from the paper with dense matrices."""
    torch.manual_seed(0)
    x, edge_index = graph()
    model = CoGNN(5, 8, 2, 3, conv="mean", action="sum", act="relu").eval()
    count = torch.zeros(20, 20)
    count.index_put_((edge_index[1], edge_index[0]), torch.ones(70), accumulate=True)
    net = model.convs[0].action_net.convs[0]

    def logits(h, k):
        return h @ net.lin.weight[k] + net.lin.bias[k] + count @ h @ net.lin_neighbor.weight[k]

    h = model.encoder(x).relu()
    for layer in model.convs:
        h = layer_norm(h, (8,), model.norm.weight, model.norm.bias)
        listen, broadcast = (logits(h, k).argmax(-1) == 0 for k in range(2))
        present = count * listen[:, None] * broadcast[None, :]
        heard = (present @ h) / present.sum(1, keepdim=True).clamp(min=1)
        h = h + (layer.conv.lin_l(heard) + layer.conv.lin_r(h)).relu()
    h = layer_norm(h, (8,), model.norm.weight, model.norm.bias)
    torch.testing.assert_close(model(x, edge_index), model.decoder(h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conv", ["mean", "sum", "gcn", "gin", "gat"])
@pytest.mark.parametrize("action", ["mean", "gcn", "gin", "lin", None])
def test_every_pair_learns(conv, action):
    torch.manual_seed(0)
    x, edge_index = graph()
    model = CoGNN(5, 8, 3, 2, conv=conv, action=action, learn_temperature=True, dropout=0.1)
    model(x, edge_index).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_without_actions_it_is_a_plain_network():
    x, edge_index = graph()
    model = CoGNN(5, 8, 3, 2, action=None).eval()
    with record_actions() as actions:
        model(x, edge_index)
    assert not actions
    assert not any(isinstance(m, CooperativeConv) for m in model.modules())


def test_layers_share_action_network_norm_and_temperature():
    model = CoGNN(5, 8, 4, 2, learn_temperature=True)
    assert len({id(conv.action_net) for conv in model.convs}) == 1
    assert len({id(conv.temperature) for conv in model.convs}) == 1
    assert len({id(conv.conv) for conv in model.convs}) == 4


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_pooling_is_one_row_a_graph(pool):
    model = CoGNN(5, 8, 2, 3, pool=pool, decoder_layers=2).eval()
    graphs = [Data(*graph(seed, num_nodes=4 + seed, num_edges=9)) for seed in range(3)]
    batch = Batch.from_data_list(graphs)
    together = model(batch.x, batch.edge_index, batch=batch.batch)
    alone = torch.cat([model(g.x, g.edge_index) for g in graphs])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_own_environment():
    model = CoGNN(5, 8, 2, 3, conv=lambda i, o: GraphConv(i, o, aggr="max"))
    x, edge_index = graph()
    out = model(x, edge_index, torch.rand(70))
    assert out.shape == (20, 3)


def test_same_bits_on_one_and_two_threads():
    x, edge_index = graph(0, 500, 20_000)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            # Without layer norm, whose backward pass in torch sums once a thread.
            model = CoGNN(5, 8, 2, 3, action="sum", layer_norm=False)
            out = model(x, edge_index, generator=torch.Generator().manual_seed(0))
            out.square().sum().backward()
            results.append([out, *(p.grad for p in model.parameters())])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_state_dict_and_reset():
    x, edge_index = graph()
    first, second = (CoGNN(5, 8, 2, 3, learn_temperature=True).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, edge_index), second(x, edge_index))
    second.reset_parameters()
    assert not torch.equal(first(x, edge_index), second(x, edge_index))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"conv": "x"}, "got 'x'"),
        ({"pool": "x"}, "got 'x'"),
        ({"num_layers": 0}, "at least 1, got 0"),
        ({"decoder_layers": 0}, "at least 1, got 0"),
    ],
)
def test_wrong_options(options, match):
    with pytest.raises(ValueError, match=match):
        CoGNN(5, 8, **({"num_layers": 2} | options), out_channels=3)


@pytest.mark.parametrize("name", ["cognn", "gcn", "sage", "gin"])
@pytest.mark.parametrize("cooperative", [False, True])
def test_build(name, cooperative):
    x, edge_index = graph()
    model = build(ModelConfig(name=name, cooperative=cooperative, hidden_channels=8), 5, 3)
    assert model.eval()(x, edge_index).shape == (20, 3)
    with record_actions() as actions:
        model(x, edge_index)
    assert len(actions) == (3 if cooperative or name == "cognn" else 0)


def test_build_cooperative_keeps_the_plain_models_weights():
    models = []
    for cooperative in (False, True):
        torch.manual_seed(0)
        models.append(build(ModelConfig(name="gcn", cooperative=cooperative), 5, 3))
    plain, twin = models
    for theirs, ours in zip(plain.convs, twin.convs, strict=True):
        assert isinstance(ours, CooperativeConv)
        assert torch.equal(ours.conv.lin.weight, theirs.lin.weight)
    assert twin.convs[1].action_net is twin.convs[2].action_net


def test_cooperative_needs_an_action_network():
    with pytest.raises(ValueError, match="action"):
        build(ModelConfig(name="gcn", cooperative=True, action="none"), 5, 3)
