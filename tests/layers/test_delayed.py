"""Delayed layers against the paper's sum over hops, one plain PyG call or dense matrix a hop."""

import copy
import math
from dataclasses import replace

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.nn import (
    CGConv,
    EdgeConv,
    FiLMConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GENConv,
    GeneralConv,
    GINConv,
    GINEConv,
    GraphConv,
    MessagePassing,
    NNConv,
    PNAConv,
    ResGatedGraphConv,
    SAGEConv,
    TAGConv,
    TransformerConv,
)

from gnnlib import Edges, History
from gnnlib.layers import (
    ActionNet,
    ContextualConv,
    CooperativeConv,
    DelayedConv,
    DirectedConv,
    GatedGCNConv,
)
from gnnlib.layers import _hops as hops_module
from gnnlib.layers._neighbours import neighbours_only
from gnnlib.ops import KHop, k_hop
from gnnlib.testing import assert_layer

WIDTH = 6


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def distances(edge_index, num_nodes):
    """[i, j]: the length of a shortest path from j to i, infinite where there is none."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edge_index.T.tolist())
    out = torch.full((num_nodes, num_nodes), math.inf)
    for j, reached in nx.all_pairs_shortest_path_length(graph):
        for i, length in reached.items():
            out[i, j] = length
    return out


def pairs_at(distance, hop):
    targets, sources = (distance == hop).nonzero(as_tuple=True)
    return torch.stack([sources, targets])


def draw(num_nodes, num_edges, seed, undirected=False):
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=g)
    if undirected:
        edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
    states = [torch.randn(num_nodes, WIDTH, generator=g) for _ in range(4)]
    return edge_index, states


def history_of(states):
    history = History()
    for state in reversed(states):
        history = history.push(state)
    return history


def mlp():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


# How a hop beyond the first is asked of PyG: with no target, with the target as it is now, alone.
NOBODY = lambda state, _: (state, None)  # noqa: E731
TARGET = lambda state, x: (state, x)  # noqa: E731
ALONE = lambda state, _: state  # noqa: E731
CONVS = {
    "gcn": (lambda: GCNConv(WIDTH, WIDTH), ALONE),
    "gcn, no loops": (lambda: GCNConv(WIDTH, WIDTH, add_self_loops=False, bias=False), ALONE),
    "gcn, plain": (lambda: GCNConv(WIDTH, WIDTH, normalize=False), ALONE),
    "sage": (lambda: SAGEConv(WIDTH, WIDTH), NOBODY),
    "sage, max": (lambda: SAGEConv(WIDTH, WIDTH, aggr="max"), NOBODY),
    "sage, l2": (lambda: SAGEConv(WIDTH, WIDTH, normalize=True), NOBODY),
    "graph": (lambda: GraphConv(WIDTH, WIDTH), NOBODY),
    "graph, std": (lambda: GraphConv(WIDTH, WIDTH, aggr="std"), NOBODY),
    "gin": (lambda: GINConv(mlp(), train_eps=True), NOBODY),
    "gat": (lambda: GATConv(WIDTH, WIDTH, residual=True), TARGET),
    "gatv2": (lambda: GATv2Conv(WIDTH, WIDTH), TARGET),
    "transformer": (lambda: TransformerConv(WIDTH, WIDTH, beta=True), TARGET),
    "gated": (lambda: GatedGCNConv(WIDTH, WIDTH), TARGET),
    "res gated": (lambda: ResGatedGraphConv(WIDTH, WIDTH), TARGET),
    "edge": (lambda: EdgeConv(nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Tanh())), TARGET),
    "film": (lambda: FiLMConv(WIDTH, WIDTH), TARGET),
    "tag": (lambda: TAGConv(WIDTH, WIDTH, K=2), ALONE),
    "sage, two": (lambda: SAGEConv(WIDTH, WIDTH, aggr=["mean", "max"]), NOBODY),
}


def expected(layer, ask, x, edge_index, past, scales=None):
    """The definition: PyG's own forward on the pairs at each distance."""
    distance = distances(edge_index, x.size(0))
    out = layer.convs[0](x, edge_index)
    out = out if scales is None else scales[0] * out
    for hop in range(2, layer.hops + 1):
        age = 0 if layer.delay == math.inf else max(0, hop - layer.delay)
        if age > len(past):
            continue
        state = past[age - 1] if age else x
        heard = layer.convs[hop - 1](ask(state, x), pairs_at(distance, hop))
        out = out + (heard if scales is None else scales[hop - 1] * heard)
    return out


