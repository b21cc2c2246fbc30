"""Whole models: what accelerate shares, finds, keeps in precision and never writes down."""

import copy
import functools
import io
import pickle

import pytest
import torch
from pyg_convs import CASES, NODES, SCALERS, WIDTH, assert_same, graph
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GraphConv,
    HeteroConv,
    PNAConv,
    SAGEConv,
    Sequential,
    TransformerConv,
)
from torch_geometric.nn.models import GAT, GCN, GIN, PNA, EdgeCNN, GraphSAGE

from gnnlib import Adjacency, _library, accelerate, report
from gnnlib.layers import ActionNet, CooperativeConv
from gnnlib.testing import assert_layer

MODELS = {
    "gcn": lambda: GCN(WIDTH, 16, 3, 4, dropout=0.3),
    "sage": lambda: GraphSAGE(WIDTH, 16, 2, 4, aggr=["mean", "max", "std"], norm="layer"),
    "gin": lambda: GIN(WIDTH, 16, 2, 4, jk="cat"),
    "gat": lambda: GAT(WIDTH, 16, 2, 4, heads=4, dropout=0.4),
    "gatv2": lambda: GAT(WIDTH, 16, 2, 4, heads=2, v2=True),
    "pna": lambda: PNA(
        WIDTH, 16, 2, 4, aggregators=["mean", "min", "max", "std"], scalers=SCALERS[:3],
        towers=4, deg=torch.tensor([1, 3, 4, 2]),
    ),
    "edge": lambda: EdgeCNN(WIDTH, 16, 2, 4),
}  # fmt: skip


def losses(model, steps=10):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(NODES, WIDTH, generator=draw)
    target, edge_index = torch.randint(4, (NODES,), generator=draw), graph("simple")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    torch.manual_seed(1)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x, edge_index), target)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found)


@pytest.mark.parametrize("name", MODELS)
def test_trains_to_the_same_curve(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    fast = accelerate(copy.deepcopy(model))
    assert all(layer.fused == (name != "edge") for layer in report(fast))
    # Chance is drawn in the same order: attention is dropped out as PyG drops it.
    torch.testing.assert_close(losses(fast), losses(model), rtol=1e-3, atol=1e-3)


def test_shares_weights_and_leaves_the_model_as_it_was():
    model = MODELS["pna"]().eval()
    before = [type(module) for module in model.modules()]
    fast = accelerate(model)
    assert [type(module) for module in model.modules()] == before
    assert repr(fast) == repr(model)
    assert type(fast) is type(model)
    assert not fast.training
    ours, theirs = fast.state_dict(keep_vars=True), model.state_dict(keep_vars=True)
    assert list(ours) == list(theirs)
    assert all(ours[name] is theirs[name] for name in ours)
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert_same([fast(x, edge_index)], [model(x, edge_index)], 1e-5)


def test_accelerating_twice_changes_nothing():
    fast = accelerate(MODELS["gcn"]())
    again = accelerate(fast)
    assert report(again).layers == report(fast).layers
    assert [type(m) for m in again.modules()] == [type(m) for m in fast.modules()]


def saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m)), saved]
)
@pytest.mark.parametrize("name", ["gcn", "gat", "pna"])
def test_copies_and_pickles(name, again):
    fast = accelerate(MODELS[name]()).eval()
    twin = again(fast)
    assert report(twin).layers == report(fast).layers
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    assert torch.equal(twin(x, edge_index), fast(x, edge_index))
    conv = again(fast.convs[0])
    assert isinstance(conv, type(MODELS[name]().convs[0]))
    assert torch.equal(conv(x, edge_index), fast.convs[0](x, edge_index))


def test_a_state_dict_goes_both_ways():
    model, other = MODELS["gat"]().eval(), MODELS["gat"]().eval()
    fast = accelerate(other)
    fast.load_state_dict(model.state_dict())
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    assert_same([fast(x, edge_index)], [model(x, edge_index)], 1e-5)
    assert torch.equal(other(x, edge_index), model(x, edge_index))


