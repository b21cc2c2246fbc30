"""Every subset of the axes, every conv, every form of a graph: the same result, or a reason."""

import math
import warnings

import pytest
import torch
from swap_cases import CONVS, NO_PAIR, SUBSETS, Stack, nudge
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.nn import ChebConv, MessagePassing
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

import gnnlib
from gnnlib.layers import record_actions
from gnnlib.swap import SwappedConv

WIDTH, HIDDEN, OUT, NODES = 6, 12, 8, 20
# At a low temperature the gradient of a sampled gate is lost to rounding.
SOFT = {"cooperative": {"temperature": 1.0}}
MAXIMA = {f"{name}=max": axes | {"aggr": "max"} for name, axes in SUBSETS.items() if "aggr" in axes}
ALL = SUBSETS | MAXIMA
# At once run all subsets of some convs, and all convs with some subsets.
FAST_CONVS = ("sage",)
FAST_SUBSETS = ("cooperative+directed+delay+aggr=max",)
FAST_REFUSING = ("cooperative+directed+aggr=max", "delay")
FAST_PAIRS = ("aggr", "cooperative", "directed")


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


with warnings.catch_warnings():  # torch warns once of its sparse matrices
    warnings.simplefilter("ignore")
    to_torch_csr_tensor(torch.zeros(2, 1, dtype=torch.long))


def draw(seed, num_nodes=NODES, num_edges=80, loops=True):
    """A graph with self loops and two nodes alone, its edges sorted by target, then source."""
    g = torch.Generator().manual_seed(seed)
    source, target = torch.randint(num_nodes - 2, (2, num_edges), generator=g)
    key = (target * num_nodes + source)[(source != target) | loops].unique()
    edge_index = torch.stack([key % num_nodes, key // num_nodes])
    x = torch.randn(num_nodes, WIDTH, generator=g)
    return Data(x=x, edge_index=edge_index, edge_attr=torch.randn(key.numel(), 3, generator=g))


def signals(conv, data):
    return {} if CONVS[conv].edge_dim is None else {"edge_attr": data.edge_attr}


def swapped(conv, axes):
    torch.manual_seed(0)
    make = CONVS[conv].make
    axes = axes | {name: SOFT[name] for name in axes if name in SOFT}
    model = gnnlib.swap(Stack([make(WIDTH, HIDDEN), make(HIDDEN, OUT)]), **axes).eval()
    nudge(model)
    return model


def matrix():
    cases = []
    for conv in CONVS:
        for name in ALL:
            fewer = FAST_SUBSETS if CONVS[conv].no_delay is None else FAST_REFUSING
            slow = conv not in FAST_CONVS and name not in fewer
            marks = [pytest.mark.slow] * slow
            cases.append(pytest.param(conv, ALL[name], id=f"{conv}-{name}", marks=marks))
    return cases


def meets(conv, axes):
    """Whether the axes have a meaning for a conv; if not, the swap has said why."""
    if "delay" not in axes or CONVS[conv].no_delay is None:
        return True
    with pytest.raises(ValueError, match=CONVS[conv].no_delay):
        swapped(conv, axes)
    return False


# What adds self loops does so in PyG at the end of the edges, and in order in a matrix.
ADD_LOOPS = ("gcn", "sg", "gat", "gatv2")


def matrices(conv, axes, edge_index):
    """The graph as PyG's ``adj_t``, where the conv takes one."""
    if CONVS[conv].edge_dim is not None:
        return {}  # edge features of a matrix are its values, in PyG
    ordered = conv in ADD_LOOPS and axes.get("aggr") == "lcm"
    if set(axes) == {"aggr"} and (ordered or conv == "cheb"):  # the conv is PyG's own
        return {}
    coo = to_torch_coo_tensor(edge_index, size=NODES).t().coalesce()
    return {"COO": coo, "CSR": to_torch_csr_tensor(edge_index.flip(0), size=NODES)}


@pytest.mark.parametrize(("conv", "axes"), matrix())
def test_every_form_of_a_graph_gives_the_same(conv, axes):
    if not meets(conv, axes):
        return
    # PyG counts the self loops of a matrix twice.
    model, data = swapped(conv, axes), draw(0, loops=set(axes) != {"aggr"})
    given = signals(conv, data)
    with record_actions() as seen:
        expected = model(data.x, data.edge_index, **given)
    if seen:  # some nodes act one way and some the other
        gates = torch.cat([torch.cat([actions.listen, actions.broadcast]) for actions in seen])
        assert 0 < gates.mean() < 1
    assert expected.shape == (NODES, OUT)
    assert expected.isfinite().all()
    indexed = EdgeIndex(data.edge_index, sparse_size=(NODES, NODES), sort_order="col")
    forms = {"EdgeIndex": indexed, **matrices(conv, axes, data.edge_index)}
    for name, form in forms.items():
        found = model(data.x, form, **given)
        torch.testing.assert_close(found, expected, msg=lambda why, name=name: f"{name}: {why}")


@pytest.mark.parametrize(("conv", "axes"), matrix())
def test_a_graph_alone_and_in_a_batch_give_the_same(conv, axes):
    if not meets(conv, axes):
        return
    model = swapped(conv, axes)
    graphs = [draw(1, 9, 30), draw(2, 3, 1), draw(3, 12, 60)]
    batch = Batch.from_data_list(graphs)
    together = model(batch.x, batch.edge_index, **signals(conv, batch))
    alone = [model(data.x, data.edge_index, **signals(conv, data)) for data in graphs]
    torch.testing.assert_close(together, torch.cat(alone))


def excused(conv, axes):
    """Parameters whose gradient may be all zero, by a part of their name."""
    if conv == "cheb" and "aggr" in axes:
        # The self loop of its Laplacian weighs 0, which is the maximum of what is else negative.
        return ("lins.1", "aggr_module.lin.weight", "action_net")
    return ()


@pytest.mark.parametrize(("conv", "axes"), matrix())
def test_every_parameter_learns(conv, axes):
    if not meets(conv, axes):
        return
    model = swapped(conv, axes).train()
    for seed in range(3):
        data = draw(seed)
        model(data.x, data.edge_index, **signals(conv, data)).sin().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or any(part in name for part in excused(conv, axes)), name


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(SUBSETS[name], id=name, marks=[pytest.mark.slow] * (name not in FAST_PAIRS))
        for name in SUBSETS
    ],
)
@pytest.mark.parametrize("conv", [name for name, case in CONVS.items() if case.pair])
def test_a_pair_of_features_is_heard_or_refused(conv, axes):
    torch.manual_seed(0)
    layer, data = gnnlib.swap(CONVS[conv].make(WIDTH, OUT), **axes).eval(), draw(0)
    given = signals(conv, data)
    plain = layer(data.x, data.edge_index, **given)
    torch.testing.assert_close(layer((data.x, data.x), data.edge_index, **given), plain)
    if isinstance(layer, SwappedConv):
        with pytest.raises(ValueError, match="no bipartite form"):
            layer((data.x, data.x.clone()), data.edge_index, **given)
        return
    # The targets are the first of the nodes, whose rows change nothing of each other.
    few = NODES // 2
    kept = data.edge_index[1] < few
    given = {name: signal[kept] for name, signal in given.items()}
    out = layer((data.x, data.x[:few]), data.edge_index[:, kept], **given)
    square = layer(data.x, data.edge_index[:, kept], **given)
    torch.testing.assert_close(out, square[:few])


