"""`DirectedConv` against the paper's formulas with dense matrices."""

from typing import Any

import pytest
import torch
from directed_oracle import NODES, WIDTH, affine, dense, draw, gcn_oracle, gradients, mlp, operators
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from gnnlib.layers import Alpha, DirectedConv  # first: it imports PyG without warnings

# isort: split
from torch_geometric import nn as pyg


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# The paper's definitions ------------------------------------------------------------------------


@pytest.mark.parametrize("out_channels", [3, 6])  # projected first, aggregated first
@pytest.mark.parametrize("norm", ["dir", "row", "sym", None])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_gcn(norm: Any, alpha: float, out_channels: int) -> None:
    x, edge_index, weight = draw()
    conv = DirectedConv(pyg.GCNConv(WIDTH, out_channels), alpha, norm=norm)
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    found = gradients(lambda x: conv(x, edge_index), [x], conv.parameters())
    wanted = gradients(
        lambda x: gcn_oracle(conv, alpha, norm, x, dense(edge_index)), [x], conv.parameters()
    )
    torch.testing.assert_close(found, wanted)
    # By weights too, whose degrees are sums of them.
    found = gradients(lambda x, w: conv(x, edge_index, w), [x, weight], conv.parameters())
    wanted = gradients(
        lambda x, w: gcn_oracle(conv, alpha, norm, x, dense(edge_index, w)),
        [x, weight],
        conv.parameters(),
    )
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(conv(x, edge_index, weight), wanted[0])  # weights not learned


def test_alpha_weighs_those_that_a_node_points_to() -> None:
    edge_index = torch.tensor([[0], [1]])  # 0 -> 1
    x = torch.tensor([[1.0], [10.0]])
    conv = DirectedConv(pyg.GCNConv(1, 1, bias=False), alpha=1.0)
    nn.init.ones_(conv.conv_out.lin.weight)
    assert conv(x, edge_index).flatten().tolist() == [10.0, 0.0]  # 0 hears its out-neighbour
    conv = DirectedConv(pyg.GCNConv(1, 1, bias=False), alpha=0.0)
    nn.init.ones_(conv.conv_in.lin.weight)
    assert conv(x, edge_index).flatten().tolist() == [0.0, 1.0]


def sage_heard(conv: Any, x: Tensor, pairs: list[Any], aggr: str) -> Tensor:
    rows = []
    for i in range(NODES):
        heard = [x[j] for j, target in pairs if target == i]
        total = torch.stack(heard).sum(0) if heard else torch.zeros(WIDTH)
        total = total / max(1, len(heard)) if aggr == "mean" else total
        rows.append(affine(conv.lin_l, conv.lin_l.bias, total))
    return torch.stack(rows)


@pytest.mark.parametrize("out_channels", [3, 6])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("aggr", ["mean", "sum"])
def test_sage(aggr: str, unit: bool, out_channels: int) -> None:
    x, edge_index, _ = draw()
    conv = DirectedConv(pyg.SAGEConv(WIDTH, out_channels, aggr=aggr, normalize=unit), 0.7)
    pairs = edge_index.T.tolist()

    def oracle(x: Tensor) -> Tensor:
        comes = sage_heard(conv.conv_in, x, pairs, aggr)
        goes = sage_heard(conv.conv_out, x, [(j, i) for i, j in pairs], aggr)
        out = x @ conv.root.weight.T + 0.3 * comes + 0.7 * goes
        return normalize(out, dim=-1) if unit else out

    found = gradients(lambda x: conv(x, edge_index), [x], conv.parameters())
    torch.testing.assert_close(found, gradients(oracle, [x], conv.parameters()))


def gat_heard(conv: Any, x: Tensor, pairs: list[Any]) -> Tensor:
    h = x @ conv.lin.weight.T
    rows = []
    for i in range(NODES):
        heard = [j for j, target in pairs if target == i and j != i] + [i]  # one loop of its own
        scores = torch.stack(
            [leaky_relu(h[j] @ conv.att_src[0, 0] + h[i] @ conv.att_dst[0, 0], 0.2) for j in heard]
        )
        rows.append((scores.softmax(0)[:, None] * h[heard]).sum(0) + conv.bias)
    return torch.stack(rows)


def test_gat_with_its_self_loops_in_both_directions() -> None:
    x, edge_index, _ = draw()
    conv = DirectedConv(pyg.GATConv(WIDTH, 5), 0.4)
    pairs = edge_index.T.tolist()

    def oracle(x: Tensor) -> Tensor:
        comes = gat_heard(conv.conv_in, x, pairs)
        goes = gat_heard(conv.conv_out, x, [(j, i) for i, j in pairs])
        return 0.6 * comes + 0.4 * goes

    found = gradients(lambda x: conv(x, edge_index), [x], conv.parameters())
    torch.testing.assert_close(found, gradients(oracle, [x], conv.parameters()))


