"""GNN against swaps of PyG's own models, its laws, and what it is saved as."""

import copy
import json
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gnnlib
from gnnlib.aggr import LCMAggregation
from gnnlib.models import GNN
from gnnlib.testing import assert_layer

# isort: split
import torch_geometric.nn as pyg
from torch_geometric.data import HeteroData
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn.models.basic_gnn import BasicGNN

DEGREES = torch.tensor([1, 3, 4, 2, 2])
PNA = {"aggregators": ["mean", "max"], "scalers": ["identity", "attenuation"], "deg": DEGREES}
ALL = {"cooperative": True, "directed": True, "delay": 1, "aggr": "lcm"}
AXES: dict[str, dict[str, Any]] = {
    "plain": {},
    "cooperative": {"cooperative": {"action": "sum", "learn_temperature": True}},
    "directed": {"directed": 0.3},
    "delayed": {"delay": 1},
    "far": {"hops": 2},
    "aggr": {"aggr": ["max", "std"]},
    "all": ALL,
}
# conv: PyG's model, options of both, the axes' names that have a meaning for it
MODELS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "gcn": (pyg.GCN, {"improved": True}, tuple(AXES)),
    "sage": (pyg.GraphSAGE, {"normalize": True}, tuple(AXES)),
    "gin": (pyg.GIN, {"train_eps": True}, ("plain", "delayed", "all")),
    "gat": (pyg.GAT, {"heads": 4, "dropout": 0.1}, tuple(AXES)),
    "gatv2": (partial(pyg.GAT, v2=True), {"heads": 2}, ("plain", "all")),
    "pna": (pyg.PNA, PNA, ("plain", "cooperative", "directed", "far")),
    "edge": (pyg.EdgeCNN, {"norm": None}, ("plain", "directed", "delayed")),
}
OPTIONS: dict[str, dict[str, Any]] = {"cheb": {"K": 2}, "gine": {"edge_dim": 3}, "pna": PNA}
OTHERS = {
    "graph": pyg.GraphConv,
    "transformer": pyg.TransformerConv,
    "cheb": pyg.ChebConv,
    "sg": pyg.SGConv,
    "tag": pyg.TAGConv,
    "arma": pyg.ARMAConv,
    "resgated": pyg.ResGatedGraphConv,
    "gine": pyg.GINEConv,
}


def graph(num_nodes: int = 20, num_edges: int = 70) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num_nodes, 5, generator=g, dtype=torch.float64)
    return x, torch.randint(num_nodes, (2, num_edges), generator=g)


