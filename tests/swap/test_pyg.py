"""Swapped models and what PyG does with models: explainers, loaders, blocks, kinds of nodes."""

import copy
import importlib.util

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.explain import CaptumExplainer, Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.nn import (
    GAE,
    VGAE,
    DeepGCNLayer,
    GATConv,
    GCNConv,
    GINEConv,
    GPSConv,
    GraphConv,
    HeteroConv,
    MessagePassing,
    SAGEConv,
    Sequential,
    global_add_pool,
    to_hetero,
)
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE
from torch_geometric.utils import k_hop_subgraph

from gnnlib import report, swap
from gnnlib.layers import ActionNet
from gnnlib.swap import SwappedConv

AXES = {
    "cooperative": {"cooperative": True},
    "directed": {"directed": True},
    "delayed": {"delay": 1},
    "aggr": {"aggr": ["mean", "max"]},
    "all": {"cooperative": True, "directed": True, "delay": 1, "aggr": ["mean", "max"]},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sample(nodes=10, edges=24, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 6, generator=draw)
    return x, torch.randint(nodes, (2, edges), generator=draw)


def learns(model, *args):
    """What a model returns; all that it holds has a gradient."""
    out = model(*args)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    return out


# Explainers.


class Fixed(nn.Module):
    """An action network by which the first nodes do not broadcast."""

    def forward(self, x, _):
        out = x.new_ones(x.size(0), 4) * x.new_tensor([1, -1, 1, -1])
        out[:4, 2:] = x.new_tensor([-1, 1])
        return out


def explained(model, algorithm, **options):
    x, edge_index = sample()
    explainer = Explainer(
        model,
        algorithm=algorithm,
        explanation_type="model",
        node_mask_type="attributes",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
        **({"edge_mask_type": "object"} | options),
    )
    return explainer(x, edge_index, index=3)


EXPLAINED = {
    "plain": {"aggr": "max"},
    "directed": {"directed": True},
    "cooperative": {"cooperative": Fixed()},
    "cooperative, directed": {"cooperative": Fixed(), "directed": True, "aggr": "max"},
    "one hop": {"hops": 1},
}


@pytest.mark.parametrize("axes", EXPLAINED)
@pytest.mark.parametrize("cls", [GCN, GAT, GraphSAGE])
def test_gnn_explainer(cls, axes):
    model = swap(cls(6, 8, 2, 1), **EXPLAINED[axes]).eval()
    expected = model(*sample())
    found = explained(model, GNNExplainer(epochs=3))
    assert found.edge_mask.shape == (24,)
    assert found.edge_mask.any()
    assert found.node_mask.shape == (10, 6)
    assert torch.equal(model(*sample()), expected)  # on the fused kernels again


@pytest.mark.parametrize("loops", [False, True])
def test_a_mask_of_the_edges_multiplies_messages_behind_gates(loops):
    x, edge_index = sample()
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    if loops:
        edge_index = torch.cat([edge_index, torch.tensor([[2, 7], [2, 7]])], 1)
    mask = torch.rand(edge_index.size(1))
    swapped = swap(GraphConv(6, 5), cooperative=Fixed(), directed=True).eval()
    conv = swapped.layer
    expected = conv(x, edge_index, mask)  # as weights, which multiply messages too
    set_masks(swapped, mask, edge_index, apply_sigmoid=False)
    torch.testing.assert_close(swapped(x, edge_index), expected)
    clear_masks(swapped)


def test_a_mask_does_not_touch_the_loops_that_a_conv_adds():
    x, edge_index = sample()
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    # Only messages of others are masked, and a node always hears itself.
    swapped = swap(GATConv(6, 5), cooperative=Fixed()).eval()
    set_masks(swapped, torch.zeros(edge_index.size(1)), edge_index, apply_sigmoid=False)
    heard = swapped(x, edge_index)
    clear_masks(swapped)
    others = edge_index[:, (edge_index[0] >= 4)]
    out, (_, alpha) = swapped.layer.conv(x, others, return_attention_weights=True)
    own = alpha[-10:] * swapped.layer.conv.lin(x)
    torch.testing.assert_close(heard, own + swapped.layer.conv.bias)
    assert not torch.allclose(heard, out)


@pytest.mark.parametrize("axes", [{"delay": 1}, {"hops": 2}, {"hops": 2, "cooperative": True}])
def test_edges_of_delayed_models_cannot_be_explained(axes):
    model = swap(GCN(6, 8, 2, 1), **axes).eval()
    with pytest.raises(ValueError, match=r"pairs of nodes further apart.*edge_mask_type=None"):
        explained(model, GNNExplainer(epochs=1))
    clear_masks(model)
    found = explained(model, GNNExplainer(epochs=2), edge_mask_type=None)
    assert found.node_mask.any()


@pytest.mark.skipif(not importlib.util.find_spec("captum"), reason="captum is not installed")
@pytest.mark.parametrize("axes", EXPLAINED)
def test_captum_explainer(axes):
    model = swap(GCN(6, 8, 2, 1), **EXPLAINED[axes]).eval()
    found = explained(model, CaptumExplainer("IntegratedGradients"))
    assert found.edge_mask.shape == (24,)


# Mini-batches.


@pytest.mark.parametrize("axes", [{"delay": 1}, {"directed": 0.0}, {"aggr": "max"}, {"delay": 2}])
def test_a_neighbourhood_tells_what_the_graph_does(axes):
    """Mini-batches of a ``NeighborLoader`` that takes all neighbours, which PyG alone cannot sample
    without pyg-lib or torch-sparse: three layers need three hops, delayed or not.
    """
    model = swap(GraphSAGE(6, 8, 3, 4), **axes).eval()
    x, edge_index = sample(60, 90)
    hops = 3 if axes.get("delay") != 2 else 5  # of a delay of two, hops are heard a layer earlier
    nodes, edges, seeds, _ = k_hop_subgraph([3, 5, 8], hops, edge_index, relabel_nodes=True)
    assert len(nodes) < 60
    out = model(x[nodes], edges)[seeds]
    torch.testing.assert_close(out, model(x, edge_index)[[3, 5, 8]])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("cls", [GCN, GraphSAGE, GAT, GIN])
def test_a_batch_is_its_graphs(cls, axes):
    model = swap(cls(6, 8, 3, 4), **AXES[axes]).eval()
    graphs = [Data(*sample(5 + k, 9 + k, seed=k)) for k in range(3)]
    batch = Batch.from_data_list(graphs)
    whole = model(batch.x, batch.edge_index)
    alone = torch.cat([model(graph.x, graph.edge_index) for graph in graphs])
    torch.testing.assert_close(whole, alone)
    assert global_add_pool(whole, batch.batch).shape == (3, 4)


@pytest.mark.parametrize("axes", [{"directed": True}, {"aggr": "max"}, {"cooperative": True}])
def test_layers_may_be_trimmed_to_what_a_batch_needs(axes):
    model = swap(GraphSAGE(6, 8, 2, 4), **axes).eval()
    x = sample()[0]
    # Nodes 0 and 1 are asked for, 2 to 5 are one hop away, and the rest are two.
    edge_index = torch.tensor([[2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 1, 1, 2, 3, 4, 5]])
    counts = {"num_sampled_nodes_per_hop": [2, 4, 4], "num_sampled_edges_per_hop": [4, 4]}
    if "directed" in axes:  # nodes hear against the edges too, and so those that come later
        model = swap(GraphSAGE(6, 8, 2, 4), directed=0.0).eval()
    if "cooperative" in axes:  # and by whom they were heard, before they are heard
        model = swap(GraphSAGE(6, 8, 2, 4), cooperative=Fixed()).eval()
    trimmed = model(x, edge_index, **counts)
    torch.testing.assert_close(trimmed[:2], model(x, edge_index)[:2])


def test_delayed_layers_cannot_be_trimmed():
    model = swap(GraphSAGE(6, 8, 2, 4), delay=1)
    with pytest.raises(ValueError, match="cannot be trimmed"):
        model(*sample(), num_sampled_nodes_per_hop=[2, 4, 4], num_sampled_edges_per_hop=[10, 14])


# Blocks.


@pytest.mark.parametrize("jk", [None, "last", "cat", "max", "lstm"])
@pytest.mark.parametrize("norm", [None, "batch_norm", "layer_norm", "graph_norm", "pair_norm"])
def test_basic_models_with_norms_and_jumps(norm, jk):
    model = swap(GCN(6, 8, 3, 4, norm=norm, jk=jk), delay=1, directed=True)
    out = model(*sample())
    out.square().sum().backward()
    assert out.shape == (10, 4)
    assert all(p.grad is not None for conv in model.convs for p in conv.parameters())


class Blocks(nn.Module):
    """Residual blocks, as of DeeperGCN."""

    def __init__(self, block, checkpoints=False):
        super().__init__()
        self.lin = nn.Linear(6, 8)
        self.layers = nn.ModuleList(
            DeepGCNLayer(GraphConv(8, 8), nn.LayerNorm(8), nn.ReLU(), block, 0.0, checkpoints)
            for _ in range(3)
        )

    def forward(self, x, edge_index):
        x = self.lin(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return x


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("block", ["res+", "res", "plain"])
def test_residual_blocks(block, axes):
    model = swap(Blocks(block), **AXES[axes])
    assert learns(model, *sample()).shape == (10, 8)


def test_reentrant_checkpoints_of_residual_blocks_are_refused():
    model = swap(Blocks("res+", checkpoints=True), delay=1)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        model(*sample())


@pytest.mark.parametrize("axes", AXES)
def test_pyg_sequential(axes):
    layers = [
        (GCNConv(6, 8), "x, edge_index -> x1"),
        nn.ReLU(inplace=True),
        (GCNConv(8, 8), "x1, edge_index -> x2"),
        (lambda a, b: torch.cat([a, b], 1), "x1, x2 -> x"),
        nn.Linear(16, 4),
    ]
    model = swap(Sequential("x, edge_index", layers), **AXES[axes])
    assert sum(isinstance(m, SwappedConv) for m in model.modules()) == 2 * (axes != "aggr")
    assert learns(model, *sample()).shape == (10, 4)


class Boxed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Sequential("x, e", [(GCNConv(6, 6), "x, e -> x")]), nn.ReLU())

    def forward(self, x, edge_index):
        return self.body[1](self.body[0](x, edge_index))


@pytest.mark.parametrize("axes", AXES)
def test_plain_sequential_inside(axes):
    model = swap(Boxed(), **AXES[axes])
    assert learns(model, *sample()).shape == (10, 6)


@pytest.mark.parametrize("axes", AXES)
def test_gps_layers(axes):
    class GPS(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(GPSConv(8, SAGEConv(8, 8), heads=2) for _ in range(2))

        def forward(self, x, edge_index):
            for layer in self.layers:
                x = layer(x, edge_index)
            return x

    model, x = swap(GPS(), **AXES[axes]), torch.randn(10, 8)
    assert learns(model, x, sample()[1]).shape == (10, 8)


class Encoder(nn.Module):
    def __init__(self, variational):
        super().__init__()
        self.conv1, self.conv_mu = GCNConv(6, 8), GCNConv(8, 4)
        self.conv_logstd = GCNConv(8, 4) if variational else None

    def forward(self, x, edge_index):
        x = self.conv1(x, edge_index).relu()
        mu = self.conv_mu(x, edge_index)
        return mu if self.conv_logstd is None else (mu, self.conv_logstd(x, edge_index))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", [GAE, VGAE])
def test_autoencoders(kind, axes):
    model = swap(kind(Encoder(kind is VGAE)), **AXES[axes])
    z = model.encode(*sample())  # not the model's forward: the memory is the encoder's
    loss = model.recon_loss(z, sample()[1]) + (model.kl_loss() if kind is VGAE else 0)
    loss.backward()
    assert z.shape == (10, 4)
    assert all(p.grad is not None for p in model.encoder.conv1.parameters())


def test_a_pair_of_the_same_features_is_one():
    x, edge_index = sample()
    conv = swap(SAGEConv(6, 4), directed=True)
    assert torch.equal(conv((x, x), edge_index), conv(x, edge_index))
    with pytest.raises(ValueError, match="no bipartite form"):
        conv((x, x.clone()), edge_index)


# Heterogeneous graphs.

HETERO = (["a", "b"], [("a", "to", "b"), ("b", "of", "a"), ("a", "is", "a")])


def hetero_sample():
    x = {"a": torch.randn(5, 6), "b": torch.randn(4, 6)}
    sizes = {"a": 5, "b": 4}
    edges = {
        kind: torch.stack(
            [torch.randint(sizes[kind[0]], (9,)), torch.randint(sizes[kind[2]], (9,))]
        )
        for kind in HETERO[1]
    }
    return x, edges


def test_an_aggregation_goes_into_a_heterogeneous_model():
    model = to_hetero(GraphSAGE((-1, -1), 8, 2, 4), HETERO)
    x, edges = hetero_sample()
    with torch.no_grad():
        model(x, edges)
    swapped = swap(model, aggr="max")
    assert {name: out.shape for name, out in swapped(x, edges).items()} == {
        "a": (5, 4),
        "b": (4, 4),
    }
    hand = copy.deepcopy(model)
    for part in hand.modules():
        if isinstance(part, SAGEConv):
            part.aggr_module = torch.nn.Identity()
            part.aggr_module = swap(SAGEConv(1, 1), aggr="max").aggr_module
            part.fuse = False
    for name, out in hand(x, edges).items():
        torch.testing.assert_close(swapped(x, edges)[name], out)


@pytest.mark.parametrize("axes", [{"cooperative": True}, {"directed": True}, {"hops": 2}])
def test_other_axes_of_a_heterogeneous_model_say_why_not(axes):
    model = to_hetero(GraphSAGE((-1, -1), 8, 2, 4), HETERO)
    x, edges = hetero_sample()
    with torch.no_grad():
        model(x, edges)
    with pytest.raises(ValueError, match="bipartite"):
        swap(model, **axes)(x, edges)


def test_a_swapped_model_made_heterogeneous():
    model = to_hetero(swap(GraphSAGE((6, 6), 8, 2, 4), aggr="max"), HETERO)
    x, edges = hetero_sample()
    assert model(x, edges)["b"].shape == (4, 4)


@pytest.mark.parametrize("axes", [{"cooperative": True}, {"directed": True}, {"hops": 2}])
def test_a_model_swapped_on_other_axes_made_heterogeneous_says_why_not(axes):
    with pytest.raises((ValueError, TypeError), match="bipartite"):
        to_hetero(swap(GraphSAGE((6, 6), 8, 2, 4), **axes), HETERO)(*hetero_sample())


def test_hetero_conv():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = HeteroConv({kind: SAGEConv((6, 6), 4) for kind in HETERO[1]})

        def forward(self, x, edges):
            return self.conv(x, edges)

    x, edges = hetero_sample()
    assert swap(Net(), aggr="max")(x, edges)["a"].shape == (5, 4)
    own = swap(Net(), directed=True, only="*a___is___a*")
    assert own(x, edges)["a"].shape == (5, 4)
    with pytest.raises(ValueError, match="bipartite"):
        swap(Net(), directed=True)(x, edges)


# Models that cannot be swapped, and those that PyG's users write in odd ways.


class Parts(nn.Module):
    """A conv used twice, one in a plain list, and one that is replaced later."""

    def __init__(self):
        super().__init__()
        self.shared = GCNConv(6, 6)
        self.again = self.shared
        self.listed = [GCNConv(6, 6)]
        self.last = SAGEConv(6, 6)

    def forward(self, x, edge_index):
        for conv in (self.shared, self.again, *self.listed, self.last):
            x = conv(x, edge_index)
        return x


@pytest.mark.parametrize("axes", AXES)
def test_a_conv_used_twice_stays_one(axes):
    model = swap(Parts(), **AXES[axes])
    assert model.shared is model.again
    assert [entry.name for entry in report(model).swapped] == ["shared", "again", "last"]
    model(*sample()).sum().backward()


def test_convs_in_plain_lists_are_not_seen_as_pytorch_sees_none():
    model = Parts()
    swapped = swap(model, directed=True)
    assert type(swapped.listed[0]) is GCNConv
    assert "listed" not in str(report(swapped))


def test_a_conv_may_be_replaced_afterwards():
    model = swap(Parts(), delay=1)
    model.last = SAGEConv(6, 6)
    assert model(*sample()).shape == (10, 6)
    model.last = swap(SAGEConv(6, 6), directed=True)
    assert model(*sample()).shape == (10, 6)


SELECTED = {
    "a name": ({"only": "shared"}, {"shared"}),
    "names": ({"only": ["shared", "last"]}, {"shared", "last"}),
    "a class": ({"only": SAGEConv}, {"last"}),
    "a wildcard": ({"only": "s*"}, {"shared"}),
    "not a name": ({"exclude": "last"}, {"shared"}),
    "not a class": ({"exclude": (GCNConv,)}, {"last"}),
    "both": ({"only": MessagePassing, "exclude": "sha*"}, {"last"}),
}


@pytest.mark.parametrize("case", SELECTED)
def test_convs_are_selected(case):
    arguments, expected = SELECTED[case]
    model = swap(Parts(), directed=True, **arguments)
    parts = {"shared": model.shared, "last": model.last}
    assert {name for name, part in parts.items() if isinstance(part, SwappedConv)} == expected


def test_what_holds_convs_selects_them():
    model = swap(Blocks("res"), directed=True, only="layers.0")
    swapped = [isinstance(layer.conv, SwappedConv) for layer in model.layers]
    assert swapped == [True, False, False]


@pytest.mark.parametrize("argument", ["only", "exclude"])
def test_a_selection_of_nothing_lists_the_convs(argument):
    known = r"GCNConv at shared, SAGEConv at last"
    for what in ("conv9", GATConv, ["shared", "nowhere.*"]):
        with pytest.raises(ValueError, match=rf"`{argument}` must name convs.*got .*{known}"):
            swap(Parts(), directed=True, **{argument: what})
    with pytest.raises(ValueError, match=rf"`{argument}` must be names such as .* got 3"):
        swap(Parts(), directed=True, **{argument: [3]})
    with pytest.raises(ValueError, match="leave none"):
        swap(Parts(), directed=True, exclude=["shared", "last"])


def test_a_model_without_convs_lists_what_it_has():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"must have PyG convs.*Sequential, Linear, ReLU"):
        swap(model, directed=True)
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got type.*the class"):
        swap(GCN, directed=True)


UNKNOWN = {
    "cooperative": ("loud", r".*'mean', 'sum', 'gcn', 'gin' or 'lin'.*got 'loud'"),
    "directed": ("both", r"True, False, the share `alpha`.*got 'both'"),
    "delay": (0, r"None, a whole number of at least 1.*got 0"),
    "hops": (1.5, r"None or a whole number of at least 1, got 1.5"),
    "aggr": (7, r"None.*'lcm'.*got 7"),
}


@pytest.mark.parametrize("axis", UNKNOWN)
def test_unknown_values_list_the_choices(axis):
    value, message = UNKNOWN[axis]
    with pytest.raises(ValueError, match=rf"`{axis}` must be {message}"):
        swap(GCN(6, 8, 2), **{axis: value})
    if axis in ("cooperative", "directed", "delay"):
        with pytest.raises(ValueError, match=rf"`{axis}` knows the options .*got 'colour'"):
            swap(GCN(6, 8, 2), **{axis: {"colour": 1}})


class Unseen(MessagePassing):
    """A conv that nobody has seen before."""

    def __init__(self):
        super().__init__(aggr="max")
        self.lin = nn.Linear(6, 6)

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=self.lin(x)) + x

    def message(self, x_j):
        return x_j.sin()


