"""A swapped network is the network that is written by hand with gnnlib's layers: same outputs, same
gradients, with the same weights.

The networks by hand are spelled out, one for each axis and one for all, with layers of several
widths, so that the states that are heard late are projected.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg

import gnnlib
from gnnlib import Edges, History
from gnnlib.aggr import LCMAggregation
from gnnlib.layers import ActionNet, CooperativeConv, DelayedConv, DirectedConv
from gnnlib.ops import k_hop

NODES, SIZES = 40, [(5, 8), (8, 8), (8, 4)]


def gatv2(in_channels, out_channels, **options):
    return pyg.GATv2Conv(in_channels, out_channels // 2, heads=2, **options)


CONVS = {"gcn": pyg.GCNConv, "sage": pyg.SAGEConv, "gatv2": gatv2}
# How wide the messages of each are.
MESSAGES = {
    pyg.GCNConv: lambda _, o: o,
    pyg.SAGEConv: lambda i, _: i,
    gatv2: lambda _, o: o // 2,
}


class Plain(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.second, self.third = (make(i, o) for i, o in SIZES)

    def forward(self, x, edge_index):
        x = self.first(x, edge_index).tanh()
        x = self.second(x, edge_index).tanh()
        return self.third(x, edge_index)


class Cooperative(Plain):
    def __init__(self, make):
        super().__init__(make)
        narrow, wide = ActionNet(5, 6, 2, "sum"), ActionNet(8, 6, 2, "sum")
        self.first = CooperativeConv(self.first, narrow, temperature=1.0)
        self.second = CooperativeConv(self.second, wide, temperature=1.0)
        self.third = CooperativeConv(self.third, wide, temperature=1.0)


class Directed(Plain):
    def __init__(self, make):
        super().__init__(make)
        self.first = DirectedConv(self.first, alpha=0.3, learn_alpha=True)
        self.second = DirectedConv(self.second, alpha=0.3, learn_alpha=True)
        self.third = DirectedConv(self.third, alpha=0.3, learn_alpha=True)


def delayed(make):
    """Three hops in the third layer, of which two are heard late and one of those is narrower."""
    first, second, third = (make(i, o) for i, o in SIZES)
    narrow = {1: nn.Linear(5, 8, bias=False)}, {2: nn.Linear(5, 8, bias=False)}
    return (
        DelayedConv(first, 1),
        DelayedConv(second, 2, projections=narrow[0]),
        DelayedConv(third, 3, projections=narrow[1]),
    )


class Delayed(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.second, self.third = delayed(make)

    def forward(self, x, edge_index):
        start = x
        x = self.first(start, edge_index, history=History()).tanh()
        middle = x
        x = self.second(middle, edge_index, history=History(states=(start,))).tanh()
        return self.third(x, edge_index, history=History(states=(middle, start)))


class Folded(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.second, self.third = (
            make(i, o, aggr=LCMAggregation(MESSAGES[make](i, o))) for i, o in SIZES
        )

    forward = Plain.forward


class Maximum(Plain):
    def __init__(self, make):
        super().__init__(partial(make, aggr="max"))


class Everything(nn.Module):
    def __init__(self, make):
        super().__init__()
        narrow, wide = ActionNet(5), ActionNet(8)
        first, second, third = (DirectedConv(layer) for layer in delayed(partial(make, aggr="max")))
        self.first = CooperativeConv(first, narrow, temperature=1.0)
        self.second = CooperativeConv(second, wide, temperature=1.0)
        self.third = CooperativeConv(third, wide, temperature=1.0)

    def forward(self, x, edge_index):
        edges, history = Edges.of(edge_index, size=x.size(0)), History(depth=2)
        edges = replace(edges, k_hop=k_hop(edges.adj, 3))
        for layer in (self.first, self.second):
            out = layer(x, replace(edges, history=history)).tanh()
            x, history = out, history.push(x)
        return self.third(x, replace(edges, history=history))


COOPERATIVE = {"action": "sum", "action_channels": 6, "action_layers": 2, "temperature": 1.0}
CASES = {
    "cooperative": (Cooperative, {"cooperative": COOPERATIVE}),
    "directed": (Directed, {"directed": {"alpha": 0.3, "learn_alpha": True}}),
    "delayed": (Delayed, {"delay": 1}),
    "max": (Maximum, {"aggr": "max"}),
    "lcm": (Folded, {"aggr": "lcm"}),
    "all": (
        Everything,
        {"cooperative": {"temperature": 1.0}, "directed": True, "delay": 1, "aggr": "max"},
    ),
}


def outcome(model, x, edge_index):
    """The output, and the gradients of the features and, by name, of all parameters."""
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    out = model(x, edge_index)
    names, learnt = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(out.sin().sum(), [x, *learnt], materialize_grads=True)
    return {"out": out.detach(), **dict(zip(("x", *map(by_hand, names)), grads, strict=True))}


def by_hand(name):
    """What a parameter of a swapped model is called in the one by hand."""
    return name.replace(".layer.", ".")


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("axes", CASES)
@pytest.mark.parametrize("conv", CONVS)
def test_equals_the_network_by_hand(conv, axes, training):
    torch.manual_seed(6)  # with which no layer falls silent
    make, (written, asked) = CONVS[conv], CASES[axes]
    x = torch.randn(NODES, SIZES[0][0], dtype=torch.float64)
    edge_index = torch.randint(NODES, (2, 120))
    swapped = gnnlib.swap(Plain(make), **asked).double().train(training)
    with torch.no_grad():
        for parameter in swapped.parameters():  # what begins as a copy is not one any more
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    hand = written(make).double().train(training)
    hand.load_state_dict({by_hand(name): value for name, value in swapped.state_dict().items()})
    ours, theirs = outcome(swapped, x, edge_index), outcome(hand, x, edge_index)
    assert ours.keys() == theirs.keys()
    assert [name for name, grad in ours.items() if not grad.any()] == []  # so that all is seen
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, msg=lambda text, n=name: f"{n}: {text}")
