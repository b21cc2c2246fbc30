"""The laws of DESIGN for swapped networks, of one layer and of layers that hear each other."""

from functools import partial
from itertools import pairwise

import pytest
from swap_cases import CONVS
from torch import nn

import gnnlib
from gnnlib.testing import assert_layer

# A gate of low temperature is saturated, and its gradient lost to rounding.
ALL = {"cooperative": {"temperature": 1.0}, "directed": True, "delay": 1}
PAIRS = {"bipartite": "a pair of one tensor twice is that tensor, and others are refused"}
LAZY = {"lazy_channels": "torch's own Linear in the network is not lazy"}
HEADS = {"representation": "the width of its output is told by heads and their width"}
ORDER = {
    "edge_order": "LCM combines rows in the order of the edges",
    "node_permutation": "LCM combines rows some hops apart in the order of their nodes",
    "generator": "PyG's convs hand no generator to their aggregation",
}
GENERAL = {
    "torch_compile": "PyG's message hooks, which gate unknown convs, break graphs",
    "torch_export": "the number of open edges depends on the data",
    "torch_export_dynamic": "the number of open edges depends on the data",
}


class Network(nn.Module):
    """Convs with an activation between them."""

    def __init__(self, convs):
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def reset_parameters(self):
        for conv in self.convs:
            conv.reset_parameters()

    def forward(self, x, edge_index, generator=None):
        for k, conv in enumerate(self.convs):
            x = conv(x if k == 0 else x.tanh(), edge_index, generator=generator)
        return x


class Weighted(Network):
    """The same with edge weights."""

    def forward(self, x, edge_index, edge_weight=None, generator=None):
        for k, conv in enumerate(self.convs):
            x = conv(x if k == 0 else x.tanh(), edge_index, edge_weight, generator=generator)
        return x


def network(conv, axes, widths, width, out, **options):
    """Convs of some widths, the first of which hears what the network is given."""
    make, kind = CONVS[conv].make, Weighted if CONVS[conv].weight else Network
    convs = (make(*pair, **options) for pair in pairwise((width, *widths, out)))
    return gnnlib.swap(kind(convs), **axes)


CASES = {
    "gcn": (ALL, {}),
    "sage": (ALL | {"aggr": "max"}, {}),
    "gin": (ALL | {"aggr": "max"}, LAZY),
    "gat": (ALL, HEADS),
    "sage-lcm": (ALL | {"aggr": "lcm"}, ORDER | GENERAL),
    "gin-lcm": (ALL | {"aggr": "lcm"}, ORDER | GENERAL | LAZY),
    "edge": (ALL, GENERAL | LAZY),
    "res-gated": (ALL, GENERAL),
    "transformer": (ALL, {}),
    "gatv2": (ALL, {}),
    "sg": (ALL, {}),
    "graph": (ALL, {}),
}
DEPTHS = {"one": (), "two": (10,)}
# With others the gates leave no edge, whose weight then has no gradient.
SEEDS = {"sg": 1}


def assert_laws(depth, name, others):
    axes, skip = CASES[name]
    conv = name.removesuffix("-lcm")
    if not CONVS[conv].weight:
        skip = skip | {"edge_weight": "the conv takes none"}
    make = partial(network, conv, axes, DEPTHS[depth])
    assert_layer(make, skip=skip | PAIRS | others, seed=SEEDS.get(name, 0))


@pytest.mark.slow
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", CASES)
def test_laws(depth, name):
    assert_laws(depth, name, {})


def test_laws_but_those_that_take_long():
    assert_laws("two", "gcn", dict.fromkeys(GENERAL, "held by the test above"))
