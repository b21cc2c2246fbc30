"""`segment_csr` and `gather_csr` are their definition, for all segments in range."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnlib import ops  # first: it imports PyG without warnings

# isort: split
import scatter_oracle as oracle
from scatter_cases import (
    FLOATS,
    INTEGERS,
    REDUCES,
    SETTINGS,
    Call,
    assert_same,
    gradients,
    segmented,
)

from gnnlib.testing import Sample, assert_op

NAMED = {name: getattr(ops, f"segment_{name}_csr") for name in REDUCES[:-1]}


@SETTINGS
@given(segmented(), st.sampled_from(REDUCES), st.booleans())
def test_is_its_definition(call: Call, reduce: str, with_out: bool) -> None:
    src, members = call.leaf(), oracle.members_by_ptr(call.src, call.index)

    def out() -> Tensor | None:
        return call.values(*call.result_shape, seed=7) if with_out else None

    expected = oracle.reduced(src, *members, reduce)
    given = out()
    value = ops.segment_csr(src, call.index, given, reduce)
    assert given is None or value is given
    assert value.is_contiguous()
    assert_same(value, expected)
    if expected.requires_grad:
        assert_same(gradients(value, src), gradients(expected, src))
    if reduce in ("min", "max"):
        expected = oracle.extremum(src, call.dim, *members, reduce)
        result = NAMED[reduce](src, call.index, out())
        assert_same(result, expected)
        if expected[0].requires_grad:
            assert_same(gradients(result[0], src), gradients(expected[0], src))
    elif reduce in NAMED:
        assert_same(NAMED[reduce](src, call.index, out()), expected)


@SETTINGS
@given(segmented(), st.booleans())
def test_gather_is_its_definition(call: Call, with_out: bool) -> None:
    src = call.values(*call.result_shape).requires_grad_()
    _, members = oracle.members_by_ptr(call.src, call.index)
    shape = list(call.src.shape)
    start = call.values(*shape, seed=7) if with_out else None
    if not with_out:
        shape[call.dim] = int(call.index.max()) if call.index.numel() else 0
    expected = oracle.gathered(src, tuple(shape), members, start)
    value = ops.gather_csr(src, call.index, start)
    assert start is None or value is start
    assert_same(value, expected)
    if expected.requires_grad:
        assert_same(gradients(value, src), gradients(expected, src))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_every_dtype(dtype: torch.dtype) -> None:
    src, indptr = torch.arange(-6, 6).view(6, 2).to(dtype), torch.tensor([0, 2, 2, 6])
    for reduce in REDUCES:
        out = ops.segment_csr(src, indptr, reduce=reduce)
        assert out.dtype == dtype
        assert_same(out, oracle.reduced(src, *oracle.members_by_ptr(src, indptr), reduce))
    assert_same(ops.gather_csr(src[:3], indptr), src[[0, 0, 2, 2, 2, 2]])


def csr(src: Tensor, indptr: Tensor, reduce: str) -> Tensor:
    return ops.segment_csr(src, indptr, reduce=reduce)


def csr_definition(src: Tensor, indptr: Tensor, reduce: str) -> Tensor:
    return oracle.reduced(src, *oracle.members_by_ptr(src, indptr), reduce)


@pytest.mark.parametrize("reduce", REDUCES[1:])
def test_laws(reduce: str) -> None:
    samples = [
        Sample((torch.randn(6, 3).double(), torch.tensor([0, 2, 2, 6]), reduce)),
        Sample((torch.randn(6, 9), torch.tensor([1, 2, 5]), reduce)),
        Sample((torch.randn(2, 4), torch.tensor([[0, 2, 4], [1, 1, 3]]), reduce)),
        Sample((torch.randn(2, 4), torch.tensor([[0, 2, 4]]), reduce)),
        Sample((torch.randn(6), torch.tensor([0]), reduce)),
    ]
    linear = reduce in ("add", "mean")
    assert_op(csr, csr_definition, samples, differentiable=["src"], double_backward=linear)


def test_laws_of_gather() -> None:
    def gather(src: Tensor, indptr: Tensor, length: int) -> Tensor:
        return ops.gather_csr(src, indptr, src.new_zeros(length, *src.shape[1:]))

    def expected(src: Tensor, indptr: Tensor, length: int) -> Tensor:
        return src.repeat_interleave(indptr.diff(), 0, output_size=length)

    samples = [
        Sample((torch.randn(3, 2).double(), torch.tensor([0, 2, 2, 5]), 5)),
        Sample((torch.randn(2), torch.tensor([0, 1, 4]), 4)),
    ]
    assert_op(gather, expected, samples, differentiable=["src"], double_backward=True)


@pytest.mark.parametrize("num_ptrs", [0, 1])
def test_no_segments(num_ptrs: int) -> None:
    indptr = torch.zeros(num_ptrs, dtype=torch.long)
    for shape in ((0, 3), (4, 3), (0, 0, 0, 16)):
        src = torch.randn(shape, requires_grad=True)
        out = ops.segment_csr(src, indptr)
        assert out.shape == (0, *shape[1:])
        out.backward(torch.randn_like(out))
        assert not src.grad.any()
        assert ops.gather_csr(src[:0], indptr).shape == (0, *shape[1:])
        if len(shape) == 2:
            lists = indptr.expand(shape[0], num_ptrs)
            assert ops.segment_max_csr(src, lists)[1].shape == (shape[0], 0)


X, INDPTR = torch.ones(3, 2), torch.tensor([0, 1, 3])


@SETTINGS
@given(segmented(), st.sampled_from([-1, 2**40]), st.data())
def test_a_bad_pointer_anywhere_is_found(call: Call, off: int, data: Any) -> None:
    if not call.index.numel() or not call.src.numel():
        return
    indptr = call.index.clone()
    place = tuple(data.draw(st.integers(0, n - 1)) for n in indptr.shape)
    indptr[place] = off
    for function in (
        lambda: ops.segment_csr(call.src, indptr),
        lambda: ops.segment_max_csr(call.src, indptr),
        lambda: ops.gather_csr(torch.zeros(call.result_shape), indptr, call.src.float()),
    ):
        with pytest.raises((IndexError, ValueError), match=r"`indptr` must (lie|not decrease)"):
            function()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.segment_csr(X, INDPTR.flip(0)), ValueError, "must not decrease"),
        (lambda: ops.segment_csr(X, INDPTR + 1), IndexError, r"\[0, 3\], got 4"),
        (lambda: ops.segment_csr(X, INDPTR - 1), IndexError, r"\[0, 3\], got -1"),
        (lambda: ops.segment_csr(X, INDPTR.expand(3, 3) + 1), IndexError, r"\[0, 2\], got [34]"),
        (lambda: ops.segment_csr(X, INDPTR, reduce="amax"), ValueError, "mul, add, got 'amax'"),
        (lambda: ops.segment_csr(X, INDPTR[0]), ValueError, "1 to 2 dimensions.*got 0"),
        (lambda: ops.segment_csr(X, INDPTR.view(1, 1, 3)), ValueError, "1 to 2 dimensions.*got 3"),
        (lambda: ops.segment_csr(X, INDPTR.expand(2, 3)), ValueError, "broadcast to `src`"),
        (lambda: ops.segment_csr(X, INDPTR.int()), ValueError, r"`indptr` must be int64"),
        (lambda: ops.segment_csr(X, INDPTR, X), ValueError, r"must be \[2, 2\].*\[3, 2\]"),
        (lambda: ops.segment_max_csr(X, INDPTR, X), ValueError, r"must be \[2, 2\].*\[3, 2\]"),
        (lambda: ops.gather_csr(X, INDPTR), ValueError, r"`src` must be \[2, 2\].*\[3, 2\]"),
        (lambda: ops.gather_csr(X[:2], INDPTR, X[:2]), IndexError, r"\[0, 2\], got 3"),
        (lambda: ops.gather_csr(X[:2], INDPTR, X.double()), ValueError, "torch.float64"),
        (lambda: ops.gather_csr(X[:2], INDPTR, X[0]), ValueError, "as many dimensions"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@SETTINGS
@given(segmented(), st.sampled_from(sorted(NAMED)), st.booleans())
def test_agrees_with_torch_scatter(call: Call, reduce: str, with_out: bool) -> None:
    peer = pytest.importorskip("torch_scatter")
    if not call.src.numel() or not call.size:
        return  # it may divide by zero
    covers = (call.index[..., 0] == 0).all() and (
        call.index[..., -1] == call.src.size(call.dim)
    ).all()
    found = []
    for module in (ops, peer):
        src, out = call.leaf(), call.values(*call.result_shape, seed=7) if with_out else None
        result = getattr(module, f"segment_{reduce}_csr")(src, call.index, out)
        value = result[0] if isinstance(result, tuple) else result
        if covers:  # else its gradient holds memory that nothing was written to
            result = (*(result if isinstance(result, tuple) else (result,)), *gradients(value, src))
        found.append(result)
    assert_same(*found)
    src = call.values(*call.result_shape)
    out = call.values(*call.src.shape, seed=7)
    assert_same(
        ops.gather_csr(src, call.index, out.clone()), peer.gather_csr(src, call.index, out.clone())
    )
    if covers:
        assert_same(ops.gather_csr(src, call.index), peer.gather_csr(src, call.index))
