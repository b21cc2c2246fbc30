"""Which weights a swap keeps, copies and draws anew; and what the report says of it."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, SAGEConv
from torch_geometric.nn.models import GAT, GIN, GraphSAGE
from torch_geometric.utils import to_undirected

import gnnlib
from gnnlib.layers import ActionNet

X = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
EDGES = to_undirected(torch.randint(20, (2, 40), generator=torch.Generator().manual_seed(1)))


def sage() -> GraphSAGE:
    return GraphSAGE(8, 16, num_layers=3, out_channels=4)


@pytest.mark.parametrize("model", [sage(), GAT(8, 16, 2, 3), GIN(8, 16, 2, 3)])
def test_on_an_undirected_graph_a_directed_network_begins_as_it_was(model: nn.Module) -> None:
    model.eval()
    swapped = gnnlib.swap(model, directed=True)
    torch.testing.assert_close(swapped(X, EDGES), model(X, EDGES), rtol=1e-5, atol=1e-5)


def test_every_weight_is_kept_copied_or_new() -> None:
    model = sage()
    swapped = gnnlib.swap(model, cooperative=True, directed=True, delay=1, aggr="lcm")
    for conv, found in zip(model.convs, gnnlib.report(swapped).swapped, strict=True):
        layer = swapped.get_submodule(found.name)
        weights = dict(layer.named_parameters())
        assert {*found.kept} | {*found.copied} | {*found.new} == {*weights}
        assert sum(map(len, (found.kept, found.copied, found.new))) == len(weights)
        own = sum(parameter.numel() for parameter in conv.parameters())
        assert sum(found.kept.values()) == own
        values = [parameter for _, parameter in conv.named_parameters()]
        for name in (*found.kept, *found.copied):
            assert any(torch.equal(weights[name], value) for value in values), name
        for name in found.new:
            assert any(word in name for word in ("action_net", "aggr_module", "projections")), name
        assert found.frozen == ()


def test_copies_are_one_for_each_other_direction_and_hop() -> None:
    model = sage()
    neighbours = [sum(p.numel() for p in conv.lin_l.parameters()) for conv in model.convs]
    found = gnnlib.report(gnnlib.swap(model, directed=True, delay=1)).swapped
    for hops, (own, each) in enumerate(zip(found, neighbours, strict=True), start=1):
        assert sum(own.copied.values()) == (2 * hops - 1) * each
        assert own.now == f"DirectedConv(DelayedConv(SAGEConv, hops={hops}))"


def test_frozen_weights_and_their_copies_stay_frozen() -> None:
    model = sage()
    model.convs[1].requires_grad_(False)
    first, second, third = gnnlib.report(
        gnnlib.swap(model, cooperative=True, directed=True, delay=1)
    ).swapped
    assert first.frozen == third.frozen == ()
    assert {*second.frozen} == {*second.kept} | {*second.copied}


def test_layers_of_one_width_share_their_action_network() -> None:
    swapped = gnnlib.swap(sage(), cooperative=True)
    nets = [conv.layer.action_net for conv in swapped.convs]
    assert [net.in_channels for net in nets] == [8, 16, 16]
    assert nets[1] is nets[2]
    own = ActionNet(16)
    swapped = gnnlib.swap(sage(), cooperative=own, exclude="convs.0")
    assert swapped.convs[1].layer.action_net is swapped.convs[2].layer.action_net is own


def test_a_conv_in_two_places_stays_one() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = SAGEConv(8, 8)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x, edge_index), edge_index)

    swapped = gnnlib.swap(Twice(), directed=True)
    assert swapped.first is swapped.second
    assert [found.name for found in gnnlib.report(swapped).swapped] == ["first", "second"]


def test_the_model_itself_is_left_alone() -> None:
    model = sage()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    swapped = gnnlib.swap(model, cooperative=True, directed=True, delay=1, aggr="max")
    with torch.no_grad():
        for parameter in swapped.parameters():
            parameter.add_(1)
    assert type(model) is GraphSAGE
    assert {type(conv) for conv in model.convs} == {SAGEConv}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_asked_for_changes_nothing() -> None:
    model = sage().eval()
    same = gnnlib.swap(model)
    assert same is not model
    assert {type(conv) for conv in same.convs} == {SAGEConv}
    assert torch.equal(same(X, EDGES), model(X, EDGES))


def test_the_report_reads_as_a_table() -> None:
    model = nn.Sequential(nn.Linear(8, 8), GCNConv(8, 8))
    model[1].bias.requires_grad_(False)
    printed = str(gnnlib.report(gnnlib.swap(model, directed=True, aggr="max")))
    row = next(line for line in printed.splitlines() if "MaxAggregation" in line)
    assert row.split() == [
        "1", "GCNConv", "DirectedConv(GCNConv(aggr=MaxAggregation))",
        "72", "kept,", "72", "copied,", "16", "frozen",
    ]  # fmt: skip