def seeded(make: Any, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return make(*args, **kwargs).double().eval()


def assert_equal_models(model: Any, expected: Any, *args: Any, **signals: Any) -> None:
    """The same names and values of weights, outputs and gradients."""
    weights, others = model.state_dict(), expected.state_dict()
    assert list(weights) == list(others)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    outs = []
    for network in (model, expected):
        out = network(*args, **signals)
        # ARMA has a parameter that it does not use.
        grads = torch.autograd.grad(
            out.sin().sum(),
            list(network.parameters()),
            allow_unused=True,
            materialize_grads=True,
        )
        assert sum(grad.abs().sum() for grad in grads) > 0
        outs.append([out, *grads])
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize(
    ("conv", "axes"), [(conv, axes) for conv, (_, _, names) in MODELS.items() for axes in names]
)
def test_equals_a_swap_of_pygs_own_model(conv: str, axes: str) -> None:
    kind, options, _ = MODELS[conv]
    options = {"norm": "layer_norm"} | options
    model = seeded(GNN, 5, 8, 3, 4, conv=conv, **options, **AXES[axes])
    theirs = seeded(lambda: gnnlib.swap(kind(5, 8, 3, 4, **options), **AXES[axes]))
    assert_equal_models(model, theirs, *graph())


@pytest.mark.parametrize("jk", [None, "last", "cat", "max", "lstm"])
@pytest.mark.parametrize("out_channels", [None, 4])
def test_takes_the_arguments_of_pygs_models(jk: Any, out_channels: int | None) -> None:
    options: dict[str, Any] = {
        "act": "leaky_relu",
        "act_first": True,
        "act_kwargs": {"negative_slope": 0.3},
        "norm": "graph_norm",
        "norm_kwargs": {"eps": 0.1},
        "jk": jk,
        "dropout": 0.5,
    }
    x, edge_index = graph()
    signals = {"edge_weight": torch.rand(70, dtype=torch.float64), "batch": torch.arange(20) // 10}
    model = seeded(GNN, 5, 8, 3, out_channels, **options)
    expected = seeded(pyg.GCN, 5, 8, 3, out_channels, **options)
    assert isinstance(model, BasicGNN)
    assert_equal_models(model, expected, x, edge_index, **signals)


@pytest.mark.parametrize("conv", OTHERS)
@pytest.mark.parametrize("axes", ["plain", "directed", "cooperative"])
def test_convs_of_which_pyg_has_no_model(conv: str, axes: str) -> None:
    options, kind = OPTIONS.get(conv, {}), OTHERS[conv]

    class Own(BasicGNN):  # type: ignore[misc, unused-ignore]
        supports_edge_weight = False
        supports_edge_attr = conv == "gine"

        def init_conv(self, in_channels: int, out_channels: int) -> nn.Module:
            first: Any = in_channels
            if conv == "gine":
                widths = [in_channels, out_channels, out_channels]
                first = pyg.MLP(widths, act=self.act, norm=self.norm)
                return pyg.GINEConv(first, **options)
            made: nn.Module = kind(first, out_channels, **options)
            return made

    x, edge_index = graph()
    attr = {"edge_attr": torch.rand(70, 3, dtype=torch.float64)} if conv == "gine" else {}
    model = seeded(GNN, 5, 8, 2, 4, conv=conv, **options, **AXES[axes])
    theirs = gnnlib.swap(Own(5, 8, 2, 4), **AXES[axes]).double().eval()
    theirs.load_state_dict(model.state_dict())
    assert_equal_models(model, theirs, x, edge_index, **attr)


def test_heads_share_the_width_and_the_last_layer_takes_means() -> None:
    model = GNN(5, 8, 3, 3, conv="transformer", heads=4, dropout=0.2, edge_dim=2)
    assert [conv.out_channels for conv in model.convs] == [2, 2, 3]
    assert [conv.concat for conv in model.convs] == [True, True, False]
    assert all(conv.dropout == 0.2 for conv in model.convs)
    assert GNN(5, 8, 1, conv="transformer", heads=3, concat=False).convs[0].out_channels == 8
    with pytest.raises(ValueError, match="divisible by the number of heads, got 8 and 3"):
        GNN(5, 8, 2, conv="transformer", heads=3)


def test_a_function_as_conv() -> None:
    model = seeded(GNN, 5, 8, 2, 4, conv=pyg.GraphConv, directed=True, bias=False)
    named = seeded(GNN, 5, 8, 2, 4, conv="graph", directed=True, bias=False)
    assert_equal_models(model, named, *graph(), edge_weight=torch.rand(70, dtype=torch.float64))
    ours = GNN(5, 8, 2, conv=lambda i, o: gnnlib.layers.DirectedConv(pyg.GCNConv(i, o)))
    assert ours.supports_edge_weight
    with pytest.raises(TypeError, match=r"a function from .* to a conv, got one to a int"):
        GNN(5, 8, 2, conv=lambda *_: 3)  # type: ignore[arg-type, return-value]


def make(in_channels: int, out_channels: int, num_layers: int = 2, **options: Any) -> GNN:
    return GNN(in_channels, 7, num_layers, out_channels, **options)


TORCHS = "PyG's forward hands no generator on, and dropout takes torch's own"
TARGETS = "the second layer would hear targets of the first, which are other nodes"
PAIRS = {"bipartite": "a node that acts, hears far or hears both ways is source and target"}
MATRICES = {"sparse_adjacency": "PyG's GCN, which serves several aggregations, takes no CSC"}
LAWS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": ({}, {}),
    "cooperative": ({"cooperative": True}, {"generator": TORCHS} | PAIRS),
    "directed": ({"directed": 0.3}, PAIRS),
    "delayed": ({"delay": 1}, PAIRS),
    "aggr": ({"aggr": ["max", "mean"]}, {}),
    # Not lcm, which is not the same in any order until it has learned that.
    "all": (ALL | {"aggr": "max"}, {"generator": TORCHS} | PAIRS),
}


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["plain", "all"])
def test_laws(axes: str) -> None:
    options, skip = LAWS[axes]
    assert_layer(partial(make, conv="sage", **options), skip={"bipartite": TARGETS} | skip)


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("conv", ["gcn", "graph", "gat", "gin"])
@pytest.mark.parametrize("axes", LAWS)
def test_laws_of_each_axis(axes: str, conv: str, num_layers: int) -> None:
    options, skip = LAWS[axes]
    if num_layers == 2:
        skip = {"bipartite": TARGETS} | skip
    if (axes, conv) == ("aggr", "gcn"):
        skip = skip | MATRICES
    assert_layer(partial(make, conv=conv, num_layers=num_layers, **options), skip=skip)


