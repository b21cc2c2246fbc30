"""What layers of a swapped model hear of earlier ones, against the same network written by hand."""

import gc
import itertools
import math
import threading
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import GATConv, GCNConv, GraphUNet, SAGEConv, TopKPooling

from gnnlib import Edges, History, swap
from gnnlib.layers import DelayedConv
from gnnlib.swap import _recall

NODES, WIDTHS = 10, (6, 8, 8, 7, 5)
CONVS = {"gcn": GCNConv, "sage": SAGEConv, "gat": GATConv}


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def sample(nodes=NODES, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, WIDTHS[0], generator=draw)
    return x, torch.randint(nodes, (2, 2 * nodes), generator=draw)


class Net(nn.Module):
    """A user's network, which may run stretches of its layers as checkpoints."""

    def __init__(self, conv=GCNConv, stretches=(), reentrant=False):
        super().__init__()
        pairs = itertools.pairwise(WIDTHS)
        self.convs = nn.ModuleList(conv(a, b) for a, b in pairs)
        self.stretches, self.reentrant = stretches, reentrant

    def run(self, x, edge_index, first, last):
        for conv in self.convs[first:last]:
            x = conv(x, edge_index).tanh()
        return x

    def forward(self, x, edge_index):
        for first, last in self.stretches or [(0, len(self.convs))]:
            if self.stretches and self.training:
                x = checkpoint(self.run, x, edge_index, first, last, use_reentrant=self.reentrant)
            else:
                x = self.run(x, edge_index, first, last)
        return x


class ByHand(nn.Module):
    """The same network with delayed layers and a history."""

    def __init__(self, swapped, conv=GCNConv, delay=1):
        super().__init__()
        self.convs = nn.ModuleList()
        for position, (wide, out) in enumerate(itertools.pairwise(WIDTHS)):
            projections = {
                age: nn.Linear(WIDTHS[position - age], wide, bias=False)
                for age in range(1, position + 2 - delay)
                if WIDTHS[position - age] != wide
            }
            layer = DelayedConv(conv(wide, out), position + 1, delay, projections=projections)
            layer.load_state_dict(swapped.convs[position].layer.state_dict())
            self.convs.append(layer)

    def forward(self, x, edge_index):
        history = History(depth=len(WIDTHS))
        for conv in self.convs:
            x, history = conv(x, edge_index, history=history).tanh(), history.push(x)
        return x


def results(model, x, edge_index):
    """What a model returns, and all its gradients."""
    x = x.clone().requires_grad_()
    out = model(x, edge_index)
    return [out, *torch.autograd.grad(out.square().sum(), [x, *model.parameters()])]


