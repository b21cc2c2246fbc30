"""When accelerate steps back, and what a report says of it."""

import pytest
import torch
from pyg_convs import CASES, NODES, WIDTH, assert_same, graph
from torch import nn
from torch_geometric.nn import (
    APPNP,
    GATConv,
    GCNConv,
    GINEConv,
    GraphConv,
    PNAConv,
    SAGEConv,
)
from torch_geometric.nn.models import EdgeCNN, GraphSAGE

import gnnlib
from gnnlib import accelerate, report

HOOKS = ["propagate", "message", "aggregate", "edge_update"]


@pytest.mark.parametrize("when", ["", "_pre"])
@pytest.mark.parametrize("what", HOOKS)
def test_a_hook_on_messages_runs(what, when):
    conv, seen = GATConv(WIDTH, 4), []
    fast = accelerate(conv)
    hook = getattr(fast, f"register_{what}_forward{when}_hook")(lambda *_: seen.append(1))
    x, edge_index = torch.randn(NODES, WIDTH), graph("any")
    assert torch.equal(fast(x, edge_index), conv(x, edge_index))
    assert seen
    (layer,) = report(fast)
    assert not layer.fused
    assert what in layer.why_not
    hook.remove()
    assert report(fast).layers[0].fused


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:Converting sparse tensor to CSR")
def test_a_hook_on_aggregation_runs():
    fast, seen = accelerate(CASES["sg"].make(4)), []
    hook = fast.register_message_and_aggregate_forward_hook(lambda *_: seen.append(1))
    fast(torch.randn(NODES, WIDTH), torch.eye(NODES).to_sparse_csr())
    hook.remove()
    fast.aggr_module.register_forward_hook(lambda *_: seen.append(2))
    fast(torch.randn(NODES, WIDTH), graph("any"))
    assert seen == [1, 2]
    assert report(fast).layers[0].why_not == "a hook on its aggr_module"


def test_a_module_hook_does_not_cost_speed():
    fast, seen = accelerate(SAGEConv(WIDTH, 4)), []
    fast.register_forward_hook(lambda *_: seen.append(1))
    fast(torch.randn(NODES, WIDTH), graph("any"))
    assert seen
    assert report(fast).layers[0].fused


def test_explaining_masks_messages():
    conv = GCNConv(WIDTH, 4, add_self_loops=False, bias=False)
    fast, (x, edge_index) = accelerate(conv), (torch.randn(NODES, WIDTH), graph("any"))
    fast.explain = True
    fast._edge_mask, fast._apply_sigmoid = torch.zeros(edge_index.size(1)), False
    assert not fast(x, edge_index).any()
    assert report(fast).layers[0].why_not == "it is being explained"
    fast.explain = False
    assert_same([fast(x, edge_index)], [conv(x, edge_index)], 1e-5)


def test_what_only_pyg_serves_runs_as_pyg_wrote_it():
    x, edge_index = torch.randn(NODES, WIDTH), graph("simple")
    gat, cheb = GATConv(WIDTH, 4, heads=2), CASES["cheb-3"].make(4)
    out, (_, alpha) = accelerate(gat)(x, edge_index, return_attention_weights=True)
    assert alpha.shape == (edge_index.size(1) + NODES, 2)
    assert torch.equal(out, gat(x, edge_index))
    limit = torch.tensor(1.7)
    assert torch.equal(
        accelerate(cheb)(x, edge_index, lambda_max=limit), cheb(x, edge_index, lambda_max=limit)
    )
    conv = GCNConv(WIDTH, 4)
    batched = torch.randn(2, NODES, WIDTH)  # a static graph
    assert torch.equal(accelerate(conv)(batched, edge_index), conv(batched, edge_index))
    weight = torch.rand(edge_index.size(1), dtype=torch.float64)  # PyG's result is as wide
    assert torch.equal(accelerate(conv)(x, edge_index, weight), conv(x, edge_index, weight))
    median = SAGEConv(WIDTH, 4, aggr=["mean", "median"])
    assert torch.equal(accelerate(median)(x, edge_index), median(x, edge_index))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_transforms_of_functions_run_as_pyg_wrote_it():
    conv, x, edge_index = GCNConv(WIDTH, 4), torch.randn(2, NODES, WIDTH), graph("any")
    fast = accelerate(conv)
    trace, other = torch.jit.trace(fast, (x[0], edge_index), check_trace=False), graph("any", 3)
    assert_same([trace(x[0], other)], [conv(x[0], other)], 1e-5)
    mapped = torch.func.vmap(fast, in_dims=(0, None))(x, edge_index)
    assert_same([mapped], [conv(x, edge_index)], 1e-5)
    _, ours = torch.func.jvp(lambda x: fast(x, edge_index), (x[0],), (x[1],))
    _, theirs = torch.func.jvp(lambda x: conv(x, edge_index), (x[0],), (x[1],))
    assert_same([ours], [theirs], 1e-5)


