"""Cooperative layers against the paper's definition, written with dense matrices."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import gumbel_softmax
from torch_geometric.nn import GATConv, GCNConv, GINConv, GraphConv, SAGEConv

from gnnlib import Edges
from gnnlib.layers import ActionNet, Actions, CooperativeConv, Temperature, record_actions
from gnnlib.layers._actions import decide
from gnnlib.lowering import run


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Fixed(nn.Module):
    """An action network that has made up its mind."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, _x, _edge_index):
        return self.logits


def fixed(listen, broadcast):
    sign = lambda keep: torch.stack([keep * 2.0 - 1, 1 - keep * 2.0], -1) * 5  # noqa: E731
    return Fixed(torch.cat([sign(listen), sign(broadcast)], -1))


def draw(num_nodes, num_edges, seed):
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=g)
    gates = (torch.rand(2, num_nodes, generator=g) < 0.6).double()
    return edge_index, gates[0], gates[1], torch.randn(num_nodes, 4, generator=g)


def open_matrix(edge_index, weight, listen, broadcast, num_nodes):
    """dense[i, j]: the summed weight of the edges j -> i that are there."""
    dense = torch.zeros(num_nodes, num_nodes)
    for (j, i), w in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        if listen[i] and broadcast[j]:
            dense[i, j] += w
    return dense


def dense_mean(dense_weighted, dense_count, x):
    return (dense_weighted @ x) / dense_count.sum(1, keepdim=True).clamp(min=1)


def dense_max(count, x):
    rows = [x[row > 0].max(0).values if row.any() else torch.zeros(x.size(1)) for row in count]
    return torch.stack(rows)


def dense_gcn(dense, x):
    """Of a graph without self loops: one of weight 1 is added to each node."""
    dense = dense + torch.eye(dense.size(0))
    scale = dense.sum(1).pow(-0.5)
    return scale[:, None] * (dense @ (scale[:, None] * x))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 999))
def test_definition(num_nodes, num_edges, seed):
    edge_index, listen, broadcast, x = draw(num_nodes, num_edges, seed)
    weight = torch.rand(num_edges) + 0.5
    ones = torch.ones(num_edges)
    count = open_matrix(edge_index, ones, listen, broadcast, num_nodes)
    weighted = open_matrix(edge_index, weight, listen, broadcast, num_nodes)
    net = fixed(listen, broadcast)

    sage = SAGEConv(4, 3)
    expected = sage.lin_l(dense_mean(count, count, x)) + sage.lin_r(x)
    torch.testing.assert_close(CooperativeConv(sage, net).eval()(x, edge_index), expected)

    sage = SAGEConv(4, 6, aggr="max")
    expected = sage.lin_l(dense_max(count, x)) + sage.lin_r(x)
    torch.testing.assert_close(CooperativeConv(sage, net).eval()(x, edge_index), expected)

    graph = GraphConv(4, 3)
    expected = graph.lin_rel(weighted @ x) + graph.lin_root(x)
    torch.testing.assert_close(CooperativeConv(graph, net).eval()(x, edge_index, weight), expected)

    gin = GINConv(nn.Linear(4, 3), eps=0.3)
    expected = gin.nn(count @ x + 1.3 * x)
    torch.testing.assert_close(CooperativeConv(gin, net).eval()(x, edge_index), expected)

    gcn = GCNConv(4, 3)
    keep = edge_index[0] != edge_index[1]
    loopless = open_matrix(edge_index[:, keep], ones[keep], listen, broadcast, num_nodes)
    expected = dense_gcn(loopless, gcn.lin(x)) + gcn.bias
    out = CooperativeConv(gcn, net).eval()(x, edge_index)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("aggr", ["sum", "mean"])
def test_gates_learn_through_closed_doors(aggr):
    """The gradient of the gates is that of the formula in which they are real numbers."""
    edge_index, listen, broadcast, x = draw(7, 30, 3)
    conv = SAGEConv(4, 4, aggr=aggr, root_weight=False)
    gates = [listen.clone().requires_grad_(), broadcast.clone().requires_grad_()]
    edges = Edges.of(edge_index, size=7).masked(listen=gates[0], broadcast=gates[1])
    probe = torch.randn(7, 4)
    run(conv, x, edges).mul(probe).sum().backward()

    count = torch.zeros(7, 7).index_put(
        (edge_index[1], edge_index[0]), torch.ones(30), accumulate=True
    )
    real = [listen.clone().requires_grad_(), broadcast.clone().requires_grad_()]
    heard = count @ (real[1][:, None] * x)
    if aggr == "mean":
        total = count @ real[1]
        heard = heard / torch.where(total == 0, 1, total)[:, None]
    conv.lin_l(real[0][:, None] * heard).mul(probe).sum().backward()
    closed = (listen == 0).any() and (broadcast == 0).any()
    assert closed
    for gate, expected in zip(gates, real, strict=True):
        torch.testing.assert_close(gate.grad, expected.grad)
    assert (gates[0].grad[listen == 0] != 0).any()
    assert (gates[1].grad[broadcast == 0] != 0).any()


