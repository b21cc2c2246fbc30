"""The innermost call of every wrapper, lowered or not, against PyG's own forward."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyg_convs import CASES, NODES, WIDTH, assert_same, graph
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GraphConv, SAGEConv

from gnnlib import Edges, accelerate
from gnnlib.lowering import lowering_of, message_edges, run

FLOWS = ("source_to_target", "target_to_source")


def both(conv, x, edge_index, weight=None):
    edges = message_edges(conv, Edges.of(edge_index, weight, size=x.size(0)))
    signals = () if weight is None else (weight,)
    return run(conv, x, edges), conv(x, edge_index, *signals)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(CASES)), st.sampled_from(FLOWS), st.integers(0, 999))
def test_gated_is_pyg_on_open_edges(name, flow, seed):
    case, edge_index = CASES[name], graph("any", seed)
    torch.manual_seed(seed)
    conv = case.make(5, flow=flow).double()
    x = torch.randn(NODES, WIDTH, dtype=torch.float64, requires_grad=True)
    broadcast, listen = (torch.rand(2, NODES) < 0.6).double()
    broadcast[0], listen[1] = 0, 0
    src, dst = edge_index if flow == FLOWS[0] else edge_index.flip(0)
    keep = (broadcast[src] * listen[dst]).bool()
    weights = (None, torch.rand(50, dtype=torch.float64)) if case.weight else (None,)
    for weight, width in itertools.product(weights, case.attr):
        attr = None if width is None else torch.randn(50, width, dtype=torch.float64)
        signals = {"edge_weight": weight, "edge_attr": attr}
        signals = {name: signal for name, signal in signals.items() if signal is not None}
        edges = message_edges(conv, Edges.of(edge_index, weight, attr, size=NODES))
        edges = edges.masked(broadcast, listen)
        kept = {name: signal[keep] for name, signal in signals.items()}
        assert_same(
            gradients(run(conv, x, edges), x, conv),
            gradients(conv(x, edge_index[:, keep], **kept), x, conv),
            case.precision,
        )


def gradients(out, x, conv):
    probe = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).sin().view_as(out)
    leaves = [x, *conv.parameters()]
    return [out, *torch.autograd.grad((out * probe).sum(), leaves, allow_unused=True)]


def test_gcn_refuses_bipartite():
    edges = Edges.of(torch.tensor([[0], [0]]), size=(2, 1))
    with pytest.raises(ValueError, match="no bipartite form"):
        run(GCNConv(6, 4), (torch.randn(2, 6), torch.randn(1, 6)), edges)


def test_lazy_sizes():
    for conv in (GCNConv(-1, 3), SAGEConv(-1, 3), GraphConv(-1, 3)):
        x, edge_index = torch.randn(NODES, 6), graph("any")
        out = run(conv, x, Edges.of(edge_index, size=NODES))
        torch.testing.assert_close(out, conv(x, edge_index), rtol=1e-4, atol=1e-5)


def test_hooks_explanations_and_subclasses_keep_pygs_own_path():
    class Louder(SAGEConv):
        def message(self, x_j):
            return 2 * x_j

    x, edge_index = torch.randn(NODES, 6), graph("any")
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
    edges = Edges.of(torch.tensor([[0], [1]]), size=NODES).masked(broadcast=torch.ones(NODES))
    with pytest.raises(RuntimeError):
        run(conv, torch.randn(NODES, 5), edges)
    assert not conv._message_forward_hooks
    assert not conv._propagate_forward_pre_hooks


def test_any_module_runs_on_a_graph():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(6, 4)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index).relu()

    x, edge_index = torch.randn(NODES, 6), graph("any")
    net = Net()
    out = run(net, x, Edges.of(edge_index, size=NODES))
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

    x, edge_index = torch.randn(NODES, 6), graph("any")
    for lin in (nn.Linear(6, 3), Louder(6, 3)):
        conv = SAGEConv(6, 3)
        conv.lin_l = lin
        ours, theirs = both(conv, x, edge_index)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parameter", [False, True])
def test_explaining_behind_gates_masks_the_open_edges(parameter):
    conv, x, edge_index = GraphConv(6, 3), torch.randn(NODES, 6), graph("any")
    mask = torch.rand(edge_index.size(1), requires_grad=True)
    gates = {"broadcast": (torch.arange(NODES) % 3 > 0).float()}
    weighed = Edges.of(edge_index, mask, size=NODES).masked(**gates)
    expected = run(conv, x, weighed)
    (grad,) = torch.autograd.grad(expected.square().sum(), mask)
    conv.explain, conv._apply_sigmoid = True, False
    mask = nn.Parameter(mask.detach()) if parameter else mask
    conv._edge_mask = mask
    found = run(conv, x, Edges.of(edge_index, size=NODES).masked(**gates))
    torch.testing.assert_close(found, expected)
    open_ones = gates["broadcast"][edge_index[0]] > 0
    (ours,) = torch.autograd.grad(found.square().sum(), mask)
    torch.testing.assert_close(ours, grad * open_ones, rtol=1e-4, atol=1e-4)
    assert conv._edge_mask is mask


def test_a_conv_runs_on_our_kernels_again_once_it_is_explained():
    conv = SAGEConv(6, 3)
    conv.explain = True
    conv.explain = None
    assert lowering_of(conv) is not None
    conv.propagate = lambda *_, **__: None
    assert lowering_of(conv) is None


def test_a_replaced_message_is_behind_the_gates_too():
    conv, x, edge_index = SAGEConv(6, 3, aggr="sum"), torch.randn(NODES, 6), graph("any")
    half = Edges.of(edge_index, size=NODES).masked(broadcast=torch.full((NODES,), 0.5))
    expected = run(conv, x, half)
    conv.propagate = conv.propagate  # one of its own, which does the same
    conv.register_message_forward_hook(lambda *_: None)
    torch.testing.assert_close(run(conv, x, half), expected)


@pytest.mark.parametrize("aggr", ["mean", "max", "std"])
def test_a_gcn_that_does_not_sum_keeps_pygs_own_path(aggr):
    conv, x, edge_index = GCNConv(6, 3, aggr=aggr), torch.randn(NODES, 6), graph("any")
    assert lowering_of(conv) is None
    assert torch.equal(run(conv, x, Edges.of(edge_index, size=NODES)), conv(x, edge_index))


def test_an_accelerated_conv_is_lowered_behind_gates_too():
    conv, x = GATConv(6, 3, heads=2), torch.randn(NODES, 6)
    edges = Edges.of(graph("any"), size=NODES).masked(broadcast=torch.ones(NODES))
    fast = accelerate(conv)
    assert lowering_of(fast) is lowering_of(conv)
    assert torch.equal(run(fast, x, edges), run(conv, x, edges))
    fast.register_message_forward_hook(lambda _, __, message: 2 * message)
    assert lowering_of(fast) is None
    assert not torch.allclose(run(fast, x, edges), run(conv, x, edges))


def test_gates_learn_beside_a_node_that_nobody_reaches():
    conv = GCNConv(3, 3, add_self_loops=False)
    gates = [torch.ones(3, requires_grad=True) for _ in range(2)]
    edges = Edges.of(torch.tensor([[0, 1], [1, 0]]), size=3).masked(*gates)
    run(conv, torch.randn(3, 3), edges).sum().backward()
    assert all(gate.grad.isfinite().all() for gate in gates)
