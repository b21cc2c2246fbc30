"""An accelerated conv is PyG's, on everything that PyG's takes."""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from pyg_convs import CASES, GCNS, NODES, WIDTH, assert_as_good, assert_same, graph, results
from torch_geometric import EdgeIndex

from gnnlib import Adjacency, accelerate, report

FLOWS = ("source_to_target", "target_to_source")


@contextmanager
def fused(conv):
    """Let PyG's own path of an accelerated conv fail."""

    def fail(*_, **__):
        raise AssertionError("it ran as PyG wrote it")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(conv), "propagate", fail)
        yield conv


def inputs(case, num_edges):
    draw = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    x = random(NODES, WIDTH)
    for attr in case.attr:
        signals = {} if attr is None else {"edge_attr": random(num_edges, attr)}
        yield x, signals
        if case.weight:
            yield x, signals | {"edge_weight": random(num_edges).abs()}


def leaves(dtype, x, signals):
    x, *values = (t.to(dtype).requires_grad_() for t in (x, *signals.values()))
    return x, dict(zip(signals, values, strict=True))


@pytest.mark.parametrize(
    "kind",
    ["any", "empty", *(pytest.param(k, marks=pytest.mark.slow) for k in ("simple", "sorted"))],
)
@pytest.mark.parametrize("name", CASES)
def test_the_same_results_and_gradients(name, kind):
    case, edge_index = CASES[name], graph(kind)
    for flow in FLOWS:
        for width in (3, 8):  # narrower and wider than the input: projected first, last
            torch.manual_seed(0)
            conv = case.make(width, flow=flow)
            fast = accelerate(conv)
            (layer,) = report(fast)
            assert layer.fused == (flow in case.flows), layer
            for given in inputs(case, edge_index.size(1)):
                x, signals = leaves(torch.float32, *given)
                with fused(fast) if flow in case.flows else nullcontext():
                    ours = results(fast, x, edge_index, **signals)
                theirs = results(conv, x, edge_index, **signals)
                x, signals = leaves(torch.float64, *given)
                double = copy.deepcopy(conv).double()
                exact = results(double, x, edge_index, **signals)
                assert_as_good(ours, theirs, exact)
                ours = results(accelerate(double), x, edge_index, **signals)
                assert_same(ours, exact, case.precision)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.pair])
def test_bipartite(name):
    case = CASES[name]
    for sizes in ((9, 5), (5, 9)):
        if name.startswith("gat") and case.attr != (None,) and sizes == (5, 9):
            continue  # PyG's added self loops fail
        draw = torch.Generator().manual_seed(1)
        x = [torch.randn(size, WIDTH, generator=draw) for size in sizes]
        edge_index = torch.stack([torch.randint(n, (30,), generator=draw) for n in sizes])
        signals = {}
        if case.attr[-1] is not None:
            signals["edge_attr"] = torch.randn(30, case.attr[-1], generator=draw)
        torch.manual_seed(0)
        conv = case.make(4)
        fast, double = accelerate(conv), copy.deepcopy(conv).double()
        pairs = [(tuple, {}), (list, {})]
        # GATv2 and Transformer want features of the targets, and PyG's GAT fails with more targets.
        if not name.startswith(("gatv2", "transformer") if sizes == (9, 5) else ("gat", "trans")):
            pairs.append((lambda x: (x[0], None), {"size": sizes}))
        for pair, size in pairs:
            given = pair([t.clone().requires_grad_() for t in x])
            single = {name: t.clone().requires_grad_() for name, t in signals.items()}
            with fused(fast):
                ours = results(fast, given, edge_index, **single, **size)
            theirs = results(conv, given, edge_index, **single, **size)
            given = pair([t.double().requires_grad_() for t in x])
            wide = {name: t.double().requires_grad_() for name, t in signals.items()}
            assert_as_good(ours, theirs, results(double, given, edge_index, **wide, **size))


def forms(edge_index, weight):
    """The same graph in every form that PyG takes, with its weights."""
    size = (NODES, NODES)
    yield EdgeIndex(edge_index.contiguous(), sparse_size=size), weight
    order = edge_index[1].argsort(stable=True)
    by_target = EdgeIndex(edge_index[:, order].contiguous(), sparse_size=size, sort_order="col")
    yield by_target, None if weight is None else weight[order]
    values = torch.ones(edge_index.size(1)) if weight is None else weight
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), values, size).coalesce()
    yield adj_t, None
    yield adj_t.to_sparse_csr(), None


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:Converting sparse tensor to CSR")
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("name", [*GCNS, "sage-mean", "sage-max", "graph-add", "gin", "gat-heads"])
def test_every_form_of_a_graph(name, loops):
    case, edge_index = CASES[name], graph("simple")
    if loops:
        edge_index = torch.cat([edge_index, torch.tensor([[3, 5], [3, 5]])], dim=1)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(NODES, WIDTH, generator=draw, requires_grad=True)
    weight = torch.rand(edge_index.size(1), generator=draw)
    conv = case.make(4)
    fast = accelerate(conv)
    for values in (None, weight) if case.weight else (None,):
        for form, signal in forms(edge_index, values):
            if form.layout != torch.strided and (
                name.startswith(("cheb", "arma")) or (loops and name.startswith("cluster"))
            ):
                continue  # PyG takes none
            signals = () if signal is None else (signal,)
            theirs = results(conv, x, form, *signals)
            assert_same(results(fast, x, form, *signals), theirs, 1e-5)


def test_an_adjacency_serves_as_a_graph_fused_or_not():
    edge_index, x = graph("any"), torch.randn(NODES, WIDTH)
    adj = Adjacency.of(edge_index, NODES)
    conv = CASES["gat-heads"].make(4)
    fast = accelerate(conv)
    assert_same([fast(x, adj)], [conv(x, edge_index)], 1e-5)
    fast.register_message_forward_hook(lambda *_: None)
    assert torch.equal(fast(x, adj), conv(x, edge_index))
    assert torch.equal(fast(edge_index=adj, x=x), conv(x, edge_index))