@pytest.mark.parametrize("delay", [1, 2, math.inf])
@pytest.mark.parametrize("name", CONVS)
def test_definition(name, delay):
    make, ask = CONVS[name]
    for seed, undirected in ((0, False), (1, True)):
        edge_index, (x, *past) = draw(12, 20, seed, undirected)
        layer = DelayedConv(make(), hops=4, delay=delay)
        leaves = [x.requires_grad_(), *(state.requires_grad_() for state in past)]
        out = layer(x, edge_index, history=history_of(past))
        wanted = expected(layer, ask, x, edge_index, past)
        torch.testing.assert_close(out, wanted)
        towards = torch.randn_like(out)
        inputs = [*leaves, *layer.parameters()]
        found = torch.autograd.grad(out, inputs, towards, allow_unused=True)
        asked = torch.autograd.grad(wanted, inputs, towards, allow_unused=True)
        for a, b in zip(found, asked, strict=True):
            assert (a is None) == (b is None) or (a is None and b.abs().sum() == 0)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["gcn", "sage", "graph"])
def test_a_table_for_every_few_hops(name, monkeypatch):
    edge_index, (x, *past) = draw(12, 20, 0)
    layer = DelayedConv(CONVS[name][0](), hops=4, learn_hop_weights=True)
    nn.init.normal_(layer.hop_logits)
    found = []
    for size in (1, 2 * x.numel() * x.element_size(), 2**23):
        monkeypatch.setattr(hops_module, "_TABLE", size)
        found.append(layer(x, edge_index, history=history_of(past)))
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 25), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_dense_gcn(num_nodes, num_edges, hops, delay, loops):
    edge_index, (x, *past) = draw(num_nodes, num_edges, num_edges, undirected=True)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    layer = DelayedConv(GCNConv(WIDTH, 3, add_self_loops=loops), hops, delay)
    distance = distances(edge_index, num_nodes)
    out = torch.zeros(num_nodes, 3)
    for hop, conv in enumerate(layer.convs, start=1):
        age = max(0, hop - delay)
        if age > len(past):
            continue
        matrix = (distance == hop).double() + loops * torch.eye(num_nodes)
        scale = matrix.sum(1).pow(-0.5).nan_to_num(posinf=0)
        state = past[age - 1] if age else x
        out += scale[:, None] * matrix * scale @ state @ conv.lin.weight.T + conv.bias
    torch.testing.assert_close(layer(x, edge_index, history=history_of(past)), out)


OWN = {
    "sage": "lin_r.",
    "graph": "lin_root.",
    "gin": "eps",
    "gat": "res.",
    "transformer": "lin_skip.",
    "gated": "lin_skip.",
    "res gated": "lin_skip.",
    "tag": "lins.0.",
}


@pytest.mark.parametrize("name", OWN)
def test_the_node_itself_is_heard_once(name):
    layer = DelayedConv(CONVS[name][0](), hops=2, delay=math.inf)
    own = [
        any(key.startswith(OWN[name]) for key, _ in conv.named_parameters()) for conv in layer.convs
    ]
    assert own == [True, False]
    for conv in layer.convs:
        conv.add_self_loops = False  # which GAT has in every hop, as in a graph of its own
    # Two nodes that hear nobody over the second hop get nothing from it, biases aside.
    edge_index = torch.tensor([[0, 1], [1, 0]])
    x = torch.randn(2, WIDTH)
    nothing = layer(x, edge_index) - layer.convs[0](x, edge_index)
    torch.testing.assert_close(nothing[0], nothing[1])


@pytest.mark.parametrize("name", CONVS)
def test_a_single_hop_is_the_conv(name):
    edge_index, (x, *_) = draw(9, 30, 0)  # with loops and repetitions
    conv = CONVS[name][0]()
    torch.testing.assert_close(DelayedConv(conv, 1)(x, edge_index), conv(x, edge_index))


@pytest.mark.parametrize("name", CONVS)
def test_hop_by_hop_is_the_same(name, monkeypatch):
    edge_index, (x, *past) = draw(12, 30, 0)
    layer = DelayedConv(CONVS[name][0](), hops=4, learn_hop_weights=True)
    with torch.no_grad():
        layer.hop_logits.copy_(torch.randn(4))
    at_once = layer(x, edge_index, history=history_of(past))
    monkeypatch.setattr(hops_module, "_reduces", lambda *_: False)
    torch.testing.assert_close(layer(x, edge_index, history=history_of(past)), at_once)