class Custom(nn.Module):
    """Layers in all sorts of places, one of them twice."""

    def __init__(self):
        super().__init__()
        self.first = SAGEConv(WIDTH, 8)
        self.shared = GCNConv(8, 8)
        self.listed = nn.ModuleList([self.shared, self.shared])
        self.hidden = [self.shared]
        self.named = nn.ModuleDict({"end": GraphConv(8, 3, aggr="max")})
        self.kept = torch.ones(3, requires_grad=True) * 2  # no leaf

    def forward(self, x, edge_index):
        x = self.first(x, edge_index).relu()
        for conv in (*self.listed, *self.hidden):
            x = conv(x, edge_index)
        return self.named["end"](x, edge_index) * self.kept


def test_finds_layers_anywhere():
    torch.manual_seed(0)
    model = Custom()
    fast = accelerate(model)
    assert fast.listed[0] is fast.listed[1] is fast.hidden[0] is fast.shared
    assert all(layer.fused for layer in report(fast))
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    assert_same([fast(x, edge_index)], [model(x, edge_index)], 1e-5)
    arrow = "x, edge_index -> x"
    model = Sequential(
        "x, edge_index", [(GCNConv(WIDTH, 8), arrow), nn.ReLU(), (GATConv(8, 3), arrow)]
    )
    fast = accelerate(model)
    assert all(layer.fused for layer in report(fast))
    assert_same([fast(x, edge_index)], [model(x, edge_index)], 1e-5)


def test_heterogeneous_models():
    sage = {"mean": SAGEConv((WIDTH, WIDTH), 4), "back": SAGEConv((WIDTH, WIDTH), 4, aggr="max")}
    model = HeteroConv({("a", "to", "b"): sage["mean"], ("b", "to", "a"): sage["back"]}, aggr="sum")
    fast = accelerate(model)
    assert all(layer.fused for layer in report(fast))
    x = {"a": torch.randn(NODES, WIDTH), "b": torch.randn(NODES + 3, WIDTH)}
    edges = {("a", "to", "b"): graph("any"), ("b", "to", "a"): graph("any", 1)}
    ours, theirs = fast(x, edges), model(x, edges)
    assert_same([ours["a"], ours["b"]], [theirs["a"], theirs["b"]], 1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GCNConv(-1, 4),
        lambda: SAGEConv(-1, 4),
        lambda: GATConv((-1, -1), 4),
        lambda: CASES["arma"].make(4).__class__(-1, 4, num_layers=2),
        lambda: CASES["transformer"].make(4).__class__(-1, 4),
    ],
)
def test_lazy_layers(make):
    model = make()
    fast = accelerate(model)
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    out = fast(x, edge_index)
    assert_same([out], [model(x, edge_index)], 1e-5)
    assert_same([fast(x, edge_index)], [out], 1e-5)  # projected first, now that widths are known


def test_lazy_edge_features():
    model = GATConv(-1, 4, heads=2, edge_dim=-1)
    fast, edge_index = accelerate(model), graph("any")
    assert report(fast).layers[0].fused
    x, attr = torch.randn(NODES, WIDTH), torch.randn(edge_index.size(1), 3)
    for _ in range(2):
        assert_same([fast(x, edge_index, attr)], [model(x, edge_index, attr)], 1e-5)


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("sage-list", "gatv2", "transformer", "cheb-3")
]


@pytest.mark.parametrize("name", ["gcn", "gat-edges", "pna", *SLOW])
def test_compiles_in_one_piece(name):
    torch.compiler.reset()  # all accelerated layers share a forward, which compiles so often
    case = CASES[name]
    conv = case.make(4)
    fast, x = accelerate(conv), torch.randn(NODES, WIDTH)
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager", dynamic=True)
    for seed in (0, 1):
        edge_index = graph("any", seed)
        signals = {}
        if case.attr[-1] is not None:
            signals["edge_attr"] = torch.randn(edge_index.size(1), case.attr[-1])
        theirs = conv(x, edge_index, **signals)
        expected = torch.autograd.grad(theirs.square().sum(), list(conv.parameters()))
        for form in (edge_index, Adjacency.of(edge_index, NODES)):
            ours = compiled(x, form, **signals)
            assert_same([ours], [theirs], 1e-4)
            found = torch.autograd.grad(ours.square().sum(), list(conv.parameters()))
            assert_same(found, expected, 1e-3)