@pytest.mark.slow
@pytest.mark.parametrize("jk", ["last", "cat", "max", "lstm"])
def test_laws_with_jumping_knowledge(jk: str) -> None:
    options, skip = LAWS["all"]
    assert_layer(partial(make, conv="gcn", jk=jk, norm="batch_norm", **options), skip=skip)


@pytest.mark.slow
def test_laws_with_edge_features() -> None:
    _, skip = LAWS["cooperative"]
    factory = partial(make, conv="gine", num_layers=1, edge_dim=3, cooperative=True)
    assert_layer(factory, edge_dim=3, skip=skip)


@pytest.mark.parametrize("axes", ["plain", "all"])
def test_compiles_and_exports(axes: str) -> None:
    """The laws of it, on one graph each."""
    x, edge_index = graph()
    options, _ = LAWS[axes]
    model = seeded(make, 5, 4, conv="sage", **options)
    expected = model(x, edge_index)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edge_index), expected)
    program = torch.export.export(model, (x, edge_index)).module()
    torch.testing.assert_close(program(x, edge_index), expected)


@pytest.mark.parametrize("axes", ["plain", "all"])
def test_saves_and_copies(axes: str, tmp_path: Path) -> None:
    x, edge_index = graph()
    model = seeded(GNN, 5, 8, 3, 4, conv="gin", jk="cat", norm="batch_norm", **AXES[axes])
    expected = model(x, edge_index)
    model.save_pretrained(tmp_path / "made" / "of two")
    assert {path.name for path in (tmp_path / "made" / "of two").iterdir()} == {
        "config.json",
        "pytorch_model.bin",
    }
    read = GNN.from_pretrained(str(tmp_path / "made" / "of two"))
    assert not read.training
    for twin in (read, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(twin, GNN)
        assert repr(twin) == repr(model)
        assert twin.to_config() == model.to_config()
        assert torch.equal(twin(x, edge_index), expected)
    twin = type(model).from_config(model.to_config())  # a class that swap may have made
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.double().eval()(x, edge_index), expected)
    plain = type(model)(5, 8, 1).double()
    assert plain(x, edge_index).shape == (20, 8)


def test_saves_in_the_dtype_it_is_in_and_over_what_was_there(tmp_path: Path) -> None:
    GNN(5, 8, 2).save_pretrained(tmp_path)
    model = GNN(5, 8, 2, 3, cooperative=True).bfloat16()
    model.save_pretrained(tmp_path)
    read = GNN.from_pretrained(tmp_path)
    assert {p.dtype for p in read.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in read.parameters())
    read.float()(graph()[0].float(), graph()[1]).sum().backward()


