"""`scatter` and its kin are their definition, for every index that broadcasts."""

from typing import Any

import pytest
import torch
import torch._dynamo.testing
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnlib import ops  # first: it imports PyG without warnings

# isort: split
import scatter_oracle as oracle
from scatter_cases import (
    FLOATS,
    INF,
    INTEGERS,
    NAN,
    REDUCES,
    SETTINGS,
    Call,
    assert_same,
    gradients,
    scatters,
)

from gnnlib import _sorting
from gnnlib.ops import _grouped
from gnnlib.testing import Sample, assert_op

NAMED = {name: getattr(ops, f"scatter_{name}") for name in REDUCES}


def definition(
    src: Tensor, index: Tensor, dim: int, dim_size: int | None, reduce: str = "sum"
) -> Tensor:
    return oracle.reduced(src, *oracle.members_by_index(src, index, dim, dim_size), reduce)


def op(src: Tensor, index: Tensor, dim: int, dim_size: int | None, reduce: str = "sum") -> Tensor:
    return ops.scatter(src, index, dim, dim_size=dim_size, reduce=reduce)


# Values and gradients against the definition ------------------------------------------------------


@SETTINGS
@given(scatters(), st.sampled_from(REDUCES))
def test_is_its_definition(call: Call, reduce: str) -> None:
    src = call.leaf()
    expected = definition(src, call.index, call.dim, call.size, reduce)
    grad = gradients(expected, src) if expected.requires_grad else None
    dim = call.dim - call.src.dim()  # counted from the end
    for out in (
        ops.scatter(src, call.index, dim, dim_size=call.size, reduce=reduce),
        NAMED[reduce](src, call.index, call.dim, dim_size=call.size),
    ):
        value = out[0] if isinstance(out, tuple) else out
        assert value.is_contiguous()
        assert_same(value, expected)
        if grad is not None and not isinstance(out, tuple):
            assert_same(gradients(value, src), grad)


@SETTINGS
@given(scatters(), st.sampled_from(["min", "max"]))
def test_an_extremum_sends_its_gradient_to_its_place(call: Call, reduce: str) -> None:
    src = call.leaf()
    members = oracle.members_by_index(src, call.index, call.dim, call.size)
    expected, place = oracle.extremum(src, call.dim, *members, reduce)
    out, arg = NAMED[reduce](src, call.index, call.dim, dim_size=call.size)
    assert_same((out, arg), (expected, place))
    assert not arg.requires_grad
    if expected.requires_grad:
        assert_same(gradients(out, src), gradients(expected, src))


@SETTINGS
@given(scatters(), st.sampled_from(REDUCES), st.booleans())
def test_out_takes_part(call: Call, reduce: str, strided: bool) -> None:
    src, start = call.leaf(), call.values(*call.result_shape, seed=7).requires_grad_()
    members = oracle.members_by_index(src, call.index, call.dim, call.size)
    expected = oracle.reduced(src, *members, reduce, start)
    out = start.clone()
    if strided:
        out = torch.stack([start, start], -1)[..., 0]
    result = ops.scatter(src, call.index, call.dim, out=out, reduce=reduce)
    assert result is out
    assert_same(out, expected)
    if expected.requires_grad and not (reduce in ("min", "max") and _ties(call)):
        assert_same(gradients(out, src, start), gradients(expected, src, start))
    if reduce in ("min", "max"):
        expected, place = oracle.extremum(src, call.dim, *members, reduce, start)
        out = start.clone()
        result, arg = NAMED[reduce](src, call.index, call.dim, out)
        assert result is out
        assert_same((out, arg), (expected, place))
        if expected.requires_grad:
            assert_same(gradients(out, src, start), gradients(expected, src, start))


def _ties(call: Call) -> bool:
    return call.src.unique().numel() < call.src.numel()


@SETTINGS
@given(scatters(), st.sampled_from(REDUCES))
def test_grouped_first_it_is_the_same(call: Call, reduce: str) -> None:
    src, args = call.leaf(), (call.index, call.dim, None, call.size)
    expected = NAMED[reduce](src, *args)
    with pytest.MonkeyPatch.context() as patch:  # as on a GPU
        patch.setattr(_sorting, "at_hand", lambda _: False)
        patch.setenv("GNNLIB_CHECK", "1")
        out = NAMED[reduce](src, *args)
    assert_same(out, expected)
    first = out[0] if isinstance(out, tuple) else out
    if first.requires_grad:
        plain = expected[0] if isinstance(expected, tuple) else expected
        assert_same(gradients(first, src), gradients(plain, src))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