class Odd(Unseen):
    def forward(self, x, positions, edge_index):
        return super().forward(x, edge_index) + positions


@pytest.mark.parametrize("axes", [{"cooperative": ActionNet(6)}, {"directed": True}, {"hops": 2}])
def test_a_conv_never_seen_takes_the_general_path(axes):
    model = swap(Unseen(), **axes)
    assert learns(model, *sample()).shape == (10, 6)
    assert not any(row.fused for row in report(model) if row.layer == "Unseen")


def test_a_conv_called_otherwise_is_refused():
    with pytest.raises(ValueError, match=r"conv\(x, edge_index.*Odd .* x, positions, edge_index"):
        swap(Odd(), directed=True)


def test_tied_parameters_are_refused_where_copies_would_part_them():
    model = GCN(6, 6, 2)
    model.convs[1].lin.weight = model.convs[0].lin.weight
    with pytest.raises(ValueError, match=r"GCNConv at convs\.0 shares a parameter with convs\.1"):
        swap(model, directed=True)
    tied = swap(model, cooperative=True)
    first, second = (conv.layer.conv.lin for conv in tied.convs)
    assert first.weight is second.weight


def test_a_cached_conv_caches_no_more():
    model = GCN(6, 8, 2, 4, cached=True)
    swapped = swap(model, directed=True, delay=1).eval()
    (x, first), (_, second) = sample(), sample(seed=1)
    outs = [swapped(x, first), swapped(x, second), swapped(x, first)]
    assert torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0], outs[1])
    assert model.convs[0].cached


