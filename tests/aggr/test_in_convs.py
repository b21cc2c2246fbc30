"""The aggregations inside PyG's convs: heads, relations, autocast, lazy widths, dead graphs."""

import gc

import pytest
import torch
from torch_geometric.nn import GATConv, RGCNConv, SAGEConv

from gnnlib.aggr import (
    GNPAggregation,
    GRUAggregation,
    LCMAggregation,
    LSTMAggregation,
    StatisticsAggregation,
    _ragged,
    regularization,
)

LEARNED = pytest.mark.parametrize("name", ["lcm", "gru", "lstm"])
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 2, 5, 5], [3, 3, 3, 0, 0, 1, 1, 3, 0]])


@pytest.mark.parametrize("name", ["lcm", "gru", "lstm", "gnp"])
def test_several_heads(name: str) -> None:
    assert GATConv(8, 4, heads=2, aggr=name)(X, EDGES).shape == (6, 8)


@LEARNED
def test_autocast(name: str) -> None:
    conv = SAGEConv(8, 8, aggr=name)
    with torch.autocast(X.device.type, torch.bfloat16):
        out = conv(X, EDGES)
        out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert all(p.grad is not None for p in conv.aggr_module.parameters())


def test_autocast_of_what_is_not_fused() -> None:
    with torch.autocast(X.device.type, torch.bfloat16):
        for options in ({"associativity": 0.1}, {"symmetric": False}):
            conv = SAGEConv(8, 8, aggr=LCMAggregation(8, **options))
            assert conv(X, EDGES).dtype == torch.bfloat16


def test_regularizers_of_several_calls_add_up() -> None:
    conv = RGCNConv(8, 8, 3, aggr=LCMAggregation(8, 8, associativity=1.0))
    conv(X, EDGES, torch.tensor([0, 0, 0, 1, 1, 1, 1, 0, 0]))  # none of the third relation
    assert regularization(conv) > 0


@pytest.mark.parametrize("cls", [LCMAggregation, GRUAggregation, LSTMAggregation])
def test_lazy_weights_are_saved_and_loaded(cls) -> None:  # type: ignore[no-untyped-def]
    lazy = cls()
    lazy.load_state_dict(cls().state_dict())
    lazy.load_state_dict(cls(5, 7).state_dict())
    index = torch.zeros(6, dtype=torch.long)
    with pytest.raises(ValueError, match="in_channels=5 columns, got 8"):
        lazy(X, index)
    assert lazy(X[:, :5], index).shape == (1, 7)


def test_lstm_in_a_lazy_sage() -> None:
    assert SAGEConv((-1, -1), 8, aggr="lstm")((X, X), EDGES).shape == (6, 8)


def test_groups_die_with_their_tensor() -> None:
    gc.collect()
    before = len(_ragged._cache._entries)
    for _ in range(5):
        StatisticsAggregation("mean")(X, ptr=torch.tensor([0, 2, 6]))
    gc.collect()
    assert len(_ragged._cache._entries) <= before


@pytest.mark.parametrize("ptr", [[0, 2, 9], [-3, 2, 6], [0, 5, 2, 6]])
def test_a_compiled_graph_refuses_a_bad_ptr(ptr: list[int]) -> None:
    module = StatisticsAggregation("mean")
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    with pytest.raises((IndexError, ValueError), match="indptr"):
        compiled(X, ptr=torch.tensor(ptr))


def test_the_users_operation_keeps_its_modes() -> None:
    op = torch.nn.Module()
    op.frozen = torch.nn.BatchNorm1d(8).eval()
    op.forward = lambda a, b: op.frozen(a) + b  # type: ignore[method-assign]
    LCMAggregation(8, op=op)
    assert op.training
    assert not op.frozen.training


@pytest.mark.parametrize(("op", "why"), [("gru", "not callable"), (lambda *_: None, "NoneType")])
def test_what_is_no_operation(op, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=f"`op` must map two.*{why}"):
        LCMAggregation(8, op=op)


def test_bad_features() -> None:
    with pytest.raises(ValueError, match="`x` must be floating point"):
        LCMAggregation(8)(X.long(), torch.zeros(6, dtype=torch.long))
    assert LCMAggregation(8)(X[:, None][:, :0], EDGES[0, :6], dim=0).shape == (5, 0, 8)
    with pytest.raises(ValueError, match="at least p_min"):
        GNPAggregation(p=0.25, two_sided=False)