def test_weight_and_mask_are_two_things():
    """An edge of weight zero is counted by a mean; an absent one is not."""
    edge_index = torch.tensor([[0, 1], [2, 2]])
    x = torch.tensor([[2.0], [4.0], [0.0]])
    conv = GraphConv(1, 1, aggr="mean", bias=False)
    nn.init.ones_(conv.lin_rel.weight)
    nn.init.zeros_(conv.lin_root.weight)
    edges = Edges.of(edge_index, torch.tensor([0.0, 1.0]), size=3)
    assert run(conv, x, edges)[2].item() == 2.0
    edges = Edges.of(edge_index, size=3).masked(broadcast=torch.tensor([0.0, 1.0, 1.0]))
    assert run(conv, x, edges)[2].item() == 4.0


@pytest.mark.parametrize("make", [SAGEConv, GCNConv, GraphConv, GATConv])
def test_absent_nodes_do_not_leak(make):
    """What a silent node holds reaches nobody, not even as NaN."""
    edge_index = torch.tensor([[0, 1, 1], [1, 2, 0]])
    x = torch.randn(3, 4)
    x[0] = float("nan")
    keep = torch.tensor([0.0, 1.0, 1.0])
    conv = CooperativeConv(make(4, 4), fixed(torch.ones(3), keep)).eval()
    assert conv(x, edge_index)[1:].isfinite().all()
    deaf = CooperativeConv(make(4, 4), fixed(torch.tensor([1.0, 0.0, 1.0]), torch.ones(3))).eval()
    assert deaf(x, edge_index)[1:].isfinite().all()


def test_general_path_is_the_conv_on_open_edges():
    edge_index, listen, broadcast, x = draw(8, 30, 1)
    attr = torch.randn(30, 3)
    conv = GATConv(4, 5, heads=2, edge_dim=3)
    keep = (listen[edge_index[1]] * broadcast[edge_index[0]]).bool()
    expected = conv(x, edge_index[:, keep], attr[keep])
    out = CooperativeConv(conv, fixed(listen, broadcast)).eval()(x, edge_index, edge_attr=attr)
    torch.testing.assert_close(out, expected)


def test_general_path_gradient_reaches_the_gates_of_open_edges():
    """The general path of a sum agrees with the fused one wherever a door is open."""
    edge_index, _, _, x = draw(6, 20, 5)
    conv = SAGEConv(4, 4, aggr="sum", root_weight=False)
    grads = []
    for module in (conv, _unknown(conv)):
        gates = [torch.ones(6, requires_grad=True), torch.ones(6, requires_grad=True)]
        edges = Edges.of(edge_index, size=6).masked(*gates)
        run(module, x, edges).square().sum().backward()
        grads.append([gate.grad for gate in gates])
    torch.testing.assert_close(grads[0], grads[1])


def _unknown(conv):
    class Unknown(type(conv)):
        """The same conv under a name that no table holds."""

    twin = copy.deepcopy(conv)
    twin.__class__ = Unknown
    return twin