def assert_same(model, other, *args):
    for ours, theirs in zip(results(model, *args), results(other, *args), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("delay", [1, 2])
@pytest.mark.parametrize("kind", CONVS)
def test_is_the_network_written_by_hand(kind, delay):
    model = swap(Net(CONVS[kind]), delay=delay)
    assert_same(model, ByHand(model, CONVS[kind], delay), *sample())


def test_every_call_begins_anew():
    model = swap(Net(), delay=1)
    first = model(*sample())
    model(*sample(seed=1))
    model(*sample(nodes=NODES + 3))
    assert torch.equal(model(*sample()), first)


class Nested(nn.Module):
    """Runs another model, or itself, between its own layers."""

    def __init__(self, inner=None):
        super().__init__()
        self.convs = nn.ModuleList(GCNConv(6, 6) for _ in range(4))
        self.inner = [inner]  # a plain list hides it from swap

    def forward(self, x, edge_index, depth=1):
        for position, conv in enumerate(self.convs):
            x = conv(x, edge_index)
            if position == 1 and depth:
                inner = self.inner[0]
                x = self(x, edge_index, depth - 1) if inner is None else inner(x, edge_index)
        return x


def by_turns(model, inner, x, edge_index):
    history = History(depth=4)
    for position, conv in enumerate(model.convs):
        x, history = conv.layer(x, edges_of(x, edge_index, history)), history.push(x)
        if position == 1 and inner is not None:
            x = inner(x)
    return x


def edges_of(x, edge_index, history):
    return replace(Edges.of(edge_index, size=x.size(0)), history=history)


def test_a_model_may_call_itself():
    model = swap(Nested(), delay=1)
    x, edge_index = sample()
    expected = by_turns(model, lambda h: by_turns(model, None, h, edge_index), x, edge_index)
    torch.testing.assert_close(model(x, edge_index), expected)


def test_a_swapped_model_may_run_inside_another():
    inner = swap(Nested(), delay=1)
    model = swap(Nested(inner), delay=1)
    model.inner[0] = inner
    x, edge_index = sample()
    expected = by_turns(model, lambda h: inner(h, edge_index), x, edge_index)
    torch.testing.assert_close(model(x, edge_index), expected)


class Fails(Net):
    fail = False

    def forward(self, x, edge_index):
        x = self.run(x, edge_index, 0, 2)
        if self.fail:
            raise KeyError("of the user's forward")
        return self.run(x, edge_index, 2, 4)


def test_an_exception_leaves_nothing_behind():
    model = swap(Fails(), delay=1)
    expected = model(*sample())
    model.fail, seen = True, []
    model.convs[0].register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
    with pytest.raises(KeyError, match="user's forward"):
        model(*sample())
    gc.collect()
    assert [ref() for ref in seen] == [None]
    with pytest.raises(RuntimeError, match="outside of its model"):
        model.convs[1](torch.randn(NODES, WIDTHS[1]), sample()[1])
    model.fail = False
    assert torch.equal(model(*sample()), expected)


def test_a_failure_inside_an_inner_call_leaves_the_outer_one_whole():
    model = swap(Fails(), delay=1)
    outer = swap(Nested(), delay=1)
    expected = outer(*sample(), depth=0)
    model.fail = True

    def tries(*args):
        with pytest.raises(KeyError):
            model(*args)
        return args[0]

    outer.inner[0] = tries
    assert torch.equal(outer(*sample(), depth=1), expected)


def test_threads_do_not_hear_each_other():
    model = swap(Net(), delay=1)
    samples = [sample(NODES, seed) for seed in range(6)]
    expected = [results(model, *one) for one in samples]
    start, found = threading.Barrier(len(samples)), [None] * len(samples)

    def work(k):
        torch.set_default_dtype(torch.float64)
        start.wait()
        for _ in range(5):
            found[k] = results(model, *samples[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(samples))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


class Twins(nn.Module):
    """One encoder, two graphs of the same size."""

    def __init__(self):
        super().__init__()
        self.encoder = Net()

    def forward(self, x, first, second):
        return self.encoder(x, first) - self.encoder(x.flip(0), second)

    def embed(self, x, edge_index):
        return self.encoder(x, edge_index)


def test_the_memory_opens_at_the_smallest_module_that_holds_all_delayed_layers():
    model = swap(Twins(), delay=1)
    (x, first), (_, second) = sample(), sample(seed=1)
    hand = ByHand(model.encoder)
    torch.testing.assert_close(model(x, first, second), hand(x, first) - hand(x.flip(0), second))
    torch.testing.assert_close(model.embed(x, first), hand(x, first))


class Late(nn.Module):
    """Layers one after another, of which the last two are in a block with a third beside them."""

    def __init__(self):
        super().__init__()
        self.first = SAGEConv(6, 6)
        self.block = Block()

    def forward(self, x, edge_index):
        return self.block(self.first(x, edge_index).tanh(), edge_index)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.other = SAGEConv(6, 6), SAGEConv(6, 6)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index) + self.other(x, edge_index)


@pytest.mark.parametrize("axes", [{"directed": 0.0}, {"aggr": "mean"}, {"hops": 1}, {"hops": 2}])
def test_swapping_another_layer_later_does_not_cut_a_history(axes):
    model = Late()
    once = swap(model, delay=1, exclude="block.other")
    twice = swap(once, **axes)
    x, edge_index = sample()
    with torch.no_grad():
        for part in (once.block.other, twice.block.other):
            for weight in part.parameters():
                weight.zero_()
    torch.testing.assert_close(twice(x, edge_index), once(x, edge_index))


def test_a_forward_that_was_replaced_on_the_object_is_refused():
    model = Net()
    model.forward = lambda *args: Net.forward(model, *args)
    with pytest.raises(ValueError, match=r"a Net whose forward was replaced on the object"):
        swap(model, delay=1)
    swap(model, directed=True)(*sample())


def _pack(x):
    return x


def test_hooks_on_saved_tensors_that_stay_keep_no_histories():
    class Offloads(Net):
        def forward(self, x, edge_index):
            x = self.run(x, edge_index, 0, 2)
            with torch.autograd.graph.saved_tensors_hooks(_pack, self.unpack):
                return self.run(x, edge_index, 2, 4)

    for unpack in (_pack, torch.Tensor.clone):
        Offloads.unpack = staticmethod(unpack)
        model = swap(Offloads(), delay=1)
        assert_same(model, ByHand(model), *sample())
        model(*sample()).sum().backward()
    assert not _recall._calls


class Bag(nn.Module):
    """Holds layers, and is not called itself."""

    def __init__(self):
        super().__init__()
        self.convs = Net().convs


class UsesBag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = Bag()

    def forward(self, x, edge_index):
        for conv in self.bag.convs:
            x = conv(x, edge_index).tanh()
        return x


def test_what_is_not_called_itself_opens_no_memory():
    model = swap(UsesBag(), delay=1)
    assert_same(model, ByHand(model.bag), *sample())


def test_a_list_of_layers_is_not_called_either():
    with pytest.raises(ValueError, match=r"ModuleList.*is not called itself.*swap the model"):
        swap(nn.ModuleList([GCNConv(4, 4), GCNConv(4, 4)]), delay=1)


class Pooled(nn.Module):
    """Two layers, two on half the nodes, and two on all of them again."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(SAGEConv(6, 6) for _ in range(6))
        self.pool = TopKPooling(6, 0.5)

    def forward(self, x, edge_index):
        for conv in self.convs[:2]:
            x = conv(x, edge_index).tanh()
        small, few, _, _, kept, _ = self.pool(x, edge_index)
        for conv in self.convs[2:4]:
            small = conv(small, few).tanh()
        x = x.index_add(0, kept, small)
        for conv in self.convs[4:]:
            x = conv(x, edge_index).tanh()
        return x


def test_pooled_nodes_have_a_history_of_their_own():
    model = swap(Pooled(), delay=1)
    x, edge_index = sample()

    def steps(layers, x, graph, history):
        for layer in layers:
            h = layer.layer(x, edges_of(x, graph, history)).tanh()
            x, history = h, history.push(x)
        return x, history

    h, history = steps(model.convs[:2], x, edge_index, History(6))
    small, few, _, _, kept, _ = model.pool(h, edge_index)
    small, _ = steps(model.convs[2:4], small, few, History(6))
    expected, _ = steps(model.convs[4:], h.index_add(0, kept, small), edge_index, history)
    torch.testing.assert_close(model(x, edge_index), expected)


# PyG's pooling squares a sparse matrix, of which torch warns.
@pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR):UserWarning")
def test_a_graph_unet_runs_and_learns():
    model = swap(GraphUNet(6, 6, 3, depth=2), delay=1)
    out = model(*sample())
    out.square().sum().backward()
    assert out.shape == (NODES, 3)
    # The last layer is of all nodes again, and hears what the first began with.
    near, far = model.up_convs[-1].layer.convs[:2]
    assert near.lin.weight.grad.any()
    assert far.lin.weight.grad.any()


@pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR):UserWarning")
def test_pooled_nodes_whose_states_are_of_unforeseen_widths_are_refused():
    model = swap(GraphUNet(6, 8, 3, depth=2), delay=1)
    with pytest.raises(ValueError, match=r"had 8 features 1 layers ago.*got 6.*of one width"):
        model(*sample())
    model = swap(GraphUNet(6, 8, 3, depth=2), delay=1, exclude="down_convs.0")
    assert model(*sample()).shape == (NODES, 3)


def test_a_layer_called_by_itself_says_what_to_do():
    model = swap(Net(), delay=1)
    x, edge_index = sample()
    model(x, edge_index).sum().backward()
    model.convs[0](x, edge_index)  # the first hears nobody late
    with pytest.raises(RuntimeError, match=r"outside of its model.*call the model itself"):
        model.convs[1](torch.randn(NODES, WIDTHS[1]), edge_index)
    with pytest.raises(RuntimeError, match=r"outside of its model.*another method"):
        model.run(x, edge_index, 0, 4)


def test_all_hops_at_once_need_no_memory():
    model = swap(Net(), hops=3)
    x, edge_index = sample()
    expected = x
    for conv in model.convs:
        assert conv.layer.delay == math.inf
        expected = conv.layer(expected, edge_index).tanh()
    assert torch.equal(model(x, edge_index), expected)
    assert torch.equal(model.run(x, edge_index, 0, 4), expected)


STRETCHES = {
    "one each": [(0, 1), (1, 2), (2, 3), (3, 4)],
    "two each": [(0, 2), (2, 4)],
    "all": [(0, 4)],
    "the middle": [(0, 1), (1, 3), (3, 4)],
}


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("stretches", STRETCHES)
def test_checkpoints_have_the_same_gradients(stretches, kind):
    model = swap(Net(CONVS[kind], STRETCHES[stretches]), delay=1)
    assert_same(model, ByHand(model, CONVS[kind]), *sample())


def test_checkpoints_of_two_calls_are_told_apart():
    model = swap(Net(stretches=STRETCHES["two each"]), delay=1)
    hand = ByHand(model)
    outs = [[m(*sample(seed=k)) for k in range(3)] for m in (model, hand)]
    losses = [sum((k + 1) * out.square().sum() for k, out in enumerate(each)) for each in outs]
    grads = [
        torch.autograd.grad(loss, list(m.parameters()))
        for loss, m in zip(losses, (model, hand), strict=True)
    ]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_checkpoints_draw_the_same_dropout():
    class Dropped(Net):
        def run(self, x, edge_index, first, last):
            for conv in self.convs[first:last]:
                x = nn.functional.dropout(conv(x, edge_index).tanh(), 0.3, self.training)
            return x

    found = []
    for stretches in ((), STRETCHES["two each"]):
        torch.manual_seed(0)
        model = swap(Dropped(stretches=stretches), delay=1)
        torch.manual_seed(1)
        found.append(results(model, *sample()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stretches", ["one each", "two each", "the middle"])
def test_reentrant_checkpoints_are_refused(stretches):
    model = swap(Net(stretches=STRETCHES[stretches], reentrant=True), delay=1)
    x, edge_index = sample()
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        model(x.requires_grad_(), edge_index)


def test_a_reentrant_checkpoint_around_the_whole_model_is_fine():
    model = swap(Net(), delay=1)
    x, edge_index = sample()

    def whole(x, edge_index):
        return checkpoint(model, x, edge_index, use_reentrant=True)

    found = []
    for call in (whole, ByHand(model)):
        h = x.clone().requires_grad_()
        call(h, edge_index).square().sum().backward()
        found.append(h.grad)
    torch.testing.assert_close(*found)


def test_reentrant_checkpoints_are_fine_where_nothing_is_heard_late():
    x, edge_index = sample()
    torch.manual_seed(0)
    model = swap(Net(stretches=STRETCHES["two each"], reentrant=True), hops=2)
    torch.manual_seed(0)
    plain = swap(Net(), hops=2)
    found = []
    for each in (model, plain):
        h = x.clone().requires_grad_()
        each(h, edge_index).square().sum().backward()
        found.append([h.grad, *(p.grad for p in each.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


class Forces(Net):
    """Takes a gradient inside its forward, as models of energies do."""

    def forward(self, x, edge_index):
        x = x.clone().requires_grad_()
        energy = super().forward(x, edge_index)
        (force,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return force + energy.sum()


def test_a_backward_inside_of_a_forward_hears_what_was_heard():
    torch.manual_seed(0)
    model = swap(Forces(stretches=STRETCHES["two each"]), delay=1)
    torch.manual_seed(0)
    plain = swap(Forces(), delay=1)
    assert torch.equal(model(*sample()), plain(*sample()))


class Silent(Net):
    """Its layers are one, and all but its first input are zero."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([GCNConv(6, 6), GCNConv(6, 6)])

    def forward(self, x, edge_index):
        self.convs[0](x, edge_index)
        for k in range(2):
            x = checkpoint(lambda h: self.convs[1](h, edge_index), 0 * x, use_reentrant=False) + k
        return x


def test_a_layer_that_cannot_tell_its_calls_apart_says_so():
    model = swap(Silent(), delay=1)
    x, edge_index = sample()
    with pytest.raises(RuntimeError, match="the same input"):
        model(x.requires_grad_(), edge_index).square().sum().backward()


def test_frozen_layers_may_be_in_a_checkpoint():
    found = []
    for stretches in ((), [(0, 3), (3, 4)]):
        torch.manual_seed(0)
        model = swap(Net(stretches=stretches), delay=1)
        model.convs[:2].requires_grad_(False)
        model(*sample()).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert [g is None for g in found[0]] == [not p.requires_grad for p in model.parameters()]
    for ours, theirs in zip(*found, strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)


class Noisy(Net):
    """Computes other bits whenever it runs, as some layers do on a GPU."""

    def run(self, x, edge_index, first, last):
        for conv in self.convs[first:last]:
            x = conv(x, edge_index).tanh()
            x = x * (1 + 1e-9 * len(self.times))
            self.times.append(first)
        return x


def test_a_checkpoint_need_not_compute_the_same_bits():
    torch.manual_seed(0)
    model = swap(Noisy(stretches=STRETCHES["two each"]), delay=1)
    model.times = []
    assert_same(model, ByHand(model), *sample())
    assert len(model.times) > 4


def test_a_checkpoint_around_the_whole_model_keeps_nothing():
    model, seen = swap(Net(), delay=1), []
    for conv in model.convs:
        conv.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
    x, edge_index = sample()
    out = checkpoint(model, x.requires_grad_(), edge_index, use_reentrant=False)
    assert not any(ref() is not None for ref in seen)
    assert not any(_recall._calls.values())
    out.square().sum().backward()
    gradient, x.grad = x.grad, None
    model(x, edge_index).square().sum().backward()
    assert torch.equal(x.grad, gradient)


@pytest.mark.parametrize("stretches", ["none", "two each"])
def test_nothing_is_kept_alive(stretches):
    model = swap(Net(stretches=STRETCHES.get(stretches, ())), delay=1)
    seen = []
    for conv in model.convs:
        conv.register_forward_hook(
            lambda _, args, out: seen.extend(map(weakref.ref, (args[0], out)))
        )
    x, edge_index = sample()

    def alive():
        return sum(ref() is not None and ref() is not x for ref in seen)

    model.eval()
    out = model(x, edge_index).detach()
    assert alive() == 0
    model.train()
    seen.clear()
    out = model(x, edge_index)
    loss = out.square().sum()
    del out
    loss.backward()
    assert alive() == 0  # though the loss is kept
    assert not _recall._calls