@pytest.mark.parametrize("conv", ["gcn", "sage", "gin", "edge", "cheb", "gat", "transformer"])
def test_reads_its_width_from_the_first_call(conv: str, tmp_path: Path) -> None:
    x, edge_index = graph()
    model = GNN(-1, 8, 2, 4, conv=conv, **OPTIONS.get(conv, {})).double().eval()
    with pytest.raises(ValueError, match=r"`in_channels` must be known .* got -1"):
        model.save_pretrained(tmp_path)
    out = model(x, edge_index)
    model.save_pretrained(tmp_path)
    assert torch.equal(GNN.from_pretrained(tmp_path)(x, edge_index), out)


@pytest.mark.parametrize(
    "arguments",
    [
        {"conv": "pna", **PNA},
        {"conv": "cheb", "K": 2, "act": None, "hops": 2},
        {"delay": math.inf},
        {"delay": {"delay": math.inf, "share_weights": True}, "hops": 3},
        {"cooperative": {"action": "gin", "tau0": 0.2}, "directed": {"learn_alpha": True}},
        {"aggr": ("max", "lcm"), "conv": "sage"},
        {"act": "leaky_relu", "act_kwargs": {"negative_slope": 0.2}, "norm": "batch_norm"},
    ],
)
def test_config_round_trip(arguments: dict[str, Any]) -> None:
    x, edge_index = graph()
    model = seeded(GNN, 5, 8, 3, 4, **arguments)
    text = json.dumps(model.to_config(), allow_nan=False)
    twin = seeded(GNN.from_config, json.loads(text))
    assert twin.to_config() == json.loads(text)
    assert_equal_models(twin, model, x, edge_index)


