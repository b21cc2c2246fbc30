"""`DirectedConv` among others: gates, edge signals, PyG's own layer, the laws, and bad input."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from directed_oracle import NODES, WIDTH, dense, draw, gcn_oracle, gradients, mlp
from torch import Tensor, nn

from gnnlib import Edges  # first: it imports PyG without warnings

# isort: split
from torch_geometric import nn as pyg

import gnnlib
from gnnlib.layers import ActionNet, ContextualConv, CooperativeConv, DirectedConv
from gnnlib.lowering import run


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# Beside PyG, and on its own path ----------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        partial(pyg.SAGEConv, WIDTH, 5),
        partial(pyg.SAGEConv, WIDTH, 5, aggr="max"),
        partial(pyg.GATConv, WIDTH, 5, add_self_loops=False, residual=False),
        partial(pyg.GCNConv, WIDTH, 5, normalize=False),
        lambda: pyg.GINConv(mlp(5)),
    ],
)
def test_is_pygs_where_it_means_the_same(make: Any) -> None:
    x, edge_index, _ = draw()
    conv = make()
    conv.in_channels, conv.out_channels = WIDTH, 5
    root = isinstance(conv, pyg.SAGEConv)
    theirs, ours = pyg.DirGNNConv(conv, 0.3, root_weight=root), DirectedConv(conv, 0.3)
    for mine, other in ((ours.conv_in, theirs.conv_in), (ours.conv_out, theirs.conv_out)):
        state = other.state_dict()
        mine.load_state_dict({name: state[name] for name in mine.state_dict()})
    if root:
        nn.init.zeros_(theirs.lin.bias)
        ours.root.load_state_dict({"weight": theirs.lin.weight})
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


@pytest.mark.parametrize(
    "make", [pyg.GCNConv, pyg.SAGEConv, pyg.GraphConv, pyg.GATConv, pyg.TAGConv]
)
def test_a_conv_that_is_watched_is_called(make: Any) -> None:
    x, edge_index, weight = draw()
    conv = DirectedConv(make(WIDTH, 5))
    weight = weight if make in (pyg.GCNConv, pyg.GraphConv, pyg.TAGConv) else None
    plain = gradients(lambda x: conv(x, edge_index, weight), [x], conv.parameters())
    seen: list[str] = []
    for name in ("conv_in", "conv_out"):
        known = getattr(conv, name)
        known.register_message_forward_hook(lambda *_, name=name: seen.append(name))
    found = gradients(lambda x: conv(x, edge_index, weight), [x], conv.parameters())
    assert {"conv_in", "conv_out"} == set(seen)
    torch.testing.assert_close(found, plain)


def test_an_explainer_finds_the_messages() -> None:
    x, edge_index, _ = draw()
    conv = DirectedConv(pyg.GCNConv(WIDTH, 5))
    plain = conv(x, edge_index)
    for known in (conv.conv_in, conv.conv_out):
        known.explain, known._edge_mask = True, torch.full((30,), 20.0)
        known._apply_sigmoid, known._loop_mask = True, torch.ones(30, dtype=torch.bool)
    torch.testing.assert_close(conv(x, edge_index), plain, rtol=1e-6, atol=1e-6)


def test_the_conv_it_was_made_of_stays_as_it_was() -> None:
    given = pyg.SAGEConv(WIDTH, 5, normalize=True)
    before = copy.deepcopy(given)
    conv = DirectedConv(given)
    assert given.root_weight
    assert given.normalize
    assert all(map(torch.equal, given.parameters(), before.parameters()))
    torch.testing.assert_close(conv.conv_in.lin_l.weight, given.lin_l.weight)
    assert not torch.equal(conv.conv_in.lin_l.weight, conv.conv_out.lin_l.weight)


def test_twice_differentiable() -> None:
    x, edge_index, _ = draw()
    for out_channels in (3, 6):
        for conv in (pyg.GCNConv(WIDTH, out_channels), pyg.SAGEConv(WIDTH, out_channels)):
            directed = DirectedConv(conv)
            call = lambda x, d=directed: d(x, edge_index).tanh()  # noqa: E731
            torch.autograd.gradcheck(call, x.requires_grad_())
            torch.autograd.gradgradcheck(call, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types(dtype: torch.dtype) -> None:
    x, edge_index, _ = draw()
    for make in (pyg.GCNConv, pyg.SAGEConv, pyg.GATConv):
        conv = DirectedConv(make(WIDTH, 5), learn_alpha=True)
        wanted = conv(x, edge_index)
        out = conv.to(dtype)(x.to(dtype), edge_index)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), wanted, rtol=0.05, atol=0.05)
        autocast = conv.float()
        with torch.autocast("cpu", torch.bfloat16):
            out = autocast(x.float(), edge_index)
        torch.testing.assert_close(out.double(), wanted, rtol=0.05, atol=0.05)


def test_nothing_is_kept_of_a_graph() -> None:
    x, edge_index, _ = draw()
    conv = DirectedConv(pyg.GCNConv(WIDTH, 5))
    conv(x, edge_index)
    other = draw(1)[1]
    torch.testing.assert_close(conv(x, other), gcn_oracle(conv, 0.5, "dir", x, dense(other)))
    edges = Edges.of(other, size=NODES)
    torch.testing.assert_close(conv(x, edges), conv(x, other))


# Gates, and what rides on the edges -------------------------------------------------------------

GATED = {
    **{f"gcn-{norm}": partial(pyg.GCNConv, WIDTH, 5) for norm in ("dir", "row", "sym", None)},
    "sage": partial(pyg.SAGEConv, WIDTH, 5),
    "sage-max": partial(pyg.SAGEConv, WIDTH, 5, aggr="max"),
    "graph": partial(pyg.GraphConv, WIDTH, 3),
    "gat": partial(pyg.GATConv, WIDTH, 5),
    "contextual": partial(ContextualConv, WIDTH, 5, aggr="sym", context="mean"),
}


@pytest.mark.parametrize("name", GATED)
def test_a_closed_edge_is_absent_in_both_directions(name: str) -> None:
    x, edge_index, _ = draw()
    listen, broadcast = (torch.rand(2, NODES) < 0.6).double()
    norm = {"row": "row", "sym": "sym", "None": None}.get(name.removeprefix("gcn-"), "auto")
    conv = DirectedConv(GATED[name](), 0.3, norm=norm)
    kept = (listen[edge_index[1]] * broadcast[edge_index[0]]).bool()
    edges = Edges.of(edge_index, size=NODES).masked(broadcast, listen)
    torch.testing.assert_close(run(conv, x, edges), conv(x, edge_index[:, kept]))


@pytest.mark.parametrize("make", [pyg.GCNConv, pyg.SAGEConv, pyg.GraphConv])
def test_a_closed_gate_learns(make: Any) -> None:
    x, edge_index, _ = draw()
    conv = DirectedConv(make(WIDTH, 5), 0.3)
    half, all_open = (torch.arange(NODES) % 2.0).requires_grad_(), torch.ones(NODES)
    for gates in ((half, all_open), (all_open, half)):
        out = run(conv, x, Edges.of(edge_index, size=NODES).masked(*gates))
        (grad,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), half)
        assert grad.isfinite().all()
        assert grad[half == 0].count_nonzero() > 2


def test_cooperative_around_directed_and_the_other_way_round() -> None:
    x, edge_index, _ = draw()
    directed = DirectedConv(pyg.GCNConv(WIDTH, 5), 0.3)
    outer = CooperativeConv(directed, ActionNet(WIDTH)).eval()
    actions = outer.act(x, Edges.of(edge_index, size=NODES))
    kept = (actions.listen[edge_index[1]] * actions.broadcast[edge_index[0]]).bool()
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(outer(x, edge_index), directed(x, edge_index[:, kept]))
    inner = DirectedConv(CooperativeConv(pyg.SAGEConv(WIDTH, 5), ActionNet(WIDTH)), 0.3).eval()
    wanted = 0.7 * inner.conv_in(x, edge_index) + 0.3 * inner.conv_out(x, edge_index.flip(0))
    torch.testing.assert_close(inner(x, edge_index), wanted)


@pytest.mark.parametrize(
    "make",
    [
        partial(pyg.GATConv, WIDTH, 5, edge_dim=3),
        partial(pyg.GATv2Conv, WIDTH, 5, edge_dim=3),
        lambda: pyg.GINEConv(mlp(), edge_dim=3),
        partial(pyg.ResGatedGraphConv, WIDTH, 5, edge_dim=3, root_weight=False),
    ],
)
def test_edge_features_in_both_directions(make: Any) -> None:
    x, edge_index, _ = draw()
    attr = torch.randn(30, 3)
    conv = DirectedConv(make(), 0.3)
    wanted = 0.7 * conv.conv_in(x, edge_index, attr) + 0.3 * conv.conv_out(
        x, edge_index.flip(0), attr
    )
    torch.testing.assert_close(conv(x, edge_index, edge_attr=attr), wanted)


def test_the_root_is_heard_once_and_unscaled() -> None:
    x, edge_index, _ = draw()
    attr = torch.randn(30, 3)
    makes: list[Any] = [
        (pyg.SAGEConv(WIDTH, 5), {}),
        (pyg.GraphConv(WIDTH, 5), {}),
        (pyg.GATConv(WIDTH, 5, residual=True), {}),
        (pyg.GATv2Conv(WIDTH, 5, heads=2, residual=True), {}),
        (pyg.TransformerConv(WIDTH, 5), {}),
        (pyg.TAGConv(WIDTH, 5), {}),
        (pyg.ResGatedGraphConv(WIDTH, 5), {}),
        (pyg.NNConv(WIDTH, 5, nn.Linear(3, 5 * WIDTH)), {"edge_attr": attr}),
    ]
    for given, signals in makes:
        nn.init.zeros_(given.bias) if getattr(given, "bias", None) is not None else None
        conv = DirectedConv(given, 0.3)
        without = DirectedConv(given, 0.3, root_weight=False)
        names = {name for name, _ in conv.named_parameters()}
        assert {name for name in names if name.startswith("root.")}
        state = conv.state_dict()
        without.load_state_dict({k: state[k] for k in without.state_dict()})
        assert without.root is None
        wanted = without(x, edge_index, **signals) + conv.root(x)
        torch.testing.assert_close(conv(x, edge_index, **signals), wanted)
        # As the conv itself has it, where there is nobody to hear.
        alone = conv(x, edge_index[:, :0], **{k: v[:0] for k, v in signals.items()})
        others = without(x, edge_index[:, :0], **{k: v[:0] for k, v in signals.items()})
        torch.testing.assert_close(alone - others, conv.root(x))
        assert_layer_learns(conv, x, edge_index, signals)
        conv.reset_parameters()


def test_a_transformer_that_weighs_its_root_against_the_rest() -> None:
    x, edge_index, _ = draw()
    given = pyg.TransformerConv(WIDTH, 5, beta=True)
    conv = DirectedConv(given, 0.3)
    wanted = 0.7 * conv.conv_in(x, edge_index) + 0.3 * conv.conv_out(x, edge_index.flip(0))
    torch.testing.assert_close(conv(x, edge_index), wanted)
    without = DirectedConv(given, 0.3, root_weight=False)
    assert not [n for n, _ in without.named_parameters() if "lin_skip" in n or "beta" in n]
    assert without(x, edge_index[:, :0]).count_nonzero() == 0
    assert_layer_learns(without, x, edge_index, {})


def test_convs_that_normalise_by_themselves_are_used_as_they_are() -> None:
    x, edge_index, _ = draw()
    for given in (pyg.SGConv(WIDTH, 5), pyg.ChebConv(WIDTH, 5, K=2), pyg.ClusterGCNConv(WIDTH, 5)):
        conv = DirectedConv(given, 0.3)
        wanted = 0.7 * conv.conv_in(x, edge_index) + 0.3 * conv.conv_out(x, edge_index.flip(0))
        torch.testing.assert_close(conv(x, edge_index), wanted)
        torch.testing.assert_close(DirectedConv(given, 0)(x, edge_index), given(x, edge_index))


def assert_layer_learns(conv: Any, x: Tensor, edge_index: Tensor, signals: Any) -> None:
    loss = conv(x, edge_index, **signals).square().sum()
    names, parameters = zip(*conv.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert [name for name, grad in zip(names, grads, strict=True) if grad is None] == []


def test_accelerated() -> None:
    x, edge_index, _ = draw()
    model = nn.ModuleList(
        [DirectedConv(make(WIDTH, 5)) for make in (pyg.GCNConv, pyg.SAGEConv, pyg.GATConv)]
    )
    for fast, plain in zip(gnnlib.accelerate(model), model, strict=True):
        torch.testing.assert_close(fast(x, edge_index), plain(x, edge_index))
