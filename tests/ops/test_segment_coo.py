"""`segment_coo` and `gather_coo` are their definition, for every index in order."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnlib import ops  # first: it imports PyG without warnings

# isort: split
import scatter_oracle as oracle
from scatter_cases import REDUCES, SETTINGS, Call, assert_same, gradients, sorted_calls

from gnnlib.testing import Sample, assert_op

NAMED = {name: getattr(ops, f"segment_{name}_coo") for name in REDUCES[:-1]}


def members(call: Call) -> Any:
    index = call.index.expand(call.src.shape[: call.dim + 1])
    return oracle.members_by_index(call.src, index, call.dim, call.size)


@SETTINGS
@given(sorted_calls(), st.sampled_from(REDUCES), st.booleans())
def test_is_its_definition(call: Call, reduce: str, with_out: bool) -> None:
    src = call.leaf()
    start = call.values(*call.result_shape, seed=7) if with_out else None
    expected = oracle.reduced(src, *members(call), reduce, start)
    out = None if start is None else start.clone()
    value = ops.segment_coo(src, call.index, out, call.size, reduce)
    assert out is None or value is out
    assert value.is_contiguous()
    assert_same(value, expected)
    if expected.requires_grad and (start is None or reduce not in ("min", "max")):
        assert_same(gradients(value, src), gradients(expected, src))
    if reduce in ("min", "max"):
        expected = oracle.extremum(src, call.dim, *members(call), reduce, start)
        result = NAMED[reduce](src, call.index, None if start is None else start.clone(), call.size)
        assert_same(result, expected)
        if expected[0].requires_grad:
            assert_same(gradients(result[0], src), gradients(expected[0], src))
    elif reduce in NAMED:
        out = None if start is None else start.clone()
        assert_same(NAMED[reduce](src, call.index, out, call.size), expected)


@SETTINGS
@given(sorted_calls(), st.booleans())
def test_gather_is_its_definition(call: Call, with_out: bool) -> None:
    src = call.values(*call.result_shape).requires_grad_()
    shape, (_, places) = tuple(call.src.shape), members(call)
    start = call.values(*shape, seed=7) if with_out else None
    expected = oracle.gathered(src, shape, places, start)
    index = call.index
    if index.size(-1) != call.src.size(call.dim):
        return  # here it is the index that tells the number of elements
    value = ops.gather_coo(src, index, start)
    assert start is None or value is start
    assert_same(value, expected)
    if expected.requires_grad:
        assert_same(gradients(value, src), gradients(expected, src))


def coo(src: Tensor, index: Tensor, size: int, reduce: str) -> Tensor:
    return ops.segment_coo(src, index, dim_size=size, reduce=reduce)


def coo_definition(src: Tensor, index: Tensor, size: int, reduce: str) -> Tensor:
    return oracle.reduced(src, *oracle.members_by_index(src, index, 0, size), reduce)


def gather(src: Tensor, index: Tensor) -> Tensor:
    return ops.gather_coo(src, index)


def test_laws() -> None:
    index = torch.tensor([0, 0, 1, 3, 3])
    for reduce in REDUCES[1:]:
        samples = [Sample((torch.randn(5, w).double(), index, 4, reduce)) for w in (1, 9)]
        linear = reduce in ("add", "mean")
        assert_op(coo, coo_definition, samples, differentiable=["src"], double_backward=linear)
    assert_op(
        gather,
        lambda src, index: src[index],
        [Sample((torch.randn(4, 3).double(), index)), Sample((torch.randn(4), index))],
        differentiable=["src"],
        double_backward=True,
        opcheck=[torch.ops.gnnlib.segment_expand.default],
    )


X, INDEX = torch.ones(3, 2), torch.tensor([0, 1, 2])


@SETTINGS
@given(sorted_calls(), st.sampled_from([-1, 2**40]), st.data())
def test_a_bad_index_anywhere_is_found(call: Call, off: int, data: Any) -> None:
    if not call.index.numel() or not call.src.numel():
        return
    index = call.index.clone()
    place = tuple(data.draw(st.integers(0, n - 1)) for n in index.shape)
    index[place] = off
    for function in (
        lambda: ops.segment_coo(call.src, index, dim_size=call.size),
        lambda: ops.segment_max_coo(call.src, index, dim_size=call.size),
        lambda: ops.gather_coo(torch.zeros(call.result_shape), index),
    ):
        with pytest.raises((IndexError, ValueError), match=r"`index` must (lie|be sorted)"):
            function()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.segment_coo(X, INDEX.flip(0)), ValueError, "must be sorted"),
        (lambda: ops.gather_coo(X, INDEX.flip(0)), ValueError, "must be sorted"),
        (lambda: ops.segment_coo(X, INDEX, reduce="amax"), ValueError, "mul, add, got 'amax'"),
        (lambda: ops.segment_coo(X, INDEX[:2]), ValueError, "broadcast to `src`"),
        (lambda: ops.segment_coo(X, INDEX[0]), ValueError, "1 to 2 dimensions.*got 0"),
        (lambda: ops.segment_coo(X, INDEX.view(1, 1, 3)), ValueError, "1 to 2 dimensions.*got 3"),
        (lambda: ops.segment_coo(X, INDEX.int()), ValueError, "must be int64"),
        (lambda: ops.segment_coo(X, INDEX, dim_size=-1), ValueError, "not be negative, got -1"),
        (lambda: ops.segment_coo(X, INDEX, dim_size=2), IndexError, r"\[0, 2\), got 2"),
        (lambda: ops.segment_coo(X, INDEX, out=X[:2].clone()), IndexError, r"\[0, 2\), got 2"),
        (lambda: ops.segment_coo(X, INDEX, X[:, :1]), ValueError, r"must be \[3, 2\].*\[3, 1\]"),
        (lambda: ops.gather_coo(X[:2], INDEX), IndexError, r"\[0, 2\), got 2"),
        (lambda: ops.gather_coo(X, INDEX, X[:2]), ValueError, r"must be \[3, 2\].*\[2, 2\]"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@SETTINGS
@given(sorted_calls(), st.sampled_from(sorted(NAMED)), st.booleans())
def test_agrees_with_torch_scatter(call: Call, reduce: str, with_out: bool) -> None:
    peer = pytest.importorskip("torch_scatter")
    first = call.index[..., 0] if call.index.size(-1) else torch.zeros(1)
    if with_out and first.any():
        return  # it reads the wrong row of `out`
    if not call.src.numel():
        return  # it may divide by zero
    found = []
    for module in (ops, peer):
        src, out = call.leaf(), call.values(*call.result_shape, seed=7) if with_out else None
        kwargs = {"out": out} if with_out else {"dim_size": call.size}
        result = getattr(module, f"segment_{reduce}_coo")(src, call.index, **kwargs)
        if with_out and isinstance(result, tuple):
            result = result[:1]  # its places are wrong where `out` wins
        value = result[0] if isinstance(result, tuple) else result
        if not with_out:
            result = (*(result if isinstance(result, tuple) else (result,)), *gradients(value, src))
        found.append(result)
    assert_same(*found)
    index = call.index.expand(call.src.shape[: call.dim + 1])
    src = call.values(*call.result_shape)
    assert_same(ops.gather_coo(src, index), peer.gather_coo(src, index))
