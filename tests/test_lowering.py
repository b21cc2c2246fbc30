"""The lowering table against PyG's own forward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, GraphConv, SAGEConv

from gnnlib import Edges
from gnnlib.lowering import lowering_of, message_edges, run


def mlp(width):
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, width))


CONVS = {
    "gcn": lambda o, **k: GCNConv(6, o, **k),
    "gcn-improved": lambda o, **k: GCNConv(6, o, improved=True, **k),
    "gcn-no-loops": lambda o, **k: GCNConv(6, o, add_self_loops=False, **k),
    "gcn-raw": lambda o, **k: GCNConv(6, o, normalize=False, bias=False, **k),
    "gin": lambda o, **k: GINConv(mlp(o), **k),
    "gin-eps": lambda o, **k: GINConv(mlp(o), eps=0.5, train_eps=True, **k),
    "gin-max": lambda o, **k: GINConv(mlp(o), aggr="max", **k),
    "sage-project": lambda o, **k: SAGEConv(6, o, project=True, normalize=True, **k),
    "sage-rootless": lambda o, **k: SAGEConv(6, o, root_weight=False, bias=False, **k),
    **{
        f"sage-{aggr}": lambda o, aggr=aggr, **k: SAGEConv(6, o, aggr=aggr, **k)
        for aggr in ("sum", "add", "mean", "min", "max")
    },
    **{
        f"graph-{aggr}": lambda o, aggr=aggr, **k: GraphConv(6, o, aggr=aggr, **k)
        for aggr in ("add", "mean", "min", "max")
    },
}
WEIGHTED = [name for name in CONVS if name.startswith(("gcn", "graph"))]
FLOWS = ("source_to_target", "target_to_source")


def graph(seed, loops=True):
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(9, (2, 40), generator=g)
    if not loops:
        edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    weight = torch.rand(edge_index.size(1), generator=g)
    return torch.randn(9, 6, generator=g), edge_index, weight, g


def both(conv, x, edge_index, weight=None):
    edges = message_edges(conv, Edges.of(edge_index, weight, size=x.size(0)))
    signals = () if weight is None else (weight,)
    return run(conv, x, edges), conv(x, edge_index, *signals)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    "width", [3, 8]
)  # narrower and wider than the input: projected first, last
@pytest.mark.parametrize("name", CONVS)
def test_same_as_pyg(name, width, flow):
    torch.manual_seed(0)
    conv = CONVS[name](width, flow=flow)
    assert lowering_of(conv) is not None
    for loops in (True, False):
        x, edge_index, weight, _ = graph(1, loops)
        for signal in (None, weight) if name in WEIGHTED else (None,):
            x = x.clone().requires_grad_()
            ours, theirs = both(conv, x, edge_index, signal)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
            probe = torch.randn_like(ours)
            parameters = [x, *conv.parameters()]
            mine = torch.autograd.grad((ours * probe).sum(), parameters)
            reference = torch.autograd.grad((theirs * probe).sum(), parameters)
            torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(CONVS)), st.integers(0, 999))
def test_gated_is_pyg_on_open_edges(name, seed):
    torch.manual_seed(seed)
    conv = CONVS[name](5)
    x, edge_index, weight, g = graph(seed)
    broadcast, listen = (torch.rand(2, 9, generator=g) < 0.6).float()
    keep = (broadcast[edge_index[0]] * listen[edge_index[1]]).bool()
    for signal in (None, weight) if name in WEIGHTED else (None,):
        edges = Edges.of(edge_index, signal, size=9).masked(broadcast, listen)
        signals = () if signal is None else (signal[keep],)
        expected = conv(x, edge_index[:, keep], *signals)
        torch.testing.assert_close(run(conv, x, edges), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in CONVS if not n.startswith("gcn")])
def test_bipartite(name):
    conv = CONVS[name](4)
    x_src, x_dst = torch.randn(5, 6), torch.randn(3, 6)
    edge_index = torch.stack([torch.randint(5, (12,)), torch.randint(3, (12,))])
    edges = Edges.of(edge_index, size=(5, 3))
    ours, theirs = run(conv, (x_src, x_dst), edges), conv((x_src, x_dst), edge_index)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with_none = conv((x_src, None), edge_index, size=(5, 3))
    torch.testing.assert_close(run(conv, (x_src, None), edges), with_none, rtol=1e-4, atol=1e-5)


def test_gcn_refuses_bipartite():
    edges = Edges.of(torch.tensor([[0], [0]]), size=(2, 1))
    with pytest.raises(ValueError, match="no bipartite form"):
        run(GCNConv(6, 4), (torch.randn(2, 6), torch.randn(1, 6)), edges)


def test_lazy_sizes():
    for conv in (GCNConv(-1, 3), SAGEConv(-1, 3), GraphConv(-1, 3)):
        x, edge_index, _, _ = graph(0)
        out = run(conv, x, Edges.of(edge_index, size=9))
        torch.testing.assert_close(out, conv(x, edge_index), rtol=1e-4, atol=1e-5)


def test_hooks_explanations_and_subclasses_keep_pygs_own_path():
    class Louder(SAGEConv):
        def message(self, x_j):
            return 2 * x_j

    x, edge_index, _, _ = graph(0)
    seen = []
    for conv in (SAGEConv(6, 3), SAGEConv(6, 3), SAGEConv(6, 3), Louder(6, 3), GCNConv(6, 3)):
        if isinstance(conv, GCNConv):
            conv.cached = True
        elif not isinstance(conv, Louder):
            register = ["register_forward_hook", "register_message_forward_hook"][len(seen) % 2]
            getattr(conv, register)(lambda *_: seen.append(1))
        assert lowering_of(conv) is None
        ours, theirs = both(conv, x, edge_index)
        torch.testing.assert_close(ours, theirs)
    assert seen
    explained = SAGEConv(6, 3)
    explained.explain = True
    assert lowering_of(explained) is None


def test_hooks_are_removed_even_when_the_conv_fails():
    conv = GATConv(6, 3)
    edges = Edges.of(torch.tensor([[0], [1]]), size=9).masked(broadcast=torch.ones(9))
    with pytest.raises(RuntimeError):
        run(conv, torch.randn(9, 5), edges)
    assert not conv._message_forward_hooks
    assert not conv._propagate_forward_pre_hooks


def test_any_module_runs_on_a_graph():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(6, 4)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index).relu()

    x, edge_index, _, _ = graph(0)
    net = Net()
    out = run(net, x, Edges.of(edge_index, size=9))
    torch.testing.assert_close(out, net(x, edge_index))


def test_gcn_in_half_precision_does_not_overflow_at_a_hub():
    hub = torch.stack([torch.arange(1, 2001), torch.zeros(2000, dtype=torch.long)])
    x = torch.full((2001, 6), 75.0).half()
    conv = GCNConv(6, 4).half()
    ours, theirs = both(conv, x, hub)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)


def test_any_linear_may_stand_in():
    class Louder(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 100

    x, edge_index, _, _ = graph(0)
    for lin in (nn.Linear(6, 3), Louder(6, 3)):
        conv = SAGEConv(6, 3)
        conv.lin_l = lin
        ours, theirs = both(conv, x, edge_index)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_explaining_behind_gates_is_refused():
    conv = SAGEConv(6, 3)
    conv.explain = True
    x, edge_index, _, _ = graph(0)
    with pytest.raises(ValueError, match="explain"):
        run(conv, x, Edges.of(edge_index, size=9).masked(broadcast=torch.ones(9)))
