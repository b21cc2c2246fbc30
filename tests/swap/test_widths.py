"""Widths stay right: of aggregations that change them, and of states that are heard late."""

import pytest
import torch
from swap_cases import CONVS, Stack
from torch import nn
from torch_geometric.nn import GAT, GCNConv, GraphSAGE, MessagePassing, SAGEConv
from torch_geometric.nn.aggr import DegreeScalerAggregation, MultiAggregation

import gnnlib
from gnnlib.aggr import GRUAggregation, LCMAggregation, StatisticsAggregation
from gnnlib.swap._aggr import ProjectedAggregation

WIDTH, HIDDEN, OUT, NODES = 6, 8, 4, 12
WIDER = {
    "list": ["mean", "max"],
    "statistics": "statistics",
    "module": StatisticsAggregation(),
    "scaler": DegreeScalerAggregation(
        ["mean", "max"], ["identity", "linear"], torch.tensor([1, 3, 4, 2, 2])
    ),
    "multi": MultiAggregation(["sum", LCMAggregation()]),
}
SLOW = ("list", "module", "multi")


def draw(edge_dim=None):
    g = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NODES - 1, (2, 40), generator=g)
    attr = {} if edge_dim is None else {"edge_attr": torch.randn(40, edge_dim, generator=g)}
    return torch.randn(NODES, WIDTH, generator=g), edge_index, attr


def assert_learns(model, out, parts=()):
    """All of these parts get a gradient."""
    out.sin().sum().backward()
    found = [p for name, p in model.named_parameters() if any(part in name for part in parts)]
    assert len(found) >= len(parts)
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in found)


@pytest.mark.parametrize(
    "aggr",
    [pytest.param(WIDER[n], id=n, marks=[pytest.mark.slow] * (n in SLOW)) for n in WIDER],
)
@pytest.mark.parametrize("name", CONVS)
def test_an_aggregation_of_another_width_is_projected(name, aggr):
    torch.manual_seed(0)
    case = CONVS[name]
    model = gnnlib.swap(Stack([case.make(WIDTH, HIDDEN), case.make(HIDDEN, OUT)]), aggr=aggr)
    projected = [part for part in model.modules() if isinstance(part, ProjectedAggregation)]
    assert len(projected) == 2
    x, edge_index, attr = draw(case.edge_dim)
    out = model(x, edge_index, **attr)
    assert out.shape == (NODES, OUT)
    assert_learns(model, out, ["aggr_module.lin.weight"])


def test_an_aggregation_that_makes_rows_of_the_width_that_it_is_told_is_projected_back():
    model = gnnlib.swap(SAGEConv(WIDTH, OUT), aggr=GRUAggregation(WIDTH, 5))
    out = model(*draw()[:2])
    assert out.shape == (NODES, OUT)
    assert (model.aggr_module.lin.in_channels, model.aggr_module.lin.out_channels) == (5, WIDTH)


@pytest.mark.parametrize("heads", [1, 3])
def test_states_of_other_widths_pass_through_maps(heads):
    torch.manual_seed(0)
    model = GAT(WIDTH, 9, num_layers=3, out_channels=OUT, heads=heads)
    model = gnnlib.swap(model, delay=1)
    first = {f"{k}.{age}": p for k, conv in enumerate(model.convs) for age, p in maps(conv)}
    assert {name: (p.in_channels, p.out_channels) for name, p in first.items()} == {
        "1.1": (WIDTH, 9),
        "2.2": (WIDTH, 9),
    }
    assert_learns(model, model(*draw()[:2]), ["projections"])


def maps(conv):
    return conv.layer.projections.items()


def test_states_of_one_width_need_no_map():
    model = gnnlib.swap(GraphSAGE(WIDTH, WIDTH, num_layers=3), delay=1)
    assert not any("projections" in name for name, _ in model.named_parameters())


class Tutorial(MessagePassing):
    """A conv that keeps its widths to itself, as those of PyG's tutorials."""

    def __init__(self, width, out):
        super().__init__(aggr="add")
        self.lin = nn.Linear(width, out)

    def forward(self, x: torch.Tensor | tuple[torch.Tensor, torch.Tensor], edge_index):
        heard = x[0] if isinstance(x, tuple) else x
        return self.propagate(edge_index, x=self.lin(heard))


@pytest.mark.parametrize("aggr", [None, "lcm", ["mean", "max"]], ids=str)
def test_a_conv_that_does_not_tell_its_width_is_tried(aggr):
    model = Stack([Tutorial(WIDTH, HIDDEN), Tutorial(HIDDEN, OUT)])
    model = gnnlib.swap(model, cooperative=True, directed=True, delay=1, aggr=aggr)
    assert [conv.layer.action_net.in_channels for conv in model.convs] == [WIDTH, HIDDEN]
    assert_learns(model, model(*draw()[:2]), ["projections"])


def test_a_conv_that_learned_its_width_is_not_taken_for_its_aggregation():
    model = Stack([GCNConv(-1, HIDDEN), GCNConv(-1, OUT)])
    model(*draw()[:2])
    model = gnnlib.swap(model, cooperative=True, aggr="lcm")
    assert [conv.layer.action_net.in_channels for conv in model.convs] == [WIDTH, HIDDEN]
    assert model(*draw()[:2]).shape == (NODES, OUT)