class Doubled(GCNConv):
    """A conv of a user, which runs as it is written."""

    def message(self, x_j, edge_weight):
        return 2 * edge_weight.view(-1, 1) * x_j


CACHED = {
    "cooperative": {"cooperative": True},
    "directed": {"directed": True},
    "hops": {"hops": 2},
    "aggr": {"aggr": "max"},
}


@pytest.mark.parametrize("kind", [GCNConv, Doubled])
@pytest.mark.parametrize("axes", CACHED)
def test_a_graph_that_was_cached_before_is_forgotten(kind, axes):
    (x, first), (_, second) = sample(), sample(seed=1)
    cached = GCN(6, 6, 1)
    cached.convs[0] = kind(6, 6, cached=True)
    fresh = copy.deepcopy(cached)
    fresh.convs[0].cached = False
    cached(x, first)
    outs = []
    for model in (cached, fresh):
        torch.manual_seed(0)
        outs.append(swap(model, **CACHED[axes]).eval()(x, second))
    assert torch.equal(*outs)


def test_a_forward_may_ask_the_conv_for_its_numbers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GATConv(6, 4, heads=2)

        def forward(self, x, edge_index):
            out = self.conv(x, edge_index)
            return out.view(-1, self.conv.heads, self.conv.out_channels)

    for axes in AXES.values():
        assert swap(Net(), **axes)(*sample()).shape == (10, 2, 4)
    conv = swap(Net(), directed=True).conv
    with pytest.raises(AttributeError, match=r"SwappedConv.*lin"):
        _ = conv.lin
    with pytest.raises(AttributeError, match=r"SwappedConv.*propagate"):
        _ = conv.propagate


