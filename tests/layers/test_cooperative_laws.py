"""The laws of DESIGN for cooperative layers, over conv families and options."""

from functools import partial

import pytest
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, GraphConv, SAGEConv

from gnnlib.layers import ActionNet, CooperativeConv, Temperature
from gnnlib.testing import assert_layer


def gin(in_channels, out_channels, **kwargs):
    mlp = nn.Sequential(
        nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels)
    )
    return GINConv(mlp, train_eps=True, **kwargs)


def cooperative(conv, action, in_channels, out_channels, learn=False, options=None, **kwargs):
    temperature = Temperature(in_channels) if learn else 0.01
    return CooperativeConv(
        conv(in_channels, out_channels, **kwargs),
        ActionNet(in_channels, **action),
        temperature=temperature,
        **(options or {}),
    )


CASES = {
    "gcn": (partial(cooperative, GCNConv, {"num_layers": 2}), {}),
    "sage-mean": (partial(cooperative, SAGEConv, {}), {}),
    "sage-max": (partial(cooperative, partial(SAGEConv, aggr="max"), {"conv": "lin"}), {}),
    "graph-sum-categorical": (
        partial(
            cooperative,
            GraphConv,
            {"conv": "sum"},
            learn=True,
            options={"actions": "categorical"},
        ),
        {},
    ),
    "gin": (
        partial(cooperative, gin, {"conv": "gin"}),
        {"skip": {"lazy_channels": "torch's own Linear in the MLP is not lazy"}},
    ),
    "gat-general-path": (
        partial(cooperative, partial(GATConv, edge_dim=3), {"conv": "gcn"}),
        {
            "edge_dim": 3,
            "skip": {
                "flow": "GATConv fills its self loops' features by edge_index[1] in both flows",
                "torch_compile": "PyG's message hooks, which gate unknown convs, break graphs",
            },
        },
    ),
    "nested": (
        lambda i, o, **kwargs: CooperativeConv(
            cooperative(SAGEConv, {}, i, o, **kwargs), ActionNet(i)
        ),
        {},
    ),
}


LONG = {"nested", "graph-sum-categorical", "sage-max"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES]
)
def test_laws(name):
    make, options = CASES[name]
    assert_layer(make, **options)


def test_laws_action_net():
    assert_layer(
        lambda i, _o, **_: ActionNet(i, num_layers=2, conv="mean"),
        out_channels=4,
        skip={
            "flow": "a network of two decisions has no `flow` of its own: its layer's is used",
            "edge_weight": "action networks see the whole graph without weights, as in the paper",
            "representation": "its output is always four logits",
        },
    )