class Louder(SAGEConv):
    def message(self, x_j):
        return 2 * x_j


REASONS = {
    "a subclass of SAGEConv": lambda: Louder(WIDTH, 4),
    "cached=True": lambda: GCNConv(WIDTH, 4, cached=True),
    "aggr='max'": lambda: GCNConv(WIDTH, 4, aggr="max"),
    "no fused form of MedianAggregation": lambda: SAGEConv(WIDTH, 4, aggr="median"),
    "semi_grad": lambda: SAGEConv(WIDTH, 4, aggr="std", aggr_kwargs={"semi_grad": True}),
    "node_dim=-3": lambda: GCNConv(WIDTH, 4, node_dim=-3),
    "decomposed_layers=2": lambda: SAGEConv(WIDTH, 4, decomposed_layers=2),
    "fill_value='max'": lambda: GATConv(WIDTH, 4, edge_dim=3, fill_value="max"),
    "edge_dim=3": lambda: CASES["transformer"].make(4).__class__(WIDTH, 4, edge_dim=3),
    "pre_layers=2": lambda: PNAConv(
        WIDTH, 4, ["mean"], ["identity"], torch.tensor([1, 2]), pre_layers=2
    ),
    "MulAggregation of messages with two ends": lambda: PNAConv(
        WIDTH, 4, ["mul"], ["identity"], torch.tensor([1, 2])
    ),
    "add_self_loops=False": lambda: CASES["cluster"].make(4, add_self_loops=False),
    "flow='target_to_source'": lambda: CASES["cluster"].make(4, flow="target_to_source"),
    "no fused form": lambda: EdgeCNN(WIDTH, 4, 1).convs[0],
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_has_no_fused_form_is_left_with_a_reason(reason):
    conv = REASONS[reason]()
    fast = accelerate(conv)
    assert type(fast) is type(conv)
    (layer,) = report(fast)
    assert not layer.fused
    assert layer.kernels is None
    assert reason in layer.why_not


def test_options_changed_later_are_seen():
    conv = GCNConv(WIDTH, 4)
    fast, x, edge_index = accelerate(conv), torch.randn(NODES, WIDTH), graph("any")
    fast.aggr_module = gnnlib.lowering.class_of(SAGEConv(WIDTH, 4, aggr="max").aggr_module)()
    assert not report(fast).layers[0].fused
    fast.cached = True
    fast(x, edge_index)
    assert fast._cached_edge_index is not None
    fast = accelerate(conv)
    fast.message = lambda x_j, edge_weight: 0 * edge_weight.view(-1, 1) * x_j
    assert report(fast).layers[0].why_not == "its message was replaced"
    assert torch.equal(fast(x, edge_index), conv.bias.expand(NODES, 4))


@pytest.mark.parametrize(
    ("error", "call"),
    [
        ((IndexError, ValueError), lambda conv, x: conv(x, torch.tensor([[0], [NODES]]))),
        (IndexError, lambda conv, x: conv(x, torch.tensor([[-1], [0]]))),
        (ValueError, lambda conv, x: conv(x, torch.zeros(3, 2, dtype=torch.long))),
        ((TypeError, ValueError), lambda conv, x: conv(x, torch.zeros(2, 3))),
        (ValueError, lambda conv, x: conv(x, [[0, 1], [1, 0]])),
        ((RuntimeError, ValueError), lambda conv, x: conv(x, graph("any"), torch.ones(3))),
        (RuntimeError, lambda conv, x: conv(x[:, :2], graph("any"))),
        (ValueError, lambda conv, x: conv((x, x), graph("any"), size=(3, 3))),
        (TypeError, lambda conv, x: conv(x)),
        (TypeError, lambda conv, x: conv(x, graph("any"), None, None, None)),
        (TypeError, lambda conv, x: conv(x, graph("any"), x=x)),
        (TypeError, lambda conv, x: conv(x, graph("any"), color=None)),
    ],
)
def test_wrong_calls_raise_what_pyg_raises(error, call):
    conv, x = GraphConv(WIDTH, 4), torch.randn(NODES, WIDTH)
    for layer in (conv, accelerate(conv)):
        with pytest.raises(error):
            call(layer, x)


def test_no_model():
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got type"):
        accelerate(GCNConv)


def test_the_report_is_a_table():
    model = nn.ModuleDict(
        {
            "gnn": GraphSAGE(WIDTH, 16, 2, 4, aggr=["mean", "max", "std"]),
            "edge": EdgeCNN(WIDTH, 16, 2, 4),
            "lin": nn.Linear(1, 1),
        }
    )
    table = str(report(accelerate(model)))
    lines = table.splitlines()
    assert lines[0].split() == ["layer", "class", "runs", "why", "not", "faster"]
    assert lines[2].split()[:3] == ["gnn.convs.0", "SAGEConv", "fused:"]
    assert "gather_statistics mean, max, var" in lines[2]
    assert lines[4].split()[:2] == ["edge.convs.0", "EdgeConv"]
    assert lines[4].endswith("no fused form")
    assert lines[-1].strip() == "2 of 4 message passing layers run on the fused kernels"
    assert "not accelerated" in str(report(model))
    assert len(report(model)) == 4
    assert str(report(nn.Linear(1, 1))).splitlines()[-1].strip().startswith("0 of 0")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_gine_promotes_edge_features_of_another_type(dtype):
    torch.manual_seed(0)
    conv = GINEConv(nn.Linear(8, 4))
    x, edge_index = torch.randn(10, 8), torch.randint(10, (2, 30))
    edge_attr = torch.randn(30, 8).mul(4).to(dtype)
    if dtype is torch.float64:
        conv, x = conv.double(), x.double()
        edge_attr = edge_attr.float()
    torch.testing.assert_close(
        accelerate(conv)(x, edge_index, edge_attr), conv(x, edge_index, edge_attr)
    )


def test_gine_under_autocast():
    torch.manual_seed(0)
    conv = GINEConv(nn.Linear(8, 4), edge_dim=3)
    x, edge_index, edge_attr = torch.randn(10, 8), torch.randint(10, (2, 30)), torch.randn(30, 3)
    with torch.autocast("cpu", torch.bfloat16):
        expected = conv(x, edge_index, edge_attr)
        out = accelerate(conv)(x, edge_index, edge_attr)
    torch.testing.assert_close(out, expected, rtol=2e-2, atol=2e-2)


def test_appnp_loses_what_pyg_loses():
    x, edge_index = torch.randn(50, 3), torch.randint(50, (2, 200))
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    conv = APPNP(3, 0.1, dropout=0.5).train()
    outs = []
    for module in (conv, accelerate(conv)):
        torch.manual_seed(0)
        outs.append(module(x, edge_index))
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize("part", ["lin_l", "aggr_module"])
def test_a_replaced_forward_inside_is_called(part):
    conv = SAGEConv(4, 4)
    x, edge_index = torch.randn(6, 4), torch.randint(6, (2, 20))
    inner = getattr(conv, part)
    forward = inner.forward
    inner.forward = lambda *args, **kwargs: 2 * forward(*args, **kwargs)
    torch.testing.assert_close(accelerate(conv)(x, edge_index), conv(x, edge_index))


@pytest.mark.parametrize("inside", ["aggr_module.aggr", "post_nns.0", "pre_nns.0"])
def test_a_hook_deep_inside_runs(inside):
    conv = PNAConv(4, 4, ["mean", "max"], ["identity"], torch.tensor([1, 5, 3]))
    fast = accelerate(conv)
    x, edge_index, seen = torch.randn(6, 4), torch.randint(6, (2, 20)), []
    fast.get_submodule(inside).register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(fast(x, edge_index), conv(x, edge_index))
    assert seen


def test_a_replaced_propagate_is_called():
    conv = GCNConv(4, 4)
    x, edge_index = torch.randn(6, 4), torch.randint(6, (2, 20))
    conv.propagate = lambda *_, **__: torch.zeros(6, 4)
    torch.testing.assert_close(accelerate(conv)(x, edge_index), conv(x, edge_index))