@pytest.mark.parametrize("reduce", REDUCES)
def test_every_dtype(dtype: torch.dtype, reduce: str) -> None:
    index = torch.tensor([2, 0, 2, 2, 5, 0])
    for width in (1, 3, 20):
        whole = torch.randint(-3, 4, (6, width), generator=torch.Generator().manual_seed(width))
        src = whole.to(dtype)
        out = op(src, index, 0, 6, reduce)
        assert out.dtype == dtype
        assert_same(out, definition(src, index, 0, 6, reduce))
        if reduce in ("min", "max"):
            members = oracle.members_by_index(src, index, 0, 6)
            expected = oracle.extremum(src, 0, *members, reduce)
            assert_same(NAMED[reduce](src, index, 0, dim_size=6), expected)


@pytest.mark.parametrize("width", [1, 20])
@pytest.mark.parametrize("reduce", ["min", "max"])
def test_what_is_not_finite(reduce: str, width: int) -> None:
    src = torch.tensor([-INF, -INF, INF, 1, NAN, 2, NAN, INF, -INF]).view(-1, 1).repeat(1, width)
    index = torch.tensor([0, 0, 1, 2, 2, 2, 2, 4, 4])
    members = oracle.members_by_index(src, index, 0, 5)
    assert_same(op(src, index, 0, 5, reduce), oracle.reduced(src, *members, reduce))
    assert_same(NAMED[reduce](src, index, 0, dim_size=5), oracle.extremum(src, 0, *members, reduce))
    for start in (NAN, -INF, 0.0):
        out = torch.full((5, width), start)
        expected = oracle.extremum(src, 0, *members, reduce, out)
        assert_same(NAMED[reduce](src, index, 0, out.clone()), expected)


@pytest.mark.parametrize("width", [1, 20])
def test_a_product_is_differentiated_at_zeros(width: int) -> None:
    src = torch.tensor([2.0, 0, 3, 0, 0, 5]).view(-1, 1).repeat(1, width).requires_grad_()
    out = ops.scatter_mul(src, torch.tensor([0, 0, 1, 2, 2, 2]), 0)
    (grad,) = torch.autograd.grad(out.sum(), src)
    assert grad[:, 0].tolist() == [0, 2, 1, 0, 0, 0]


@pytest.mark.parametrize("reduce", REDUCES[1:])
def test_laws(reduce: str) -> None:
    index = torch.tensor([1, 3, 1, 0, 1])
    samples = [
        Sample((torch.randn(5, 3, dtype=torch.float64), index, 0, 4, reduce)),
        Sample((torch.randn(5, 9), index, 0, 4, reduce)),
        Sample((torch.randn(2, 5), index, 1, 4, reduce)),
        Sample((torch.randn(5, 3), index.view(-1, 1).expand(5, 3), 0, 5, reduce)),
        Sample((torch.randn(2, 5, 2), torch.randint(4, (2, 5, 2)), 1, 4, reduce)),
        Sample((torch.randn(0, 3), index[:0], 0, 4, reduce)),
    ]
    linear = reduce in ("add", "mean")
    assert_op(op, definition, samples, differentiable=["src"], double_backward=linear)


def test_laws_of_the_place() -> None:
    def place(src: Tensor, index: Tensor, size: int) -> Any:
        return ops.scatter_max(src, index, 0, dim_size=size)

    def expected(src: Tensor, index: Tensor, size: int) -> Any:
        return oracle.extremum(src, 0, *oracle.members_by_index(src, index, 0, size), "max")

    index = torch.tensor([1, 3, 1, 0, 1])
    # Far from ties: a small step must not change which is the largest.
    apart = (torch.randperm(5 * width).view(5, width) / 7 for width in (2, 9))
    samples = [Sample((x, index, 4)) for x in apart]
    assert_op(place, expected, samples, differentiable=["src"], double_backward=True)


def test_registered_operators() -> None:
    kernels = torch.ops.gnnlib
    narrow, wide = torch.randn(5, 2).double(), torch.randn(5, 9).double()
    index = torch.tensor([1, 3, 1, 0, 1])
    samples = [Sample((x, index, 0, 4, r)) for x in (narrow, wide) for r in ("mean", "mul")]
    used = [kernels.scatter_reduce.default, kernels.segment_reduce.default]
    assert_op(op, definition, samples, differentiable=["src"], opcheck=used, compile=False)

    def with_place(src: Tensor, index: Tensor) -> Any:
        return ops.scatter_max(src, index, 0, dim_size=4)

    def expected(src: Tensor, index: Tensor) -> Any:
        return oracle.extremum(src, 0, *oracle.members_by_index(src, index, 0, 4), "max")

    samples = [Sample((narrow, index)), Sample((wide, index))]
    used = [kernels.scatter_arg.default, kernels.segment_arg.default]
    assert_op(with_place, expected, samples, differentiable=["src"], opcheck=used, compile=False)
    for registered, args in (
        (kernels.group_index, (index, 4)),
        (kernels.index_to_ptr, (index.sort().values, 4)),
        (kernels.fold_index, (index.view(1, 5, 1).expand(2, 5, 3), 4)),
        (kernels.fold_ptr, (torch.tensor([[0, 2, 4], [1, 1, 5]]), 5)),
    ):
        torch.library.opcheck(registered.default, args)