@pytest.mark.parametrize("name", ["gcn", "sage", "gin", "transformer", "tag", "edge"])
def test_shared_weights(name):
    make, ask = CONVS[name]
    edge_index, (x, *_) = draw(12, 20, 0)
    conv = make()
    layer = DelayedConv(conv, 3, math.inf, share_weights=True, learn_hop_weights=True)
    names = {f"convs.0.{name}" for name, _ in conv.named_parameters()}
    assert {name for name, _ in layer.named_parameters()} == names | {"hop_logits"}
    with torch.no_grad():
        layer.hop_logits.copy_(torch.tensor([0.5, -1.0, 2.0]))
    split = DelayedConv(copy.deepcopy(conv), 3, math.inf)  # with its far terms for the node removed
    for other in split.convs[1:]:
        shared = {k: v for k, v in conv.state_dict().items() if k in other.state_dict()}
        other.load_state_dict(shared)
    scales = 3 * layer.hop_logits.softmax(0)
    wanted = expected(split, ask, x, edge_index, [], scales)
    torch.testing.assert_close(layer(x, edge_index), wanted)
    before = copy.deepcopy(conv.state_dict())
    layer(x, edge_index).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in conv.state_dict().items())


def test_a_hop_older_than_the_network_is_silent():
    edge_index, (x, *past) = draw(12, 25, 0)
    layer = DelayedConv(SAGEConv(WIDTH, WIDTH), hops=4)
    first = DelayedConv(layer.convs[0], hops=1)
    torch.testing.assert_close(layer(x, edge_index), first(x, edge_index))
    second = DelayedConv(layer.convs[0], hops=2)
    second.convs[1] = layer.convs[1]
    history = history_of(past[:1])
    torch.testing.assert_close(
        layer(x, edge_index, history=history), second(x, edge_index, history=history)
    )


@pytest.mark.parametrize("name", CONVS)
def test_behind_gates(name):
    # Nodes that neither broadcast nor listen are heard by nobody, over any hop.
    make, _ = CONVS[name]
    edge_index, (x, *past) = draw(10, 30, 3)
    layer = DelayedConv(make(), hops=3)
    layer.eval()
    broadcast = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1, 0, 1], requires_grad=True)
    listen = torch.tensor([1.0, 1, 0, 1, 0, 1, 0, 1, 1, 1], requires_grad=True)
    history = history_of(past)
    pairs = k_hop(edge_index, 3)
    edges = Edges.of(edge_index, size=10).masked(broadcast, listen)
    edges = Edges(edges.adj, broadcast=broadcast, listen=listen, k_hop=pairs, history=history)
    out = layer.forward_edges(x, edges)
    out.sum().backward()
    assert broadcast.grad is not None
    assert listen.grad is not None

    def kept(index):
        return index[:, (broadcast[index[0]] * listen[index[1]]) != 0]

    distance = distances(edge_index, 10)
    wanted = layer.convs[0](x, kept(edge_index))
    for hop in (2, 3):
        state = CONVS[name][1](past[hop - 2], x)
        wanted = wanted + layer.convs[hop - 1](state, kept(pairs_at(distance, hop)))
    torch.testing.assert_close(out, wanted)


# Layers of ours inside, and the formula of one hop beyond the first: nodes as they are heard, as
# they are now, and the pairs.
def directed(conv, ask):
    def heard(layer, state, x, pairs):
        comes = layer.conv_in(ask(state, x), pairs)
        return 0.7 * comes + 0.3 * layer.conv_out(ask(state, x), pairs.flip(0))

    return lambda: DirectedConv(conv(), 0.3), heard


def cooperative(conv, ask):
    def heard(layer, state, x, pairs):
        actions = layer.act(x, Edges.of(pairs, size=x.size(0)))
        kept = (actions.broadcast[pairs[0]] * actions.listen[pairs[1]]).bool()
        return layer.conv(ask(state, x), pairs[:, kept])

    return lambda: CooperativeConv(conv(), ActionNet(WIDTH)), heard