def test_config_is_a_copy() -> None:
    options = {"learn_alpha": True}
    model = GNN(5, 8, 2, directed=options)
    options["learn_alpha"] = False
    model.to_config()["directed"]["learn_alpha"] = False
    assert model.to_config()["directed"] == {"learn_alpha": True}
    assert GNN.from_config({"in_channels": 5, "hidden_channels": 8, "num_layers": 2}).to_config()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"conv": lambda i, o: pyg.GCNConv(i, o)}, "`conv` must be a name .* got <lambda>"),
        ({"conv": pyg.GCNConv}, "`conv` must be a name .* got GCNConv"),
        ({"act": torch.relu}, "`act` must be a name .* got relu"),
        ({"act": nn.ELU()}, "`act` must be a name .* got ELU"),
        ({"norm": pyg.BatchNorm(8)}, "`norm` must be a name .* got BatchNorm"),
        ({"aggr": ["max", LCMAggregation(8)]}, "`aggr` must be a name .* got LCMAggregation"),
        (
            {"cooperative": {"action": gnnlib.layers.ActionNet(8)}},
            r"`cooperative\['action'\]` must be a name .* got ActionNet",
        ),
    ],
)
def test_what_has_no_name_works_but_has_no_config(
    arguments: dict[str, Any], match: str, tmp_path: Path
) -> None:
    x, edge_index = torch.randn(20, 8), graph()[1]
    model = GNN(8, 8, 2, **arguments).eval()
    model(x, edge_index)
    assert " at 0x" not in repr(model)
    with pytest.raises(ValueError, match=match):
        model.to_config()
    with pytest.raises(ValueError, match=match):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_swap_afterwards_is_not_in_the_config() -> None:
    model = gnnlib.swap(GNN(5, 8, 2, conv="sage"), aggr="max")
    with pytest.raises(ValueError, match=r"changed by gnnlib.swap after it was made"):
        model.to_config()
    assert GNN(5, 8, 2, conv="sage", aggr="max").to_config()["aggr"] == "max"
    assert gnnlib.swap(GNN(5, 8, 2)).to_config() == GNN(5, 8, 2).to_config()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.json does not exist.*snapshot_download"):
        GNN.from_pretrained(tmp_path / "nowhere")
    GNN(5, 8, 2).save_pretrained(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "pytorch_model.bin"
    config.write_text(json.dumps(GNN(5, 9, 2).to_config()))
    with pytest.raises(ValueError, match=r"(?s)must be those of its config.json.*size mismatch"):
        GNN.from_pretrained(tmp_path)
    config.write_text("[1")
    with pytest.raises(ValueError, match="is damaged"):
        GNN.from_pretrained(tmp_path)
    config.write_text("[1]")
    with pytest.raises(TypeError, match="`config` must be a dictionary of arguments, got a list"):
        GNN.from_pretrained(tmp_path)
    config.write_text(json.dumps(GNN(5, 8, 2).to_config()))
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        GNN.from_pretrained(tmp_path)
    torch.save(nn.ReLU(), weights)
    with pytest.raises(ValueError, match="is damaged, or was not written by save_pretrained"):
        GNN.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin does not exist"):
        GNN.from_pretrained(tmp_path)
    config.unlink()
    config.mkdir()
    with pytest.raises(OSError, match=r"cannot write .*config.json"):
        GNN(5, 8, 2).save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"conv": "gnc"}, ValueError, "`conv` must be one of gcn, sage, .* got 'gnc'"),
        ({"conv": 3}, ValueError, "`conv` must be one of gcn, .* got 3"),
        ({"jk": "sum"}, ValueError, "`jk` must be one of last, cat, max, lstm or None, got 'sum'"),
        ({"num_layers": 0}, ValueError, "`num_layers` must be .* at least 1, got 0"),
        ({"hidden_channels": -1}, ValueError, "`hidden_channels` must be .* got -1"),
        ({"hidden_channels": 8.0}, ValueError, r"`hidden_channels` must be .* got 8\.0"),
        ({"out_channels": 0}, ValueError, "`out_channels` must be .* got 0"),
        ({"in_channels": 0}, ValueError, "`in_channels` must be .* got 0"),
        ({"in_channels": -1, "delay": 1}, ValueError, "`in_channels` must be given .* got -1"),
        ({"in_channels": -1, "aggr": "max"}, ValueError, "`in_channels` must be given .* got -1"),
        ({"in_channels": -1, "conv": "pna", **PNA}, ValueError, "for `in_channels` -1"),
        ({"heads": 3, "conv": "gat"}, ValueError, "divisible by the number of heads"),
        ({"dropout": 1.5}, ValueError, "dropout"),
        ({"act": "rule"}, ValueError, "'rule'"),
        ({"norm": "bath"}, ValueError, "'bath'"),
        ({"directed": 2}, ValueError, "`directed` must be True, False, .* got 2"),
        ({"conv": "sage", "aggr": "lmc"}, ValueError, "'lmc'"),
        ({"heads": 2}, TypeError, "`conv`='gcn' cannot be made with {'heads': 2}: .*'heads'"),
        ({"conv": "cheb"}, TypeError, "`conv`='cheb' cannot be made with {}: .*'K'"),
        ({"conv": "cheb", "K": 2, "delay": 1}, ValueError, "ChebConv at convs.1 cannot be swapped"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    sizes = {"in_channels": 5, "hidden_channels": 8, "num_layers": 2, "out_channels": 3}
    with pytest.raises(error, match=match):
        GNN(**(sizes | arguments))


def test_signals_that_a_conv_does_not_take_are_refused() -> None:
    x, edge_index = graph()
    with pytest.raises(ValueError, match="`edge_weight` must be None, as 'sage' takes none"):
        GNN(5, 8, 2, conv="sage").double()(x, edge_index, torch.rand(70))
    with pytest.raises(ValueError, match="`edge_attr` must be None, as 'gcn' takes none"):
        GNN(5, 8, 2).double()(x, edge_index, edge_attr=torch.rand(70, 3))
    with pytest.raises(ValueError, match=r"`edge_attr` must be None, .* with edge_dim=\.\.\."):
        GNN(5, 8, 2, conv="gat").double()(x, edge_index, edge_attr=torch.rand(70, 3))


def test_pairs_of_sources_and_targets() -> None:
    x, edge_index = torch.randn(20, 5), torch.randint(8, (2, 30))
    model = GNN((5, 5), 8, 2, conv="sage")
    assert torch.equal(model((x, x), edge_index), model(x, edge_index))
    assert GNN.from_config(model.to_config())((x, x), edge_index).shape == (20, 8)
    assert GNN((5, 5), 8, 1, conv="sage")((x, x[:8]), edge_index).shape == (8, 8)
    with pytest.raises(ValueError, match="second would hear targets of the first; got 20 and 8"):
        model((x, x[:8]), edge_index)


def test_parts_of_neighbourhoods() -> None:
    """As a NeighborLoader samples them: node 0, who it hears, and who they hear."""
    x, edge_index = graph()[0][:4], torch.tensor([[1, 2, 3], [0, 0, 1]])
    counts = {"num_sampled_nodes_per_hop": [1, 2, 1], "num_sampled_edges_per_hop": [2, 1]}
    model = seeded(GNN, 5, 8, 2, 4, conv="sage", aggr="max")
    whole = model(x, edge_index)
    torch.testing.assert_close(model(x, edge_index, **counts)[0], whole[0])
    hidden = model.inference_per_layer(0, x, edge_index, 4)
    torch.testing.assert_close(model.inference_per_layer(1, hidden, edge_index, 4), whole)
    for axes in ({"directed": True}, {"cooperative": True}, {"delay": 1}):
        other = GNN(5, 8, 2, 4, **axes).double().eval()
        assert other(x, edge_index).shape == (4, 4)
        with pytest.raises(ValueError, match=r"num_sampled_nodes_per_hop.*(must be None|leave)"):
            other(x, edge_index, **counts)
        with pytest.raises(ValueError, match="`inference` must not be called unless"):
            other.inference_per_layer(0, x, edge_index, 4)


def test_convs_are_fused() -> None:
    x, edge_index = graph()
    model = seeded(GNN, 5, 8, 2)
    adj = gnnlib.Adjacency.of(edge_index, (20, 20))  # PyG's own convs take none
    torch.testing.assert_close(model(x, adj), model(x, edge_index))


@pytest.mark.parametrize("axes", ["plain", "aggr", "directed"])
def test_is_explained_and_made_heterogeneous_as_pygs_models_are(axes: str) -> None:
    options, _ = LAWS[axes]
    model = GNN(5, 8, 2, 4, conv="sage", **options)
    data = HeteroData()
    data["a"].x, data["b"].x = torch.randn(6, 5), torch.randn(5, 5)
    data["a", "to", "b"].edge_index = torch.randint(5, (2, 20))
    data["b", "to", "a"].edge_index = torch.randint(5, (2, 20))
    hetero = pyg.to_hetero(model, data.metadata())
    if axes == "directed":
        with pytest.raises(ValueError, match="no bipartite form"):
            hetero(data.x_dict, data.edge_index_dict)
    else:
        assert hetero(data.x_dict, data.edge_index_dict)["a"].shape == (6, 4)
    explainer = Explainer(
        model.eval(),
        algorithm=GNNExplainer(epochs=2),
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config={
            "mode": "multiclass_classification",
            "task_level": "node",
            "return_type": "raw",
        },
    )
    x, edge_index = graph()
    mask = explainer(x.float(), edge_index).edge_mask
    assert mask.shape == (70,)
    assert mask.any()