@pytest.mark.parametrize("norm", ["dir", "row", "sym", None])
def test_sums_of_other_convs(norm: Any) -> None:
    x, edge_index, weight = draw()
    comes, goes = operators(dense(edge_index), norm)
    comes_weighted, goes_weighted = operators(dense(edge_index, weight), norm)
    gin = DirectedConv(pyg.GINConv(mlp(), eps=0.5), 0.4, norm=norm)
    wanted = 0.6 * gin.conv_in.nn(1.5 * x + comes @ x) + 0.4 * gin.conv_out.nn(1.5 * x + goes @ x)
    torch.testing.assert_close(gin(x, edge_index), wanted)
    graph = DirectedConv(pyg.GraphConv(WIDTH, 5), 0.4, norm=norm)
    ways = zip((graph.conv_in, graph.conv_out), (comes_weighted, goes_weighted), strict=True)
    first, second = (affine(c.lin_rel, c.lin_rel.bias, s @ x) for c, s in ways)
    wanted = x @ graph.root.weight.T + 0.6 * first + 0.4 * second
    torch.testing.assert_close(graph(x, edge_index, weight), wanted)
    tag = DirectedConv(pyg.TAGConv(WIDTH, 5, K=2), 0.4, norm=norm)
    ways = zip((tag.conv_in, tag.conv_out), (comes, goes), strict=True)
    first, second = (
        c.lins[1](s @ x) + c.lins[2](torch.linalg.matrix_power(s, 2) @ x) + c.bias for c, s in ways
    )
    wanted = tag.root(x) + 0.6 * first + 0.4 * second
    torch.testing.assert_close(tag(x, edge_index), wanted)
    appnp = DirectedConv(pyg.APPNP(3, 0.2), 0.4, norm=norm)
    parts = []
    for s in (comes, goes):
        h = x
        for _ in range(3):
            h = 0.8 * s @ h + 0.2 * x
        parts.append(h)
    torch.testing.assert_close(appnp(x, edge_index), 0.6 * parts[0] + 0.4 * parts[1])


# The share of the out-neighbours ----------------------------------------------------------------


@pytest.mark.parametrize("make", [pyg.GCNConv, pyg.SAGEConv, pyg.GATConv])
@pytest.mark.parametrize("alpha", [0, 1])
def test_what_is_not_heard_has_no_parameters(make: Any, alpha: float) -> None:
    x, edge_index, _ = draw()
    both, one = DirectedConv(make(WIDTH, 5)), DirectedConv(make(WIDTH, 5), alpha)
    root = 0 if both.root is None else both.root.weight.numel()
    count, half = (sum(p.numel() for p in conv.parameters()) for conv in (both, one))
    assert count - root == 2 * (half - root)
    for _, parameter in one.named_parameters():
        assert torch.autograd.grad(one(x, edge_index).sum(), parameter)[0] is not None


def test_learned() -> None:
    x, edge_index, weight = draw()
    conv = DirectedConv(pyg.GCNConv(WIDTH, 5), 0.25, learn_alpha=True)
    torch.testing.assert_close(conv.alpha(), torch.tensor(0.25))
    wanted = gradients(
        lambda x, logit: gcn_oracle(conv, logit.sigmoid(), "dir", x, dense(edge_index)),
        [x, conv.alpha.logit.detach()],
        [],
    )
    found = gradients(lambda x: conv(x, edge_index), [x], [conv.alpha.logit])
    torch.testing.assert_close(found, wanted)
    # However far it is pushed.
    optimizer = torch.optim.SGD([conv.alpha.logit], lr=1e3)
    for sign in (1, -1):
        for _ in range(20):
            optimizer.zero_grad()
            (sign * conv.alpha()).backward()
            optimizer.step()
            assert 0 <= conv.alpha() <= 1
            assert conv(x, edge_index, weight).isfinite().all()


def test_one_for_several_layers() -> None:
    alpha = Alpha(0.5)
    layers = [DirectedConv(make(WIDTH, 5), alpha) for make in (pyg.GCNConv, pyg.GATConv)]
    assert all(layer.alpha is alpha for layer in layers)
    x, edge_index, _ = draw()
    total = sum(layer(x, edge_index).sum() for layer in layers)
    each = [torch.autograd.grad(layer(x, edge_index).sum(), alpha.logit)[0] for layer in layers]
    (grad,) = torch.autograd.grad(total, alpha.logit)
    torch.testing.assert_close(grad, sum(each))