def test_large_inputs_and_hubs() -> None:
    draw = torch.Generator().manual_seed(0)
    for num_rows, width in ((40_000, 1), (30_000, 20)):
        src = torch.randint(-9, 9, (num_rows, width), generator=draw).double()
        index = torch.randint(50, (num_rows,), generator=draw)
        index[torch.rand(num_rows, generator=draw) < 0.5] = 7  # half of all in one group
        spread = index.view(-1, 1).expand_as(src)
        for reduce, how in (("sum", "sum"), ("min", "amin"), ("max", "amax"), ("mean", "mean")):
            expected = torch.zeros(51, width).double()
            expected = expected.scatter_reduce(0, spread, src, how, include_self=False)
            assert_same(op(src, index, 0, 51, reduce), expected)
            if reduce in ("min", "max"):
                value, arg = NAMED[reduce](src, index, 0, dim_size=51)
                assert_same(value, expected)
                first = torch.where(
                    src == expected[index], torch.arange(num_rows)[:, None], num_rows
                )
                places = torch.full((51, width), num_rows)
                assert_same(arg, places.scatter_reduce(0, spread, first, "amin"))


# Groups are found once ----------------------------------------------------------------------------


def test_groups_are_found_again_until_the_index_is_edited(monkeypatch: Any) -> None:
    calls = []
    build = _grouped._any_order
    monkeypatch.setattr(_grouped, "_any_order", lambda *a: calls.append(a) or build(*a))
    monkeypatch.setattr(_grouped, "_cache", _grouped.TensorCache())
    edge_index, src = torch.tensor([[0, 1, 2, 0], [2, 0, 1, 1]]), torch.randn(4, 16)
    for width in (16, 16, 8):  # each time by new views
        index = edge_index[1].view(-1, 1).expand(4, width)
        assert_same(op(src[:, :width], index, 0, 3), definition(src[:, :width], index, 0, 3))
    assert len(calls) == 1
    assert_same(op(src, edge_index[0], 0, 3), definition(src, edge_index[0], 0, 3))
    assert_same(op(src, edge_index[1], 0, 5), definition(src, edge_index[1], 0, 5))
    assert len(calls) == 3
    edge_index[1, 0] = 0
    assert_same(op(src, edge_index[1], 0, 3), definition(src, edge_index[1], 0, 3))
    assert len(calls) == 4


def test_layouts_of_one_index_are_not_confused() -> None:
    index = torch.tensor([[0, 1], [1, 1]])
    for _ in range(2):
        for dim in (0, 1):
            for view in (index, index.t()):
                for shape in ((2, 2, 7), (2, 2, 3, 2)):
                    src = torch.randn(shape)
                    assert_same(op(src, view, dim, 2), definition(src, view, dim, 2))


def test_inference_tensors() -> None:
    with torch.inference_mode():
        src, index = torch.randn(4, 16), torch.tensor([0, 1, 1, 3])
        out = op(src, index, 0, 4)
    assert_same(out, definition(src, index, 0, 4))


# Compilers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 16])
def test_one_compilation_serves_all_sizes(width: int) -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    def function(src: Tensor, index: Tensor, like: Tensor) -> Any:
        size = like.size(0)
        top, arg = ops.scatter_max(src, index, 0, dim_size=size)
        return ops.scatter_mean(src, index, 0, dim_size=size) + top, arg

    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for n in range(4, 14):
        src = torch.randn(3 * n, width, requires_grad=True)
        index, like = torch.randint(n, (3 * n,)), torch.empty(n)
        (out, arg), (expected, place) = compiled(src, index, like), function(src, index, like)
        assert_same((out, arg), (expected, place))
        assert_same(gradients(out, src), gradients(expected, src))
    assert counter.frame_count <= 2


# Wrong calls --------------------------------------------------------------------------------------

X, INDEX = torch.ones(3, 2), torch.tensor([0, 2, 1])