@pytest.mark.parametrize("actions", ["factorised", "categorical"])
def test_straight_through_is_gumbel_softmax(actions):
    logits = torch.randn(50, 4)
    shape = (50, 2, 2) if actions == "factorised" else (50, 4)
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.manual_seed(7)
    chosen = decide(mine, 0.7, actions, "sample", None)
    torch.manual_seed(7)
    # With noise drawn in the same order.
    hard = gumbel_softmax(theirs.view(shape), 0.7, hard=True)
    if actions == "factorised":
        listen, broadcast = hard[:, 0, 0], hard[:, 1, 0]
    else:
        listen, broadcast = hard[:, 0] + hard[:, 1], hard[:, 0] + hard[:, 2]
    assert torch.equal(chosen.listen, listen.round())
    assert torch.equal(chosen.broadcast, broadcast.round())
    probe = torch.randn(2, 50)
    (chosen.listen @ probe[0] + chosen.broadcast @ probe[1]).backward()
    (listen @ probe[0] + broadcast @ probe[1]).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_gates_are_exactly_zero_or_one():
    for actions in ("factorised", "categorical"):
        chosen = decide(torch.randn(1000, 4), 0.3, actions, "sample", None)
        for gate in (chosen.listen, chosen.broadcast):
            assert set(gate.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("actions", ["factorised", "categorical"])
def test_expected_is_the_mean_of_samples(actions):
    logits = torch.randn(1, 4)
    expected = decide(logits, 0.01, actions, "expected", None)
    samples = decide(logits.expand(200_000, 4), 0.01, actions, "sample", None)
    # Five standard errors of a mean of 200,000 coin flips.
    assert abs(samples.listen.mean() - expected.listen) < 0.006
    assert abs(samples.broadcast.mean() - expected.broadcast) < 0.006


def test_argmax_takes_the_likelier_action():
    logits = torch.tensor([[2.0, 1.0, 0.0, 3.0], [0.0, 1.0, 3.0, 2.0]])
    chosen = decide(logits, 0.01, "factorised", "argmax", None)
    assert chosen.listens.tolist() == [True, False]
    assert chosen.broadcasts.tolist() == [False, True]
    # (standard, listen, broadcast, isolate)
    chosen = decide(torch.eye(4), 0.01, "categorical", "argmax", None)
    assert chosen.listens.tolist() == [True, True, False, False]
    assert chosen.broadcasts.tolist() == [True, False, True, False]


def test_decisions_stay_finite_in_half_precision_and_at_low_temperature():
    logits = (torch.randn(100, 4) * 1e4).half().requires_grad_()
    chosen = decide(logits, 1e-6, "categorical", "sample", None)
    (chosen.listen.sum() + chosen.broadcast.sum()).backward()
    assert logits.grad.isfinite().all()


def test_learned_temperature():
    module = Temperature(4, tau0=0.5)
    x = torch.randn(6, 4)
    expected = 1 / (torch.log1p(torch.exp(x @ module.lin.weight[0])) + 0.5)
    torch.testing.assert_close(module(x).double().flatten(), expected, rtol=1e-5, atol=1e-6)
    assert (Temperature(4, tau0=0.0)(torch.full((1, 4), -1e9).abs() * -1e3)).isfinite().all()


def test_twin_networks_are_two_networks():
    """The logits of the joint pass are those of two networks run one after the other."""
    edge_index, _, _, x = draw(8, 30, 2)
    for conv in ("mean", "sum", "gcn", "gin", "lin"):
        net = ActionNet(4, hidden_channels=5, num_layers=2, conv=conv)
        joint = net(x, edge_index)
        for k in range(2):
            h = x
            for depth, layer in enumerate(net.convs):
                h = h if depth == 0 else h.relu()
                h = _single(layer, conv, k, h, edge_index)
            torch.testing.assert_close(joint[:, 2 * k : 2 * k + 2], h)


def _single(layer, conv, k, h, edge_index):
    weight, bias = layer.lin.weight[k], layer.lin.bias[k]
    n = h.size(0)
    count = torch.zeros(n, n)
    count.index_put_((edge_index[1], edge_index[0]), torch.ones(edge_index.size(1)), True)
    if conv == "lin":
        return h @ weight + bias
    if conv == "gcn":
        return dense_gcn(count - count.diagonal().diag(), h @ weight) + bias
    if conv == "gin":
        h = (1 + layer.eps[k]) * h + count @ h
        return (h @ weight + bias).relu() @ layer.lin_out.weight[k] + layer.lin_out.bias[k]
    heard = count @ h if conv == "sum" else dense_mean(count, count, h)
    return h @ weight + bias + heard @ layer.lin_neighbor.weight[k]


def test_record_actions():
    edge_index, listen, broadcast, x = draw(5, 12, 0)
    conv = CooperativeConv(SAGEConv(4, 4), fixed(listen, broadcast)).eval()
    with record_actions() as actions:
        conv(conv(x, edge_index), edge_index)
    conv(x, edge_index)
    assert len(actions) == 2
    assert isinstance(actions[0], Actions)
    assert torch.equal(actions[0].listens, listen.bool())
    assert torch.equal(actions[1].broadcasts, broadcast.bool())


def test_generator_decides():
    edge_index, _, _, x = draw(50, 200, 0)
    conv = CooperativeConv(SAGEConv(4, 4), ActionNet(4))
    draws = [
        conv(x, edge_index, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_shared_action_network_is_counted_once():
    net = ActionNet(4)
    convs = nn.ModuleList(CooperativeConv(SAGEConv(4, 4), net) for _ in range(3))
    own = sum(p.numel() for p in net.parameters())
    envs = sum(p.numel() for conv in convs for p in conv.conv.parameters())
    assert sum(p.numel() for p in convs.parameters()) == own + envs


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: CooperativeConv(nn.Linear(4, 4), ActionNet(4)), TypeError, "MessagePassing"),
        (lambda: CooperativeConv(GCNConv(4, 4, cached=True), ActionNet(4)), ValueError, "cache"),
        (lambda: CooperativeConv(GCNConv(4, 4), ActionNet(4), actions="x"), ValueError, "got 'x'"),
        (lambda: CooperativeConv(GCNConv(4, 4), ActionNet(4), eval_mode="x"), ValueError, "'x'"),
        (lambda: CooperativeConv(GCNConv(4, 4), ActionNet(4), temperature=0), ValueError, "got 0"),
        (lambda: ActionNet(4, conv="x"), ValueError, "got 'x'"),
        (lambda: ActionNet(-1), ValueError, "at least 1, got -1"),
        (lambda: ActionNet(4, num_layers=0), ValueError, "at least 1, got 0"),
        (lambda: Temperature(4, tau0=-1), ValueError, "negative, got -1"),
    ],
)
def test_wrong_options(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_wrong_inputs():
    x, edge_index = torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])
    conv = CooperativeConv(SAGEConv(4, 4), ActionNet(4))
    with pytest.raises(ValueError, match="bipartite"):
        conv((x, x), edge_index)
    with pytest.raises(ValueError, match="no `edge_weight`"):
        conv(x, edge_index, torch.ones(2))
    with pytest.raises(ValueError, match="one row per edge, 2, got 3"):
        conv(x, edge_index, torch.ones(3))
    with pytest.raises(IndexError, match=r"\[0, 3\), got 7"):
        conv(x, torch.tensor([[0, 7], [1, 2]]))
    with pytest.raises(ValueError, match=r"logits \[N, 4\]"):
        CooperativeConv(SAGEConv(4, 4), SAGEConv(4, 3))(x, edge_index)