def test_a_delayed_model_of_several_relations_can_be_copied():
    kinds = (["a"], [("a", "r", "a"), ("a", "q", "a")])
    model = to_hetero(GraphSAGE(6, 6, 2), kinds)
    (x, first), (_, second) = sample(), sample(seed=1)
    inputs = {"a": x}, dict(zip(kinds[1], (first, second), strict=True))
    swapped = swap(model, delay=1)
    again = copy.deepcopy(copy.deepcopy(swapped))
    assert torch.equal(again(*inputs)["a"], swapped(*inputs)["a"])


def test_attention_weights_are_no_more():
    conv = swap(GATConv(6, 4), directed=True)
    with pytest.raises(ValueError, match="`return_attention_weights` of GATConv"):
        conv(*sample(), return_attention_weights=True)
    assert conv(*sample(), return_attention_weights=None).shape == (10, 4)


def test_arguments_are_taken_in_the_order_of_the_conv():
    x, edge_index = sample()
    weight, attr = torch.rand(24), torch.randn(24, 3)
    gcn = swap(GCNConv(6, 4), directed=True)
    assert torch.equal(gcn(x, edge_index, weight), gcn(x, edge_index, edge_weight=weight))
    for conv in (GATConv(6, 4, edge_dim=3), GINEConv(nn.Linear(6, 4), edge_dim=3)):
        swapped = swap(conv, directed=True)
        out = swapped(x, edge_index, attr)
        assert torch.equal(out, swapped(x, edge_index, edge_attr=attr))
        assert not torch.allclose(out, swapped(x, edge_index, attr + 1))
    with pytest.raises(TypeError, match="got `edge_attr` which it does not know"):
        gcn(x, edge_index, edge_attr=attr)
    with pytest.raises(TypeError, match="`x` twice"):
        gcn(x, edge_index, x=x)
    with pytest.raises(TypeError, match="takes 3 arguments"):
        gcn(x, edge_index, weight, weight)
    with pytest.raises(TypeError, match="needs `edge_index`"):
        gcn(x)


def test_axes_that_cannot_meet_say_so_before_training():
    net = nn.Sequential(nn.Linear(6, 4))
    with pytest.raises(ValueError, match=r"edge features.*none beyond the first hop"):
        swap(GINEConv(net), hops=2)
    with pytest.raises(ValueError, match="has been swapped already"):
        swap(swap(GCN(6, 8, 2), directed=True), delay=1)


class Deaf(MessagePassing):
    def forward(self, x, edge_index):
        return x + 0 * edge_index.size(1)


@pytest.mark.parametrize("axes", [{"cooperative": ActionNet(6)}, {"directed": True}, {"hops": 2}])
def test_a_conv_that_looks_at_no_edges_has_nothing_to_gate(axes):
    with pytest.raises(ValueError, match="looks at no edges"):
        swap(Deaf(), **axes)


def test_lazy_convs_have_to_be_called_once():
    model = GraphSAGE(-1, 8, 2, 4)
    with pytest.raises(ValueError, match=r"is lazy.*call the model once"):
        swap(model, directed=True)
    with torch.no_grad():
        model(*sample())
    assert learns(swap(model, directed=True), *sample()).shape == (10, 4)