@SETTINGS
@given(scatters(), st.sampled_from(REDUCES), st.sampled_from([-1, -(2**40), 0, 2**40]), st.data())
def test_a_bad_index_anywhere_is_found(call: Call, reduce: str, off: int, data: Any) -> None:
    if not call.index.numel() or not call.src.numel():
        return
    index = call.index.clone()
    place = tuple(data.draw(st.integers(0, n - 1)) for n in index.shape)
    index[place] = off if off < 0 else call.size + off
    for function in (ops.scatter, NAMED[reduce]):
        kwargs = {"reduce": reduce} if function is ops.scatter else {}
        with pytest.raises(IndexError, match=rf"`index` must lie in \[0, {call.size}\), got"):
            function(call.src, index, call.dim, dim_size=call.size, **kwargs)
        out = torch.zeros(call.result_shape, dtype=call.src.dtype)
        with pytest.raises(IndexError, match="`index` must lie"):
            function(call.src, index, call.dim, out, **kwargs)
        assert not out.any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.scatter(X, INDEX, 0, reduce="amax"), ValueError, "mul, add, got 'amax'"),
        (lambda: ops.scatter(X, INDEX, 2), IndexError, r"in \[-2, 2\), got 2"),
        (lambda: ops.scatter(torch.tensor(1.0), INDEX), IndexError, r"in \[0, 0\), got -1"),
        (lambda: ops.scatter(X, INDEX), ValueError, r"broadcast to `src`, \[3, 2\], got \[3\]"),
        (lambda: ops.scatter(X, INDEX[:2], 0), ValueError, "broadcast to `src`"),
        (lambda: ops.scatter(X, INDEX.view(1, 3), 0), ValueError, "broadcast to `src`"),
        (lambda: ops.scatter(X, INDEX.view(3, 1, 1), 0), ValueError, "broadcast to `src`"),
        (lambda: ops.scatter(X, INDEX.int(), 0), ValueError, r"int64, got torch.int32 \(use ind"),
        (lambda: ops.scatter(X, INDEX.float(), 0), ValueError, "must be int64"),
        (lambda: ops.scatter(X, INDEX.to("meta"), 0), ValueError, "where `src` is, .*, got meta"),
        (lambda: ops.scatter(X, INDEX, 0, dim_size=-1), ValueError, "not be negative, got -1"),
        (lambda: ops.scatter(X, INDEX, 0, dim_size=2), IndexError, r"2\), got 2 \(is `dim_size`"),
        (lambda: ops.scatter(X, INDEX - 1, 0), IndexError, r"got -1 \(a negative"),
        (lambda: ops.scatter(X, INDEX - 9, 0), IndexError, r"\[0, 0\), got -9 \(a negative"),
        (lambda: ops.scatter(X.bool(), INDEX, 0), ValueError, "real numbers, got torch.bool"),
        (lambda: ops.scatter_max(X + 1j, INDEX, 0), ValueError, "real numbers, got torch.comp"),
        (lambda: ops.scatter(X, INDEX, 0, X[:, :1]), ValueError, r"must be \[3, 2\].*\[3, 1\]"),
        (lambda: ops.scatter(X, INDEX, 0, X.double()), ValueError, "got .* torch.float64"),
        (lambda: ops.scatter_min(X, INDEX, 0, X[0]), ValueError, "as many dimensions as `src`, 2"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# The original -------------------------------------------------------------------------------------


@SETTINGS
@given(scatters(), st.sampled_from(REDUCES), st.booleans())
def test_agrees_with_torch_scatter(call: Call, reduce: str, with_out: bool) -> None:
    peer = pytest.importorskip("torch_scatter")
    if reduce == "mul" and not call.src.numel():
        return  # it gives 0
    along = call.index.size(call.dim if call.index.dim() > 1 else 0)
    if reduce == "mean" and along != call.src.size(call.dim):
        return  # it counts an index that broadcasts along `dim` once
    name, kwargs = f"scatter_{reduce}", {} if with_out else {"dim_size": call.size}
    found = []
    for module in (ops, peer):
        src, kwargs = call.leaf(), dict(kwargs)
        if with_out:
            kwargs["out"] = call.values(*call.result_shape, seed=7)
        result = getattr(module, name)(src, call.index, call.dim, **kwargs)
        value = result[0] if isinstance(result, tuple) else result
        grad = gradients(value, src) if value.requires_grad else ()
        found.append((*(result if isinstance(result, tuple) else (result,)), *grad))
    assert_same(*found)
    if not with_out:
        plain = getattr(ops, name)(call.src, call.index, call.dim)
        assert_same(plain, getattr(peer, name)(call.src, call.index, call.dim))


def test_offers_all_of_torch_scatter() -> None:
    names = """scatter_sum scatter_add scatter_mul scatter_mean scatter_min scatter_max scatter
        segment_sum_csr segment_add_csr segment_mean_csr segment_min_csr segment_max_csr segment_csr
        gather_csr segment_sum_coo segment_add_coo segment_mean_coo segment_min_coo segment_max_coo
        segment_coo gather_coo scatter_std scatter_logsumexp scatter_softmax scatter_log_softmax"""
    assert all(callable(getattr(ops, name)) for name in names.split())
