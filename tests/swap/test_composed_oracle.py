"""Swapped networks against the papers' equations, for every subset of the axes."""

import itertools
import math

import pytest
import torch
from swap_cases import SUBSETS, Stack, nudge
from swap_oracle import Aggregated, Network, Weights
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, GraphConv, SAGEConv

import gnnlib
from gnnlib.aggr import LCMAggregation
from gnnlib.layers import record_actions

WIDTHS = (5, 6, 6, 4)


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gin(width, out):
    return GINConv(nn.Sequential(nn.Linear(width, 7), nn.Tanh(), nn.Linear(7, out)), train_eps=True)


CONVS = {"gcn": GCNConv, "sage": SAGEConv, "graph": GraphConv, "gin": gin, "gat": GATConv}
OWN = {"gcn": "sum", "sage": "mean", "graph": "sum", "gin": "sum", "gat": "sum"}
LCM = LCMAggregation(shuffle=False)
AGGRS = ["max", LCM, ["mean", "max"]]


def draw(seed):
    """A random graph with self loops, repeated edges, a source, a sink, and a node alone."""
    g = torch.Generator().manual_seed(seed)
    edges = torch.randint(6, (2, 11), generator=g)
    edges = torch.cat([edges, edges[:, :2], torch.tensor([[6, 0, 2], [1, 7, 2]])], 1)
    return torch.randn(9, WIDTHS[0], generator=g), edges[:, torch.randperm(16, generator=g)]


def swapped(conv, axes, seed, widths):
    torch.manual_seed(seed)
    model = Stack(CONVS[conv](*pair) for pair in itertools.pairwise(widths))
    model = gnnlib.swap(model, **axes).eval()
    nudge(model, seed, share=0.5)
    return model


def assert_as_written(conv, axes, seed=0, widths=WIDTHS):
    model, aggr = swapped(conv, axes, seed, widths), axes.get("aggr") or OWN[conv]
    network = Network(
        conv,
        Aggregated((lambda width: LCMAggregation(width, shuffle=False)) if aggr is LCM else aggr),
        "cooperative" in axes,
        "directed" in axes,
        axes.get("delay"),
    )
    # A layer of which nothing but the aggregation is new is the conv itself.
    inside = ".layer" if set(axes) - {"aggr"} else ""
    known = dict(model.named_parameters(remove_duplicate=False))
    layers = [Weights(known, f"convs.{k}{inside}.") for k in range(len(widths) - 1)]
    x, edge_index = draw(seed)
    with record_actions() as seen:
        out = model(x, edge_index)
    torch.testing.assert_close(out, network(layers, x, edge_index.T.tolist()))
    if seen:  # some nodes act one way and some the other
        gates = torch.cat([torch.cat([actions.listen, actions.broadcast]) for actions in seen])
        assert 0 < gates.mean() < 1


def cases():
    """Every conv with every subset and aggregation, of which a part runs at once."""
    found = []
    for turn, (name, conv) in enumerate(itertools.product(SUBSETS, CONVS)):
        if "aggr" not in SUBSETS[name]:
            found.append(pytest.param(conv, SUBSETS[name], id=f"{name}-{conv}"))
            continue
        for k, aggr in enumerate(AGGRS):
            marks = [pytest.mark.slow] * (turn % 7 > 2 or k != turn % 3)
            label = "lcm" if aggr is LCM else aggr if isinstance(aggr, str) else "+".join(aggr)
            axes = SUBSETS[name] | {"aggr": aggr}
            found.append(pytest.param(conv, axes, id=f"{name}={label}-{conv}", marks=marks))
    return found


@pytest.mark.parametrize(("conv", "axes"), cases())
def test_a_swapped_network_is_what_the_papers_say(conv, axes):
    assert_as_written(conv, axes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("conv", "axes"), cases())
def test_on_other_graphs_too(conv, axes, seed):
    assert_as_written(conv, axes, seed)


@pytest.mark.parametrize("delay", [2, math.inf])
@pytest.mark.parametrize("conv", ["gcn", pytest.param("sage", marks=pytest.mark.slow)])
@pytest.mark.parametrize("others", [{}, {"cooperative": True, "directed": True, "aggr": LCM}])
def test_other_delays_are_what_drew_says(conv, delay, others):
    assert_as_written(conv, {"delay": delay, **others})


def test_states_of_every_width_are_heard():
    # Every layer of another width, so that the last one hears three of them through maps.
    assert_as_written("sage", {"delay": 1, "cooperative": True}, widths=(5, 3, 7, 6, 4))