@pytest.mark.parametrize("others", [{}, {"cooperative": True, "directed": True, "aggr": "max"}])
@pytest.mark.parametrize("conv", [n for n, case in CONVS.items() if case.no_delay == NO_PAIR])
def test_who_takes_no_pairs_hears_all_as_they_are(conv, others):
    data = draw(0)
    model = swapped(conv, {"delay": math.inf, **others})
    assert model(data.x, data.edge_index).isfinite().all()


@pytest.mark.parametrize("conv", [n for n, case in CONVS.items() if case.edge_dim])
def test_edge_features_and_delay_meet_in_one_hop(conv):
    data = draw(0)
    model = swapped(conv, {"delay": 1, "hops": 1})
    torch.testing.assert_close(
        model(data.x, data.edge_index, edge_attr=data.edge_attr),
        _unwrapped(model)(data.x, data.edge_index, edge_attr=data.edge_attr),
    )


def _unwrapped(model):
    return Stack([layer.layer.convs[0] for layer in model.convs])


class Alone(MessagePassing):
    """A conv that looks at no edges."""

    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x, edge_index):  # noqa: ARG002  (what makes it a conv)
        return self.lin(x)


@pytest.mark.parametrize("axes", [axes for axes in SUBSETS.values() if len(axes) == 1], ids=str)
def test_axes_of_a_conv_that_ignores_edges_are_refused(axes):
    why = "passes no messages" if "aggr" in axes else "looks at no edges"
    with pytest.raises(ValueError, match=why):
        gnnlib.swap(Stack([Alone(), Alone()]), **axes)


def test_a_chebyshev_polynomial_of_degree_zero_is_refused():
    with pytest.raises(ValueError, match="looks at no edges"):
        gnnlib.swap(ChebConv(WIDTH, OUT, 1), cooperative=True)