INSIDE = {
    **{f"directed {name}": directed(*CONVS[name]) for name in ("sage", "sage, max", "gat", "gin")},
    **{f"cooperative {name}": cooperative(*CONVS[name]) for name in ("sage", "gat", "gcn")},
    "contextual": (
        lambda: ContextualConv(WIDTH, WIDTH, context="mean"),
        lambda layer, state, x, pairs: layer((state, x), pairs),
    ),
    "directed contextual": directed(lambda: ContextualConv(WIDTH, WIDTH, aggr="max"), TARGET),
    "cooperative directed": (
        lambda: CooperativeConv(DirectedConv(SAGEConv(WIDTH, WIDTH), 0.3), ActionNet(WIDTH)),
        cooperative(None, lambda state, _: state)[1],
    ),
    "directed directed": (
        lambda: DirectedConv(DirectedConv(SAGEConv(WIDTH, WIDTH), 0.4), 0.3),
        directed(None, lambda state, _: state)[1],
    ),
}


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", INSIDE)
def test_around_layers_of_ours(name, share):
    make, heard = INSIDE[name]
    edge_index, (x, *past) = draw(12, 25, 0)
    layer = DelayedConv(make(), hops=3, share_weights=share).eval()
    before = copy.deepcopy(layer)
    out = layer(x, edge_index, history=history_of(past))
    distance = distances(edge_index, 12)
    wanted = layer.convs[0](x, edge_index)
    for hop in (2, 3):
        conv = neighbours_only(layer.convs[0], share=True) if share else layer.convs[hop - 1]
        wanted = wanted + heard(conv, past[hop - 2], x, pairs_at(distance, hop))
    torch.testing.assert_close(out, wanted)
    assert all(map(torch.equal, layer.state_dict().values(), before.state_dict().values()))
    out.square().sum().backward()
    idle = [name for name, p in layer.named_parameters() if p.grad is None]
    assert all("action_net" in name for name in idle)  # decisions that were taken learn nothing


WITHOUT_LOOPS = {
    **{name: CONVS[name][0] for name in ("gcn, no loops", "sage", "gated", "edge")},
    **{name: make for name, (make, _) in INSIDE.items() if not name.endswith(("gat", "gcn"))},
    "tag": lambda: TAGConv(WIDTH, WIDTH, K=1),
}


@pytest.mark.parametrize("name", WITHOUT_LOOPS)
def test_a_node_does_not_hear_its_own_past(name):
    edge_index, (x, *past) = draw(12, 25, 0)
    layer = DelayedConv(WITHOUT_LOOPS[name](), hops=3).eval()
    for module in layer.modules():
        if isinstance(module, CooperativeConv):
            module.eval_mode = "expected"  # in which nobody is silent
    past = [state.requires_grad_() for state in past]
    out = layer(x, edge_index, history=history_of(past))
    for node in range(12):
        for of_state in torch.autograd.grad(out[node].sum(), past[:2], retain_graph=True):
            assert of_state[node].count_nonzero() == 0
    assert torch.autograd.grad(out.sum(), past[0])[0].count_nonzero() > 0


