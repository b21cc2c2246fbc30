"""PyG convs with the options that have a fused form, and the graphs they are tried on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    ARMAConv,
    ChebConv,
    ClusterGCNConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    GraphConv,
    PNAConv,
    SAGEConv,
    SGConv,
    TAGConv,
    TransformerConv,
)
from torch_geometric.nn.aggr import (
    DegreeScalerAggregation,
    MultiAggregation,
    SoftmaxAggregation,
)

# PyG writes `propagate` for a class when it first makes one of it: with a sum, it takes matrices.
for known in (GCNConv, SAGEConv, GraphConv):
    known(1, 1, aggr="sum")

WIDTH, NODES, DEGREES = 6, 12, torch.tensor([1, 3, 4, 2, 2])
SCALERS = ["identity", "amplification", "attenuation", "linear", "inverse_linear"]


@dataclass(frozen=True)
class Case:
    """How to make a conv, given its output width and ``flow``, and what it takes."""

    make: Callable[..., Any]
    weight: bool = False
    attr: tuple[int | None, ...] = (None,)  # widths of edge features; None for none
    pair: bool = False  # has a bipartite form
    flows: tuple[str, ...] = ("source_to_target", "target_to_source")  # that are fused
    precision: float = 1e-9  # to which PyG computes in float64


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, width))


def multi(mode: str, *aggrs: Any, **kwargs: Any) -> MultiAggregation:
    return MultiAggregation(list(aggrs), mode=mode, mode_kwargs=kwargs)


def pna(out: int, aggregators: list[str], scalers: list[str] | None = None, **k: Any) -> PNAConv:
    scalers = scalers or ["identity", "amplification", "attenuation"]
    return PNAConv(WIDTH, out, aggregators, scalers, DEGREES, **k)


def of(cls: Any, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda out, **k: cls(WIDTH, out, *args, **options, **k)


AGGRS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: name for name in ("sum", "add", "mean", "min", "max", "mul")},
    "var": lambda: "var",
    "std": lambda: "std",
    "softmax": lambda: "softmax",
    "softmax-learn": lambda: SoftmaxAggregation(learn=True, t=0.5),
    "softmax-channels": lambda: SoftmaxAggregation(learn=True, channels=WIDTH),
    "list": lambda: ["mean", "max", "std", "softmax"],
    "multi-sum": lambda: multi("sum", "mean", "var", "min"),
    "multi-max": lambda: multi("max", "sum", "mul"),
    "multi-proj": lambda: multi(
        "proj", "mean", "std", "mul", in_channels=WIDTH, out_channels=WIDTH
    ),
    "multi-attn": lambda: multi("attn", "mean", "std", in_channels=WIDTH, out_channels=WIDTH),
    "nested": lambda: multi("cat", "sum", multi("mean", "max", "std")),
}


def aggregating(cls: Any, name: str) -> Case:
    def make(out: int, **k: Any) -> Any:
        return cls(WIDTH, out, aggr=AGGRS[name](), **k)

    return Case(make, weight=cls is GraphConv, pair=True)


GCNS = {
    "gcn": Case(of(GCNConv), weight=True),
    "gcn-improved": Case(of(GCNConv, improved=True), weight=True),
    "gcn-no-loops": Case(of(GCNConv, add_self_loops=False), weight=True),
    "gcn-raw": Case(of(GCNConv, normalize=False, bias=False), weight=True),
    "sg": Case(of(SGConv), weight=True),
    "sg-3": Case(of(SGConv, K=3, bias=False), weight=True),
    "sg-no-loops": Case(of(SGConv, K=2, add_self_loops=False), weight=True),
    "tag": Case(of(TAGConv), weight=True),
    "tag-raw": Case(of(TAGConv, K=2, normalize=False, bias=False), weight=True),
    "arma": Case(of(ARMAConv), weight=True),
    "arma-stacks": Case(of(ARMAConv, num_stacks=3, num_layers=3), weight=True),
    "arma-shared": Case(
        of(ARMAConv, num_stacks=2, num_layers=3, shared_weights=True, act=None, bias=False),
        weight=True,
    ),
    "cheb-1": Case(of(ChebConv, 1), weight=True),
    "cheb-3": Case(of(ChebConv, 3), weight=True),
    "cheb-rw": Case(of(ChebConv, 3, normalization="rw", bias=False), weight=True),
    "cheb-raw": Case(of(ChebConv, 3, normalization=None), weight=True),
    "appnp": Case(lambda _, **k: APPNP(5, 0.2, **k), weight=True),
    "appnp-no-loops": Case(lambda _, **k: APPNP(2, 0.1, add_self_loops=False, **k), weight=True),
    "appnp-raw": Case(lambda _, **k: APPNP(2, 0.1, normalize=False, **k), weight=True),
    "cluster": Case(of(ClusterGCNConv), flows=("source_to_target",), precision=1e-6),
    "cluster-lambda": Case(
        of(ClusterGCNConv, diag_lambda=0.7), flows=("source_to_target",), precision=1e-6
    ),
}
REDUCING = {
    **{f"sage-{name}": aggregating(SAGEConv, name) for name in AGGRS},
    "sage-project": Case(of(SAGEConv, project=True, normalize=True), pair=True),
    "sage-rootless": Case(of(SAGEConv, root_weight=False, bias=False), pair=True),
    **{
        f"graph-{name}": aggregating(GraphConv, name)
        for name in ("add", "mean", "min", "max", "mul", "std", "softmax", "multi-sum")
    },
    "gin": Case(lambda o, **k: GINConv(mlp(o), **k), pair=True),
    "gin-eps": Case(lambda o, **k: GINConv(mlp(o), eps=0.5, train_eps=True, **k), pair=True),
    "gin-max": Case(lambda o, **k: GINConv(mlp(o), aggr="max", **k), pair=True),
    "gine": Case(lambda o, **k: GINEConv(mlp(o), **k), attr=(WIDTH,), pair=True),
    "gine-lin": Case(
        lambda o, **k: GINEConv(mlp(o), train_eps=True, edge_dim=3, **k), attr=(3,), pair=True
    ),
    "sage-scaled": Case(
        lambda o, **k: SAGEConv(
            (-1, WIDTH),
            o,
            aggr=DegreeScalerAggregation(["mean", "max"], SCALERS[:3], DEGREES, train_norm=True),
            **k,
        ),
    ),
    "pna": Case(lambda o, **k: pna(o, ["mean", "min", "max", "std"], **k)),
    "pna-towers": Case(
        lambda o, **k: pna(3 * o, ["mean", "max", "softmax"], SCALERS, towers=3, **k)
    ),
    "pna-divided": Case(
        lambda o, **k: pna(
            2 * o, ["sum", "var"], towers=2, divide_input=True, post_layers=3, train_norm=True, **k
        ),
    ),
    "pna-one": Case(lambda o, **k: pna(o, ["max"], ["linear"], **k)),
}
ATTENDING = {
    "gat": Case(of(GATConv), attr=(None, 3), pair=True),
    "gat-heads": Case(of(GATConv, heads=4, negative_slope=0.5, residual=True), pair=True),
    "gat-mean": Case(of(GATConv, heads=3, concat=False, bias=False), pair=True),
    "gat-no-loops": Case(of(GATConv, heads=2, add_self_loops=False), pair=True),
    "gat-edges": Case(of(GATConv, heads=2, edge_dim=3), attr=(None, 3), pair=True),
    "gat-edges-add": Case(of(GATConv, heads=2, edge_dim=3, fill_value="add"), attr=(3,)),
    "gat-edges-fill": Case(of(GATConv, heads=2, edge_dim=3, fill_value=0.5), attr=(3,)),
    "gat-edges-tensor": Case(
        of(GATConv, edge_dim=3, fill_value=torch.tensor([0.1, -1, 2])), attr=(3,)
    ),
    "gat-edges-no-loops": Case(of(GATConv, heads=2, edge_dim=3, add_self_loops=False), attr=(3,)),
    "gat-pair": Case(
        lambda o, **k: GATConv((WIDTH, WIDTH), o, heads=2, residual=True, **k), pair=True
    ),
    "gatv2": Case(of(GATv2Conv), pair=True),
    "gatv2-heads": Case(of(GATv2Conv, heads=3, residual=True, negative_slope=0.1), pair=True),
    "gatv2-shared": Case(of(GATv2Conv, heads=2, concat=False, share_weights=True), pair=True),
    "gatv2-no-loops": Case(of(GATv2Conv, heads=2, add_self_loops=False), pair=True),
    "transformer": Case(of(TransformerConv), pair=True),
    "transformer-beta": Case(of(TransformerConv, heads=3, beta=True), pair=True),
    "transformer-mean": Case(
        of(TransformerConv, heads=2, concat=False, beta=True, bias=False), pair=True
    ),
    "transformer-rootless": Case(of(TransformerConv, heads=2, root_weight=False), pair=True),
}
CASES = GCNS | REDUCING | ATTENDING


def graph(kind: str, seed: int = 0) -> Tensor:
    """An ``edge_index`` whose last two nodes are isolated."""
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(NODES - 2, (2, 50), generator=draw)  # loops and multi-edges
    if kind == "simple":
        edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    elif kind == "sorted":
        edge_index = edge_index[:, edge_index[1].argsort(stable=True)]
    elif kind == "empty":
        edge_index = edge_index[:, :0]
    return edge_index


def assert_same(ours: Any, theirs: Any, precision: float) -> None:
    """Equal up to an error relative to the largest number."""
    for a, b in zip(ours, theirs, strict=True):
        if b is None:
            assert a is None or not a.any()
        else:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert error(a, b) <= precision


def assert_as_good(ours: Any, theirs: Any, exact: Any, precision: float = 1e-5) -> None:
    """Equal up to rounding, or no further than twice as far from the truth as PyG is."""
    for a, b, c in zip(ours, theirs, exact, strict=True):
        if b is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert error(a, b) <= precision or error(a, c) <= 2 * error(b, c)


def error(a: Tensor, b: Tensor) -> float:
    assert torch.equal(a.isnan(), b.isnan())
    if not b.numel():
        return 0.0
    a, b = a.detach().nan_to_num(), b.detach().nan_to_num()
    return float((a - b).abs().max() / b.abs().max().clamp(min=0.1))


def results(conv: Any, x: Any, *args: Any, **signals: Any) -> list[Tensor | None]:
    """What a conv returns, and the gradients of its parameters and of all it was given."""
    leaves = [t for t in (x if isinstance(x, (tuple, list)) else (x,)) if t is not None]
    leaves += [t for t in signals.values() if isinstance(t, Tensor)]
    leaves = [t for t in leaves if t.is_floating_point()] + list(conv.parameters())
    out = conv(x, *args, **signals)
    probe = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).sin().view_as(out)
    return [out, *torch.autograd.grad((out * probe).sum(), leaves, allow_unused=True)]
