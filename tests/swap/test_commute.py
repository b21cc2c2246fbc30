"""A model is swapped and accelerated in either order, with the same results."""

import pytest
import torch
from swap_cases import CONVS, SUBSETS, Stack
from torch_geometric.nn import GAT, GCN, GIN, PNA, GraphSAGE

import gnnlib

WIDTH, HIDDEN, OUT, NODES = 6, 8, 4, 12
WITHOUT_DELAY = {"cooperative": True, "directed": True, "aggr": "lcm"}
AXES = {name: SUBSETS[name] for name in ("aggr", "cooperative+directed", "delay+aggr")}
AXES["cooperative+directed+delay+aggr"] = SUBSETS["cooperative+directed+delay+aggr"]
FAST = {
    ("gcn", "cooperative+directed"),
    ("gin", "cooperative+directed+delay+aggr"),
    ("gat", "delay+aggr"),
    ("nn", "aggr"),
}


def results(model, edge_dim=None):
    """What a model returns, and the gradients of all it has, by name."""
    g = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NODES - 1, (2, 40), generator=g)
    x = torch.randn(NODES, WIDTH, generator=g, dtype=torch.float64)
    attr = torch.randn(40, edge_dim or 0, generator=g, dtype=torch.float64)
    given = {} if edge_dim is None else {"edge_attr": attr}
    named = dict(model.named_parameters())
    out = model(x, edge_index, **given)
    gradients = torch.autograd.grad(out.sin().sum(), named.values(), allow_unused=True)
    return {"out": out, **dict(zip(named, gradients, strict=True))}


def swapped(model, axes):
    torch.manual_seed(0)
    return gnnlib.swap(model, **axes).double().eval()


def assert_commutes(model, axes, edge_dim=None):
    model = model.double().eval()
    expected = results(swapped(model, axes), edge_dim)
    for either in (
        swapped(gnnlib.accelerate(model), axes),
        gnnlib.accelerate(swapped(model, axes)),
    ):
        torch.testing.assert_close(results(either, edge_dim), expected)


def marks_of(name, axes):
    return [] if (name, axes) in FAST else [pytest.mark.slow]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        pytest.param(name, AXES[axes], id=f"{name}-{axes}", marks=marks_of(name, axes))
        for name in CONVS
        for axes in AXES
    ],
)
def test_convs_are_swapped_and_accelerated_in_either_order(name, axes):
    torch.manual_seed(1)
    case = CONVS[name]
    axes = {k: v for k, v in axes.items() if k != "delay" or case.no_delay is None}
    model = Stack([case.make(WIDTH, HIDDEN), case.make(HIDDEN, OUT)])
    assert_commutes(model, axes, case.edge_dim)


@pytest.mark.parametrize(
    "kind", [GCN, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (GraphSAGE, GIN, GAT))]
)
def test_networks_of_pyg_are_swapped_and_accelerated_in_either_order(kind):
    torch.manual_seed(1)
    model = kind(WIDTH, HIDDEN, num_layers=3, out_channels=OUT, norm="batch", jk="cat")
    assert_commutes(model, {"cooperative": True, "directed": True, "delay": 1})


def test_nothing_asked_for_is_the_accelerated_model():
    torch.manual_seed(1)
    model = GraphSAGE(WIDTH, HIDDEN, num_layers=2, out_channels=OUT)
    assert_commutes(model, {})


def test_pna_is_swapped_and_accelerated_in_either_order():
    torch.manual_seed(1)
    options = {"aggregators": ["mean", "std"], "scalers": ["identity", "amplification"]}
    model = PNA(WIDTH, HIDDEN, num_layers=2, deg=torch.tensor([1, 3, 4, 2, 2]), **options)
    assert_commutes(model, WITHOUT_DELAY)