def test_a_class_that_nobody_knows():
    # It keeps its own term at every hop, of the state as it is.
    class Mine(SAGEConv):
        pass

    edge_index, (x, *past) = draw(12, 25, 0)
    layer = DelayedConv(Mine(WIDTH, WIDTH), hops=3)
    wanted = expected(layer, TARGET, x, edge_index, past)
    out = layer(x, edge_index, history=history_of(past))
    torch.testing.assert_close(out, wanted)
    out.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_without_delay_one_tensor_is_enough():
    edge_index, (x, *_) = draw(12, 25, 0)
    make = lambda: PNAConv(WIDTH, WIDTH, ["mean"], ["identity"], torch.tensor([1, 2]))  # noqa: E731
    layer = DelayedConv(make(), 3, math.inf)
    torch.testing.assert_close(layer(x, edge_index), expected(layer, ALONE, x, edge_index, []))
    DelayedConv(make(), 1)
    DelayedConv(make(), 3, delay=3)
    with pytest.raises(ValueError, match=r"pair of features.*PNAConv.*delay=math.inf"):
        DelayedConv(make(), 3, delay=2)
    with pytest.raises(ValueError, match="pair of features"):
        DelayedConv(CooperativeConv(make(), ActionNet(WIDTH)), 2)

    class Untyped(MessagePassing):
        def forward(self, x, edge_index):
            return self.propagate(edge_index, x=x)

    with pytest.raises(ValueError, match="Untyped is typed to take one tensor"):
        DelayedConv(Untyped(), 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GINEConv(mlp()),
        lambda: NNConv(WIDTH, WIDTH, nn.Linear(3, WIDTH * WIDTH)),
        lambda: TransformerConv(WIDTH, WIDTH, edge_dim=3),
        lambda: GATConv(WIDTH, WIDTH, edge_dim=3),
        lambda: ResGatedGraphConv(WIDTH, WIDTH, edge_dim=3),
        lambda: GENConv(WIDTH, WIDTH, edge_dim=3),
        lambda: GeneralConv(WIDTH, WIDTH, in_edge_channels=3),
        lambda: CGConv(WIDTH, dim=3),
        lambda: DirectedConv(GATv2Conv(WIDTH, WIDTH, edge_dim=3)),
        lambda: CooperativeConv(GATv2Conv(WIDTH, WIDTH, edge_dim=3), ActionNet(WIDTH)),
    ],
)
def test_no_edge_features_beyond_the_first_hop(make):
    DelayedConv(make(), 1)
    with pytest.raises(ValueError, match="`conv` must not be made for edge features"):
        DelayedConv(make(), 2)
    with pytest.raises(ValueError, match="none beyond the first hop"):
        DelayedConv(make(), 2, math.inf, share_weights=True)


def test_cooperative_around_delayed():
    edge_index, (x, *past) = draw(10, 30, 3)

    class Open(nn.Module):
        def forward(self, x, _):
            return torch.tensor([[5.0, -5, 5, -5]]).expand(x.size(0), 4)

    layer = DelayedConv(SAGEConv(WIDTH, WIDTH), hops=3)
    around = CooperativeConv(layer, Open()).eval()
    edges = Edges.of(edge_index, size=10)
    edges = Edges(edges.adj, history=history_of(past))
    out = around(x, edges)
    torch.testing.assert_close(out, layer(x, edge_index, history=history_of(past)))


def test_relations():
    # Two sets of edges as two hops: a relational layer.
    edge_index, (x, *_) = draw(10, 30, 5)
    edge_index = edge_index.unique(dim=1)
    added = torch.tensor([[0, 3, 5, 9], [9, 1, 2, 0]])
    label = torch.tensor([1] * edge_index.size(1) + [2] * 4)
    relations = KHop.of(torch.cat([edge_index, added], 1), label, 2, 10)
    layer = DelayedConv(GraphConv(WIDTH, WIDTH), 2, math.inf)
    wanted = layer.convs[0](x, edge_index) + layer.convs[1]((x, None), added)
    torch.testing.assert_close(layer(x, edge_index, k_hop=relations), wanted)


def test_weights_and_features_ride_on_the_first_hop():
    edge_index, (x, *past) = draw(10, 30, 5)
    weight = torch.rand(30)
    layer = DelayedConv(GraphConv(WIDTH, WIDTH), 2)
    wanted = layer(x, edge_index, history=history_of(past)) - layer.convs[0](x, edge_index)
    wanted = wanted + layer.convs[0](x, edge_index, weight)
    found = layer(x, edge_index, weight, history=history_of(past))
    torch.testing.assert_close(found, wanted)


def test_flow():
    edge_index, (x, *past) = draw(10, 30, 5)
    layer = DelayedConv(SAGEConv(WIDTH, WIDTH), 3)
    turned = copy.deepcopy(layer)
    for conv in turned.convs:
        conv.flow = "target_to_source"
    pairs = k_hop(edge_index.flip(0), 3)
    wanted = layer(x, edge_index, history=history_of(past))
    for given_pairs in (None, pairs):
        found = turned(x, edge_index.flip(0), history=history_of(past), k_hop=given_pairs)
        torch.testing.assert_close(found, wanted)


NO_FEATURES = {"edge_attr": "TransformerConv without edge_dim fails on them with torch's words"}