@pytest.mark.parametrize(
    "name", ["gcn", "sage-softmax", "gine", "gat-edges", "gatv2-heads", "transformer"]
)
def test_second_derivatives(name):
    case = CASES[name]
    conv = case.make(4).double()
    edge_index = graph("any")
    width = case.attr[-1]
    attr = () if width is None else (torch.randn(50, width, dtype=torch.float64),)
    x = torch.randn(NODES, WIDTH, dtype=torch.float64, requires_grad=True)
    found = []
    for layer in (accelerate(conv), conv):
        out = layer(x, edge_index, *attr).sin().sum()
        (grad,) = torch.autograd.grad(out, x, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), x))
    assert_same(*found, 1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gcn", "sage-max", "graph-mean", "gat-heads", "gatv2", "pna"])
def test_half_precision(name, dtype):
    torch.manual_seed(0)
    conv = CASES[name].make(4)
    x, edge_index = torch.randn(NODES, WIDTH), graph("simple")
    exact, half = conv(x, edge_index), copy.deepcopy(conv).to(dtype)
    ours = accelerate(half)(x.to(dtype), edge_index)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["gcn", "sage-max", "graph-mean", "gat-heads", "gatv2", "pna"])
def test_autocast(name):
    torch.manual_seed(0)
    conv = CASES[name].make(4)
    x, edge_index = torch.randn(NODES, WIDTH), graph("simple")
    exact, fast = conv(x, edge_index), accelerate(conv)
    with torch.autocast("cpu", torch.bfloat16):
        out = fast(x, edge_index)
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
    out.float().sum().backward()


def test_convs_of_cooperative_layers_run_fused_anyway():
    conv = CooperativeConv(GATConv(WIDTH, 4), ActionNet(WIDTH)).eval()
    fast, x, edge_index = accelerate(conv), torch.randn(NODES, WIDTH), graph("any")
    assert_same([fast(x, edge_index)], [conv(x, edge_index)], 1e-6)
    for model in (conv, fast):
        names = {layer.name: layer.fused for layer in report(model)}
        assert names == {"": True, "conv": True, "action_net": True}
    pna = CooperativeConv(CASES["pna"].make(WIDTH), ActionNet(WIDTH))
    assert "gates" in report(pna).layers[1].why_not


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operator returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, _, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(t, torch.Tensor):
                self.numel = max(self.numel, t.numel())
        return out


@pytest.mark.skipif(not _library.AVAILABLE, reason="references write messages down")
@pytest.mark.parametrize("name", [n for n in CASES if n[:4] != "gine" and n != "cheb-1"])
def test_no_message_is_ever_written(name):
    case, edges, width = CASES[name], 20_000, 8
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(50, WIDTH, generator=draw, requires_grad=True)
    edge_index = torch.randint(50, (2, edges), generator=draw)
    attr = () if case.attr[-1] is None else (torch.randn(edges, case.attr[-1]),)
    conv = case.make(width)
    sizes = []
    for layer in (conv, accelerate(conv)):
        with Largest() as largest:
            layer(x, edge_index, *attr).sum().backward()
        sizes.append(largest.numel)
    # PyG writes a row for every edge that is no loop; here are scores of four heads at most.
    assert sizes[1] <= edges * 4 < edges * WIDTH * 0.9 <= sizes[0]


NO_ATTR = {"edge_attr": "PyG's has no place for it here"}
NO_WEIGHT = {"edge_weight": "PyG's layer takes none"}
LAWS = {
    "gcn": (GCNConv, (), {}, {}),
    "sage": (SAGEConv, (["mean", "std", "softmax"],), {}, NO_WEIGHT),
    "gat": (GATConv, (), {"heads": 2}, NO_WEIGHT | NO_ATTR),
    "transformer": (TransformerConv, (), {"heads": 2, "beta": True}, NO_WEIGHT | NO_ATTR),
    "pna": (
        PNAConv,
        (["mean", "min", "max", "std"], SCALERS, torch.tensor([1, 2, 3, 1])),
        {},
        NO_WEIGHT | NO_ATTR | {"lazy_channels": "PNAConv has none"},
    ),
}


LONG = {"gat", "sage", "transformer"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in LAWS]
)
def test_the_laws_of_a_layer(name):
    cls, args, options, skip = LAWS[name]

    @functools.wraps(cls)
    def make(in_channels, out_channels, **kwargs):
        return accelerate(cls(in_channels, out_channels, *args, **options, **kwargs))

    assert_layer(make, skip=skip)
