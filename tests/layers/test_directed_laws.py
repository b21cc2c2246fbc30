"""The laws of DESIGN for directed layers, and what they say of a wrong call."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from gnnlib.layers import ActionNet, Alpha, CooperativeConv, DirectedConv  # before PyG: no warnings

# isort: split
from torch_geometric import nn as pyg

from gnnlib.testing import assert_layer


def gin(in_channels: int, out_channels: int, **kwargs: Any) -> pyg.GINConv:
    net = nn.Sequential(nn.Linear(in_channels, 8), nn.Tanh(), nn.Linear(8, out_channels))
    return pyg.GINConv(net, **kwargs)


def directed(
    conv: Any, in_channels: int, out_channels: int, options: Any = None, **kwargs: Any
) -> DirectedConv:
    return DirectedConv(conv(in_channels, out_channels, **kwargs), **(options or {}))


def cooperative(in_channels: int, out_channels: int, **kwargs: Any) -> CooperativeConv:
    conv = DirectedConv(pyg.GCNConv(in_channels, out_channels, **kwargs))
    return CooperativeConv(conv, ActionNet(in_channels))


WIDTHS = {"edge_attr": "PyG's attention takes no features of edges without `edge_dim`"}
FILLED = "GATConv fills its self loops' features by edge_index[1] in both flows"
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gcn": (partial(directed, pyg.GCNConv), {}),
    "gcn-learned": (partial(directed, pyg.GCNConv, options={"learn_alpha": True}), {}),
    "gcn-in": (partial(directed, pyg.GCNConv, options={"alpha": 0, "norm": "row"}), {}),
    "gcn-out": (partial(directed, pyg.GCNConv, options={"alpha": 1, "norm": "sym"}), {}),
    "gcn-wide": (partial(directed, pyg.GCNConv, options={"norm": None}), {"out_channels": 11}),
    "sage": (partial(directed, pyg.SAGEConv), {}),
    "sage-unit": (partial(directed, partial(pyg.SAGEConv, normalize=True)), {"out_channels": 11}),
    "sage-max": (partial(directed, partial(pyg.SAGEConv, aggr="max")), {}),
    "graph": (partial(directed, pyg.GraphConv, options={"norm": "dir"}), {}),
    "gat": (partial(directed, partial(pyg.GATConv, residual=True)), {"skip": WIDTHS}),
    "gatv2": (partial(directed, pyg.GATv2Conv), {"skip": WIDTHS}),
    "transformer": (
        partial(directed, pyg.TransformerConv),
        # A softmax over one key has no gradient by what all keys share.
        {"zero_gradient": ("conv_in.lin_key.bias", "conv_out.lin_key.bias"), "skip": WIDTHS},
    ),
    "gin": (
        partial(directed, gin),
        {"skip": {"lazy_channels": "torch's own Linear in the MLP is not lazy"}},
    ),
    "gat-edges": (
        partial(directed, partial(pyg.GATConv, edge_dim=3)),
        {"edge_dim": 3, "skip": {"flow": FILLED}},
    ),
    "tag": (partial(directed, pyg.TAGConv), {}),
    "cooperative": (cooperative, {}),
}


LONG = {"gcn-out", "gcn-wide", "sage-unit", "sage-max", "graph", "gatv2", "gat-edges", "tag"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES]
)
def test_laws(name: str) -> None:
    make, options = CASES[name]
    assert_layer(make, **options)


X, EDGES = torch.ones(3, 4), torch.tensor([[0, 1], [1, 2]])
GCN = pyg.GCNConv(4, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DirectedConv(nn.Linear(4, 5)), TypeError, "without messages there is no direc"),
        (lambda: DirectedConv(GCN, 1.5), ValueError, r"`alpha` must be in \[0, 1\], got 1.5"),
        (lambda: DirectedConv(GCN, -0.1), ValueError, r"`alpha` must be in \[0, 1\], got -0.1"),
        (lambda: DirectedConv(GCN, float("nan")), ValueError, r"in \[0, 1\], got nan"),
        (lambda: DirectedConv(GCN, 1, learn_alpha=True), ValueError, "strictly between 0 and 1"),
        (lambda: Alpha(0.0), ValueError, "strictly between 0 and 1.*got 0.0"),
        (lambda: DirectedConv(GCN, Alpha(), True), ValueError, "`alpha` is a module already"),
        (lambda: DirectedConv(GCN, norm="both"), ValueError, "one of auto, dir, row, sym, None"),
        (
            lambda: DirectedConv(pyg.SAGEConv(4, 5), norm="dir"),
            ValueError,
            "`norm`=dir needs a conv that sums its neighbours.*got SAGEConv with aggr='mean'",
        ),
        (
            lambda: DirectedConv(pyg.GATConv(4, 5), norm="row"),
            ValueError,
            "`norm`=row needs a conv that sums its neighbours as they are.*got GATConv",
        ),
        *(
            (
                partial(DirectedConv, conv, norm="dir"),
                ValueError,
                f"got {type(conv).__name__}, which may.*normalise.*leave `norm` out",
            )
            for conv in (
                pyg.SGConv(4, 5),
                pyg.SSGConv(4, 5, 0.1),
                pyg.ARMAConv(4, 5),
                pyg.ChebConv(4, 5, 2),
                pyg.ClusterGCNConv(4, 5),
                pyg.GatedGraphConv(5, 2),
                pyg.LGConv(),
                pyg.ResGatedGraphConv(4, 5),
                DirectedConv(pyg.GCNConv(4, 5)),
            )
        ),
        (lambda: DirectedConv(GCN, "half"), TypeError, r"`alpha` must be a number.*got 'half'"),
        (lambda: DirectedConv(GCN, True), TypeError, r"`alpha` must be a number.*got True"),
        (lambda: DirectedConv(GCN)(None, EDGES), TypeError, "`x` must be a tensor.*NoneType"),
        (
            lambda: DirectedConv(pyg.GCNConv(4, 5, cached=True)),
            ValueError,
            "must not cache its graph, as each direction has its own",
        ),
        (lambda: DirectedConv(GCN)((X, X), EDGES), ValueError, "no bipartite form, as every node"),
        (lambda: DirectedConv(GCN)(X[None], EDGES), ValueError, r"must be \[N, in_channels\]"),
        (
            lambda: DirectedConv(GCN)(X, EDGES, edge_attr=torch.ones(2, 3)),
            ValueError,
            "GCNConv.forward takes no `edge_attr`",
        ),
        (
            lambda: DirectedConv(pyg.SAGEConv(4, 5))(X, EDGES, torch.ones(2)),
            ValueError,
            "SAGEConv.forward takes no `edge_weight`",
        ),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