@pytest.mark.parametrize(
    ("make", "skip"),
    [
        (lambda i, o, **k: DelayedConv(SAGEConv(i, o, **k), 3, math.inf), {}),
        (lambda i, o, **k: DelayedConv(GCNConv(i, o, **k), 3, math.inf), {}),
        (lambda i, o, **k: DelayedConv(TransformerConv(i, o, **k), 2, math.inf), NO_FEATURES),
        (
            lambda i, o, **k: DelayedConv(
                GraphConv(i, o, **k), 2, math.inf, share_weights=True, learn_hop_weights=True
            ),
            {},
        ),
        (lambda i, o, **k: DelayedConv(DirectedConv(SAGEConv(i, o, **k)), 2, math.inf), {}),
    ],
    ids=["sage", "gcn", "transformer", "graph", "directed"],
)
def test_laws(make, skip):
    assert_layer(make, skip=skip)


def test_laws_of_gated_gcn():
    assert_layer(GatedGCNConv, skip={"edge_weight": "it takes none", "edge_attr": "it takes none"})


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (lambda: DelayedConv(nn.Linear(2, 2), 2), "MessagePassing"),
        (lambda: DelayedConv(GCNConv(2, 2, cached=True), 2), "cached"),
        (lambda: DelayedConv(GCNConv(2, 2), 0), "`hops` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), 2, delay=0), "`delay` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), 2, delay=1.5), "`delay` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), 2, delay=math.nan), "`delay` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), 2, delay=True), "`delay` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), 2, delay=None), "`delay` must be a whole number"),
        (lambda: DelayedConv(GCNConv(2, 2), True), "`hops` must be a whole number.*True"),
        (lambda: DelayedConv(GCNConv(2, 2), 2.0), "`hops` must be a whole number.*2.0"),
        (lambda: DelayedConv(DelayedConv(GCNConv(2, 2), 2), 2), "delayed already"),
        (
            lambda: DelayedConv(DirectedConv(DelayedConv(GCNConv(2, 2), 2)), 2),
            "delayed already",
        ),
        (lambda: History(depth=-1), "`depth` must not be negative"),
    ],
)
def test_refused_when_made(wrong, rule):
    with pytest.raises((TypeError, ValueError), match=rule):
        wrong()


def test_refused_when_called():
    edge_index, (x, *past) = draw(10, 30, 5)
    layer = DelayedConv(GCNConv(WIDTH, WIDTH), 3)
    with pytest.raises(ValueError, match="bipartite"):
        layer((x, x), edge_index)
    with pytest.raises(ValueError, match="same graph: it holds states of 4 nodes"):
        layer(x, edge_index, history=History().push(torch.ones(4, WIDTH)))
    with pytest.raises(ValueError, match="same graph"):
        History().push(x).push(x[:4])
    with pytest.raises(ValueError, match="as wide as `x`"):
        layer(x, edge_index, history=History().push(torch.ones(10, 3)))
    with pytest.raises(ValueError, match="must reach 3 hops, got 2"):
        layer(x, edge_index, history=history_of(past), k_hop=k_hop(edge_index, 2))
    line = k_hop(torch.tensor([[0, 1], [1, 2]]), 3)
    with pytest.raises(ValueError, match="of 10 nodes, got one of 3"):
        layer(x, edge_index, history=history_of(past), k_hop=line)
    with pytest.raises(TypeError, match="`history` must be a History, got a list"):
        layer(x, edge_index, history=[x])
    with pytest.raises(TypeError, match="`k_hop` must be a KHop, got a Tensor"):
        layer(x, edge_index, k_hop=edge_index)
    with pytest.raises(TypeError, match="`x` must be a Tensor, got a NoneType"):
        layer(None, edge_index)


def test_a_history_too_shallow_drops_no_hop_unsaid():
    edge_index, (x, *past) = draw(10, 30, 5)
    layer = DelayedConv(GCNConv(WIDTH, WIDTH), 3)
    for shallow in (History(depth=1), History(depth=1).push(past[0])):
        with pytest.raises(ValueError, match=r"`history` must keep 2 states.*got one of depth 1"):
            layer(x, edge_index, history=shallow)
        with pytest.raises(ValueError, match="`history` must keep 2 states"):
            CooperativeConv(layer, ActionNet(WIDTH))(
                x, replace(Edges.of(edge_index, size=10), history=shallow)
            )
    layer(x, edge_index, history=History(depth=2).push(past[0]))
    older = History(states=(x, x[:4]))
    with pytest.raises(ValueError, match="same graph: it holds states of 4 nodes"):
        layer(x, edge_index, history=older)
    with pytest.raises(ValueError, match="same graph: it holds states of 4 nodes"):
        older.push(x)
