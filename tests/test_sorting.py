"""Graphs are grouped by torch alone as by the kernels, and a GPU is not waited for unless asked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

import gnnlib  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import (
    ChebConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    SAGEConv,
    TransformerConv,
)

from gnnlib import Adjacency, _sorting, ops

WAITS = (DataDependentOutputException, DynamicOutputShapeException)
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LONG = torch.int64


# By torch as by the kernels ----------------------------------------------------------------------


@QUICK
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 99))
def test_torch_groups_as_the_kernels_do(
    num_src: int, num_dst: int, num_edges: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    ends = (torch.randint(n, (num_edges,), generator=draw) for n in (num_src, num_dst))
    edge_index = torch.stack(tuple(ends))
    rowptr, col, _ = csr = _sorting.coo_to_csr(edge_index, num_src, num_dst)
    in_order = edge_index[1].sort().values
    for name, *args in (
        ("coo_to_csr", edge_index, num_src, num_dst),
        ("csr_transpose", *csr, num_src),
        ("csr_transpose", rowptr, col, None, num_src),
        ("check_csr", *csr, num_src),
        ("group_index", edge_index[0], num_src),
        ("index_to_ptr", in_order, num_dst),
        ("is_sorted", edge_index[0]),
        ("is_sorted", in_order),
    ):
        assert_same(reference(name)(*args), getattr(_sorting, name)(*args))


def reference(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(_sorting, f"_{name}_reference")
    return found


def assert_same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


# What a GPU is asked -----------------------------------------------------------------------------
#
# Tensors without values stand for those of a GPU: who asks for a value is told so.


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Tensors are where the host does not see them."""
    monkeypatch.setattr(_sorting, "at_hand", lambda _: False)
    monkeypatch.delenv("GNNLIB_CHECK", raising=False)
    return monkeypatch


def test_only_the_cpu_is_at_hand() -> None:
    assert _sorting.at_hand(torch.empty(0))
    assert not _sorting.at_hand(torch.empty(0, device="meta"))


def index(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=LONG)


REFERENCES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "coo_to_csr": lambda: (index(2, 9), 4, 5),
    "csr_transpose": lambda: (index(6), index(9), index(9), 4),
    "check_csr": lambda: (index(6), index(9), index(9), 4),
    "group_index": lambda: (index(9), 4),
    "index_to_ptr": lambda: (index(9), 4),
    "fold_index": lambda: (index(2, 9, 3), 4),
    "fold_ptr": lambda: (index(2, 5), 9),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_gpu_is_waited_for_only_if_asked(name: str, far: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        args = REFERENCES[name]()
        reference(name)(*args)
        far.setenv("GNNLIB_CHECK", "1")
        with pytest.raises(WAITS):
            reference(name)(*args)


@pytest.mark.parametrize("size", [2**31 - 1, 2**31])
def test_keys_of_any_size(size: int) -> None:
    with FakeTensorMode():
        ptr, perm = _sorting._group(index(9), size)
    assert (ptr.shape, ptr.dtype, perm.dtype) == ((size + 1,), LONG, LONG)


BAD: dict[str, tuple[Any, ...]] = {
    "coo_to_csr": (torch.tensor([[0, 4], [0, 0]]), 4, 5),
    "csr_transpose": (torch.tensor([0, 1]), torch.tensor([4]), None, 4),
    "check_csr": (torch.tensor([0, 1]), torch.tensor([-1]), None, 4),
    "group_index": (torch.tensor([0, 4]), 4),
    "index_to_ptr": (torch.tensor([-1, 0]), 4),
    "fold_index": (torch.tensor([[[4]]]), 4),
    "fold_ptr": (torch.tensor([[0, 10]]), 9),
}


@pytest.mark.parametrize("name", BAD)
def test_a_gpu_tells_of_a_bad_index_if_asked(name: str, far: pytest.MonkeyPatch) -> None:
    assert not _sorting.checked(torch.empty(0))
    far.setenv("GNNLIB_CHECK", "1")
    with pytest.raises(IndexError, match="must"):
        reference(name)(*BAD[name])


def test_an_order_is_checked_only_if_asked(far: pytest.MonkeyPatch) -> None:
    args = (torch.tensor([2, 0]), 4)
    reference("index_to_ptr")(*args)
    far.setenv("GNNLIB_CHECK", "1")
    with pytest.raises(ValueError, match="must be sorted"):
        reference("index_to_ptr")(*args)


def test_segments_of_an_aggregation_are_checked_only_if_asked(far: pytest.MonkeyPatch) -> None:
    x, aggr = torch.randn(5, 3), gnnlib.aggr.StatisticsAggregation(["mean"])
    aggr(x, ptr=torch.tensor([0, 3]))
    far.setenv("GNNLIB_CHECK", "1")
    with pytest.raises(ValueError, match="must run from 0 to the number of rows"):
        aggr(x, ptr=torch.tensor([0, 3]))


CONVS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: GCNConv(8, 8),
    "SAGE": lambda: SAGEConv(8, 8, aggr="max"),
    "GIN": lambda: GINConv(nn.Linear(8, 8)),
    "GAT": lambda: GATConv(8, 4, heads=2),
    "GATv2": lambda: GATv2Conv(8, 4, heads=2),
    "Transformer": lambda: TransformerConv(8, 8),
    "Cheb": lambda: ChebConv(8, 8, K=2),
    "softmax": lambda: SAGEConv(8, 8, aggr="softmax"),
}


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("name", CONVS)
def test_a_training_step_does_not_wait(name: str) -> None:
    with FakeTensorMode():
        adj = Adjacency.of(index(2, 50), 20)
        adj._has_self_loops = False  # asked once for each graph, and kept
        conv = gnnlib.accelerate(CONVS[name]())
        for _ in range(2):
            conv(torch.randn(20, 8, requires_grad=True), adj).sum().backward()


@pytest.mark.parametrize("width", [1, 20])
@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max", "mul"])
def test_a_scatter_sorts_on_a_gpu_and_does_not_wait(
    width: int, reduce: str, far: pytest.MonkeyPatch
) -> None:
    def atomics(*_: Any) -> None:
        raise AssertionError("reduced by atomics, in any order")

    for name in ("scatter_reduce", "scatter_arg"):
        far.setattr(f"gnnlib.ops._grouping.{name}", atomics)
    with FakeTensorMode():
        src, groups = torch.randn(50, width, requires_grad=True), index(50)
        for out in (
            ops.scatter(src, groups, 0, dim_size=20, reduce=reduce),
            ops.segment_coo(src, groups, dim_size=20, reduce=reduce),
            ops.segment_csr(src, index(21), reduce=reduce),
            ops.scatter_max(src, groups, 0, dim_size=20)[0],
            ops.scatter_std(src, groups, 0, dim_size=20),
            ops.scatter_softmax(src, groups, 0, dim_size=20),
            ops.scatter_logsumexp(src, groups, 0, dim_size=20),
        ):
            out.sum().backward()
