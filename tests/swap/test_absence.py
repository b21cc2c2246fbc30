"""Behind gates, through every conv and aggregation, a closed edge is not there."""

import pytest
import torch
from swap_cases import CONVS, nudge

import gnnlib
from gnnlib import Edges
from gnnlib.aggr import GNPAggregation, GRUAggregation, LCMAggregation, StatisticsAggregation
from gnnlib.lowering import run
from gnnlib.ops import KHop, k_hop

WIDTH, OUT, NODES = 6, 8, 12
AGGRS = {
    **{name: name for name in ("sum", "mean", "min", "max", "mul", "var", "std", "softmax")},
    "list": ["mean", "max", "std"],
    "lcm": LCMAggregation(shuffle=False),
    "gru": GRUAggregation(shuffle=False),
    "gnp": GNPAggregation(),
    "statistics": StatisticsAggregation(),
}
AXES = {
    "none": {},
    "directed": {"directed": True},
    "hops": {"hops": 3},
    "directed+hops": {"directed": True, "hops": 3},
}


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def layer_of(conv, axes):
    """What a swap puts behind the gates."""
    layer = gnnlib.swap(conv, cooperative="lin", **axes).eval()
    nudge(layer)
    return layer.layer.conv


def assert_absent(layer, edge_dim=None):
    g = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NODES - 1, (2, 40), generator=g)
    x = torch.randn(NODES, WIDTH, generator=g)
    attr = None if edge_dim is None else torch.randn(40, edge_dim, generator=g)
    broadcast, listen = (torch.rand(2, NODES, generator=g) < 0.6).double()
    pairs = k_hop(edge_index_of(edge_index), 3)
    open_, near = both(broadcast, listen, edge_index), both(broadcast, listen, pairs.pairs)
    left = KHop.of(pairs.pairs[:, near], pairs.distance[near], 3, NODES)
    gated = Edges(edge_index_of(edge_index), attr=attr, k_hop=pairs)
    there = Edges(
        edge_index_of(edge_index[:, open_]), attr=None if attr is None else attr[open_], k_hop=left
    )
    assert 0 < open_.sum() < 40
    found = run(layer, x, gated.masked(broadcast, listen))
    torch.testing.assert_close(found, run(layer, x, there))


def edge_index_of(edge_index):
    return gnnlib.Adjacency.of(edge_index, NODES)


def both(broadcast, listen, edge_index):
    return (broadcast[edge_index[0]] * listen[edge_index[1]]) > 0


MOST = [
    pytest.param(axes, id=name, marks=[pytest.mark.slow] * (name != "directed+hops"))
    for name, axes in AXES.items()
]


@pytest.mark.parametrize("axes", MOST)
@pytest.mark.parametrize("name", CONVS)
def test_a_closed_edge_is_absent_from_every_conv(name, axes):
    case = CONVS[name]
    if case.edge_dim is not None:
        axes = {name: value for name, value in axes.items() if name != "hops"}
    assert_absent(layer_of(case.make(WIDTH, OUT), axes), case.edge_dim)


@pytest.mark.parametrize("axes", MOST)
@pytest.mark.parametrize("aggr", AGGRS.values(), ids=AGGRS)
@pytest.mark.parametrize("conv", ["sage", "edge"])
def test_a_closed_edge_is_absent_from_every_aggregation(conv, aggr, axes):
    assert_absent(layer_of(CONVS[conv].make(WIDTH, OUT), axes | {"aggr": aggr}))


@pytest.mark.parametrize(
    "aggr",
    ["lcm", pytest.param("max", marks=pytest.mark.slow), ["mean", "max"]],
    ids=str,
)
@pytest.mark.parametrize("name", CONVS)
def test_a_closed_edge_is_absent_from_other_aggregations_of_every_conv(name, aggr):
    aggr = LCMAggregation(shuffle=False) if aggr == "lcm" else aggr
    assert_absent(layer_of(CONVS[name].make(WIDTH, OUT), {"aggr": aggr}), CONVS[name].edge_dim)
