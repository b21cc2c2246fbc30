"""Swapped models and what PyTorch does to models: copies, files, types, compilers, processes."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch_geometric.nn import GCNConv, Linear
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE

from gnnlib import report, swap

MODELS = {"gcn": GCN, "gat": GAT, "gin": GIN}
AXES = {
    "cooperative": {"cooperative": True},
    "directed": {"directed": True},
    "delayed": {"delay": 1},
    "hops": {"hops": 2},
    "aggr": {"aggr": ["mean", "max"]},
    "all": {"cooperative": True, "directed": True, "delay": 1, "aggr": ["mean", "max"]},
}
AGAIN = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "save": lambda model: _saved(model),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sample(nodes=10, edges=24, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 6, generator=draw)
    return x.to(dtype), torch.randint(nodes, (2, edges), generator=draw)


def made(name="gcn", **axes):
    torch.manual_seed(0)
    return swap(MODELS[name](6, 8, 3, 4), **axes)


def _saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def step(model, x, edge_index):
    """What a model returns, and the gradients of its weights, of one draw of actions."""
    torch.manual_seed(1)
    out = model(x, edge_index)
    weights = list(model.parameters())
    return [out, *torch.autograd.grad(out.square().sum(), weights, allow_unused=True)]


def assert_same(ours, theirs, **precision):
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None:
            assert all(t is None or not t.any() for t in (a, b))
        else:
            torch.testing.assert_close(a, b, **precision)


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("axes", AXES)
def test_copies_and_files(axes, again):
    model = made(**AXES[axes])
    twin = AGAIN[again](model)
    assert type(twin) is type(model)
    assert isinstance(twin, GCN)
    assert repr(twin) == repr(model)
    assert report(twin).swapped == report(model).swapped
    assert not {p.data_ptr() for p in twin.parameters()} & {
        p.data_ptr() for p in model.parameters()
    }
    assert_same(step(twin, *sample()), step(model, *sample()), rtol=0, atol=0)


@pytest.mark.parametrize("axes", AXES)
def test_a_state_dict_of_one_fits_another(axes):
    model, other = made("gat", **AXES[axes]), made("gat", **AXES[axes])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same(step(other, *sample()), step(model, *sample()), rtol=0, atol=0)


def test_moves_and_casts_as_a_whole():
    model = made(**AXES["all"])
    assert {p.device.type for p in copy.deepcopy(model).to("meta").parameters()} == {"meta"}
    doubled = copy.deepcopy(model.eval()).to(torch.float64)
    out = doubled(*sample(dtype=torch.float64))
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), model(*sample()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", MODELS)
def test_half_precision(name, axes, dtype):
    model = made(name, **AXES[axes]).eval()
    half = copy.deepcopy(model).to(dtype)
    # Those of a sum may differ as they round; that is not at issue here.
    if AXES[axes].get("cooperative"):
        _open(model, half)
    out = half(*sample(dtype=dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), model(*sample()), rtol=0.1, atol=0.1)
    out.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in half.parameters())


def _open(*models):
    """Have all nodes listen and broadcast, whatever the precision they decide in."""

    def standard(_, __, out):
        return out * 0 + out.new_tensor([1, -1, 1, -1])

    for model in models:
        for part in model.modules():
            if hasattr(part, "action_net"):
                part.action_net.register_forward_hook(standard)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", MODELS)
def test_autocast(name, axes):
    model = made(name, **AXES[axes]).eval()
    exact = model(*sample())
    with torch.autocast("cpu", torch.bfloat16):
        out = model(*sample())
    if not AXES[axes].get("cooperative"):
        torch.testing.assert_close(out.float(), exact, rtol=0.1, atol=0.1)
    out.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


OPTIONS = {
    "cooperative": {"action": "gcn", "learn_temperature": True},
    "directed": {"learn_alpha": True},
    "delay": {"delay": 1, "learn_hop_weights": True},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("widths", [(6, 6, 6), (6, 8, 4)])
@pytest.mark.parametrize("axes", [*AXES.values(), OPTIONS], ids=[*AXES, "options"])
def test_new_parts_are_of_the_dtype_of_the_model(axes, widths, dtype):
    model = swap(GraphSAGE(widths[0], widths[1], 3, widths[2]).to(dtype), **axes)
    assert {value.dtype for value in model.parameters()} == {dtype}
    out, *_ = step(model, *sample(dtype=dtype))
    assert out.dtype == dtype


def test_new_parts_are_on_the_device_of_the_model():
    model = swap(GraphSAGE(6, 8, 3, 4).to("meta"), **OPTIONS)
    assert {value.device.type for value in model.parameters()} == {"meta"}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", [GCN, GraphSAGE, GAT])
def test_the_gradient_is_that_of_finite_differences(kind, axes):
    asked = dict(AXES[axes])
    if "cooperative" in asked:
        asked["cooperative"] = {"eval_mode": "expected", "temperature": 1.0, "act": "tanh"}
    torch.manual_seed(0)
    model = swap(kind(6, 6, 3, 4, act="tanh").double(), **asked).eval()
    x, edge_index = sample(dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]

    def call(x, *weights):
        weights = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(model, weights, (x, edge_index))

    inputs = (x.requires_grad_(), *model.parameters())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("axes", AXES)
def test_parametrized_weights_are_copied_too(axes):
    model = GCN(6, 8, 3, 4)
    for conv in model.convs:
        nn.utils.parametrizations.weight_norm(conv.lin, "weight")
    swapped = swap(model, **AXES[axes])
    fates = report(swapped).swapped
    if axes in ("delayed", "directed", "all"):
        assert all(fate.copied for fate in fates if fate.name != "convs.0" or axes != "delayed")
    if axes == "directed":
        first, second = swapped.convs[1].layer.conv_in, swapped.convs[1].layer.conv_out
        assert torch.equal(first.lin.weight, second.lin.weight)
    out, *grads = step(swapped, *sample())
    assert out.isfinite().all()
    assert all(grad is not None for grad in grads)


def test_what_cannot_be_copied_says_what_to_do():
    model = GCN(6, 8, 2, 4)
    model.lock = threading.Lock()
    for inplace in (False, True):
        with pytest.raises(TypeError, match=r"cannot be copied.*model\.encoder = gnnlib\.swap"):
            swap(model, directed=True, inplace=inplace)


def test_what_is_applied_to_a_model_reaches_all_parts():
    model = made(**AXES["all"])
    linear = (nn.Linear, Linear)

    def zeros(module):
        if isinstance(module, linear):
            nn.init.zeros_(module.weight)

    assert model(*sample()).std(0).any()
    model.apply(zeros)
    assert not model(*sample()).std(0).any()
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    model.eval()
    assert not any(part.training for part in model.modules())
    model.reset_parameters()
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("axes", AXES)
def test_an_optimizer_changes_every_weight(axes):
    model = made(**AXES[axes])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    (x, edge_index), target = sample(), torch.arange(10) % 4
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x, edge_index), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    same = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert not same


@pytest.mark.parametrize("axes", AXES)
def test_frozen_weights_stay_frozen_and_their_copies_too(axes):
    model = GraphSAGE(6, 8, 3, 4)
    model.convs[0].requires_grad_(False)
    swapped = swap(model, **AXES[axes])
    first, *others = report(swapped).swapped
    weights = dict(swapped.convs[0].named_parameters())
    assert {*first.kept, *first.copied} == {*first.frozen}
    assert all(not weights[name].requires_grad for name in first.frozen)
    assert all(weights[name].requires_grad for name in first.new)
    assert not any(other.frozen for other in others)


def test_new_parts_are_in_the_mode_of_the_model():
    model = GCN(6, 8, 3, 4).eval()
    model.convs[1].train()
    swapped = swap(model, **AXES["all"])
    modes = [{part.training for part in conv.modules()} for conv in swapped.convs]
    assert not swapped.training
    assert modes[0] == modes[2] == {False}
    assert modes[1] == {True, False}  # its action network is that of the others too


def test_in_place_keeps_the_parameters_of_the_model():
    model = GCN(6, 8, 3, 4)
    before = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert swap(model, aggr="max", delay=1, cooperative=True, inplace=True) is model
    after = {id(p): name for name, p in model.named_parameters()}
    assert all(id(p) in after for p in before.values())
    weight = model.convs[0].layer.conv.convs[0].lin.weight
    assert weight is before["convs.0.lin.weight"]
    model(*sample()).sum().backward()
    old = weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, old)


class Odd(GCNConv):
    """Is called in a way that no layer can be put around."""

    def forward(self, x, edge_index, more):
        return super().forward(x, edge_index) + more


def test_in_place_changes_nothing_where_it_fails():
    model = GCN(6, 8, 3, 4)
    model.convs[2] = Odd(8, 4)
    before, kinds = dict(model.named_parameters()), [type(m) for m in model.modules()]
    values = {name: p.detach().clone() for name, p in before.items()}
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"Odd at convs\.2"):
        swap(model, directed=True, aggr="max", inplace=True)
    after = dict(model.named_parameters())
    assert [type(m) for m in model.modules()] == kinds
    assert all(after[name] is before[name] for name in before)
    assert all(torch.equal(after[name], values[name]) for name in before)
    assert not hasattr(model, "_swaps")
    assert torch.equal(torch.get_rng_state(), state)


def test_in_place_and_anew_draw_the_same_weights():
    model = GCN(6, 8, 3, 4)
    torch.manual_seed(3)
    new = swap(model, **AXES["all"])
    torch.manual_seed(3)
    swap(model, **AXES["all"], inplace=True)
    assert_same(model.parameters(), new.parameters(), rtol=0, atol=0)


@pytest.mark.parametrize("axes", AXES)
def test_a_seed_draws_the_same_weights_and_actions(axes):
    first, second = made(**AXES[axes]), made(**AXES[axes])
    assert_same(first.parameters(), second.parameters(), rtol=0, atol=0)
    assert_same(step(first, *sample()), step(second, *sample()), rtol=0, atol=0)


def test_a_copy_learns_alone():
    model = GCN(6, 8, 3, 4)
    before = copy.deepcopy(model)
    swapped = swap(model, **AXES["all"])
    with torch.no_grad():
        for parameter in swapped.parameters():
            parameter.add_(1)
    assert_same(model.parameters(), before.parameters(), rtol=0, atol=0)


@pytest.mark.parametrize("axes", AXES)
def test_replicas_run_in_threads_of_their_own(axes):
    """What ``DataParallel`` does, without its devices: shallow replicas, a thread each."""
    model = made(**AXES[axes])
    replicas = [_replica(model) for _ in range(4)]
    samples = [sample(10 + k, 30, seed=k) for k in range(4)]
    expected = [model.eval()(*one) for one in samples]
    found, start = [None] * 4, threading.Barrier(4)

    def work(k):
        start.wait()
        found[k] = replicas[k].eval()(*samples[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(found, expected, rtol=0, atol=0)
    torch.stack([out.square().sum() for out in found]).sum().backward()
    grads = [p.grad for p in model.parameters()]
    assert any(grad is not None and grad.any() for grad in grads)


def _replica(model):
    """A replica as PyTorch makes it, whose weights are those of the model."""
    modules = list(model.modules())
    twins = {id(module): module._replicate_for_data_parallel() for module in modules}
    for module in modules:
        twin = twins[id(module)]
        for name, child in module._modules.items():
            twin._modules[name] = None if child is None else twins[id(child)]
        for name, parameter in module._parameters.items():
            if parameter is None:
                twin._parameters[name] = None
            else:
                setattr(twin, name, parameter.view_as(parameter))
    return twins[id(model)]


def test_data_parallel_without_devices_is_the_model():
    model = made(delay=1)
    wrapped = nn.DataParallel(model)
    assert torch.equal(wrapped(*sample()), model(*sample()))


@pytest.mark.parametrize("wrap", ["compile", "compile in place", "script", "distributed"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_what_is_wrapped_already_says_to_swap_first(wrap):
    model = GCN(6, 8, 2)
    if wrap == "compile":
        model = torch.compile(model, backend="eager")
    elif wrap == "compile in place":
        model.convs[0].compile(backend="eager")
    elif wrap == "script":
        model.act = torch.jit.trace(nn.ReLU(), torch.ones(2))
    else:
        model = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
        nn.Module.__init__(model)
    with pytest.raises(TypeError, match=r"must not be compiled.*swap first"):
        swap(model, delay=1)


# Compilers, which are slow.

TOGETHER = {"cooperative": True, "directed": True, "delay": 1}
COMPILED = {
    "cooperative": {"cooperative": True},
    "directed": {"directed": True},
    "delayed": {"delay": 1},
    "hops": {"hops": 2},
    "aggr": {"aggr": "max"},
    "all": TOGETHER,
}
SIZES = ((9, 20), (13, 31), (7, 40))


def _slow(fast):
    cases = [(name, axes) for name in MODELS for axes in COMPILED]
    return [pytest.param(*case, marks=[] if case in fast else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("training", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "axes"), _slow([]))
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_compiles_in_one_piece(name, axes, training):
    torch.compiler.reset()
    model = made(name, **COMPILED[axes]).train(training)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for seed, (nodes, edges) in enumerate(SIZES):
        args = sample(nodes, edges, seed)
        assert_same(step(compiled, *args), step(model, *args), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_compiles_with_inductor(name):
    torch.compiler.reset()
    model = made(name, **TOGETHER).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for seed, (nodes, edges) in enumerate(SIZES):
        args = sample(nodes, edges, seed)
        assert_same(step(compiled, *args), step(model, *args), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "axes"), _slow([("gin", "cooperative")]))
def test_exports_for_any_graph(name, axes):
    model = made(name, **COMPILED[axes]).eval()
    shapes = ({0: Dim.DYNAMIC}, {1: Dim.DYNAMIC})
    program = torch.export.export(model, sample(9, 20), dynamic_shapes=shapes)
    kernels = [str(node.target) for node in program.graph.nodes if "gnnlib" in str(node.target)]
    assert bool(kernels) == any(layer.fused for layer in report(model))
    run = program.module()
    for seed, (nodes, edges) in enumerate(SIZES):
        args = sample(nodes, edges, seed)
        torch.testing.assert_close(run(*args), model(*args))


# Processes.


def _gradients(model, graphs):
    """Of the mean over all nodes of all graphs."""
    total = sum(model(x, edge_index).square().sum() for x, edge_index in graphs)
    (total / sum(x.size(0) for x, _ in graphs)).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


def _work(rank, axes, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2
    )
    wrapped = nn.parallel.DistributedDataParallel(made("gcn", **axes).eval())
    torch.save(_gradients(wrapped, [sample(seed=rank)]), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("axes", [{"delay": 1}, {"directed": True, "delay": 1}, {"aggr": "lcm"}])
def test_processes_learn_what_one_does(axes, tmp_path):
    torch.multiprocessing.spawn(_work, (axes, tmp_path), nprocs=2)
    expected = _gradients(made("gcn", **axes).eval(), [sample(seed=0), sample(seed=1)])
    for rank in range(2):
        found = torch.load(tmp_path / str(rank))
        assert found.keys() == expected.keys()
        # Without `find_unused_parameters`, every one has to have learned.
        assert_same(found.values(), expected.values())