def test_threads_share_a_layer():
    """The general path leaves nothing on the conv that another call could meet."""
    conv = CooperativeConv(GATConv(4, 6), ActionNet(4)).eval()
    x = torch.randn(10, 4)
    graphs = [torch.randint(10, (2, size)) for size in (30, 40)]
    expected = [conv(x, graph) for graph in graphs]

    def work(k):
        for _ in range(40):
            torch.testing.assert_close(conv(x, graphs[k]), expected[k])

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work, k) for k in (0, 1)]:
            future.result()


def test_training_after_inference_mode():
    x, edge_index = torch.randn(10, 4), torch.randint(10, (2, 40))
    conv = CooperativeConv(GATConv(4, 6), ActionNet(4))
    with torch.inference_mode():
        conv(x, edge_index)
    conv(x, edge_index).sum().backward()


def test_sparse_weights_learn():
    weight = torch.ones(40, requires_grad=True)
    with torch.sparse.check_sparse_tensor_invariants(True):
        adj_t = torch.sparse_coo_tensor(torch.randint(10, (2, 40)), weight, (10, 10))
    conv = CooperativeConv(GCNConv(4, 6), fixed(torch.ones(10), torch.ones(10))).eval()
    conv(torch.randn(10, 4), adj_t).square().sum().backward()
    assert weight.grad.abs().sum() > 0


def test_list_of_aggregations_takes_the_general_path():
    x, edge_index = torch.randn(10, 4), torch.randint(10, (2, 40))
    conv = SAGEConv(4, 6, aggr=["mean", "max"])
    opened = fixed(torch.ones(10), torch.ones(10))
    out = CooperativeConv(conv, opened).eval()(x, edge_index)
    torch.testing.assert_close(out, conv(x, edge_index))


@pytest.mark.parametrize("shape", [(3,), (1, 3, 4)])
def test_features_must_be_a_matrix(shape):
    conv = CooperativeConv(SAGEConv(4, 4), ActionNet(4))
    with pytest.raises(ValueError, match=r"`x` must be \[N, in_channels\]"):
        conv(torch.randn(shape), torch.zeros(2, 0, dtype=torch.long))
