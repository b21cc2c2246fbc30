"""Standard deviation, log-sum-exp and softmax of groups are their definition."""

from itertools import product
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
from scatter_cases import FLOATS, INF, NAN, SETTINGS, Call, assert_same, gradients, scatters

from gnnlib.testing import Sample, assert_op


def std(
    src: Tensor,
    index: Tensor,
    dim: int,
    size: int,
    unbiased: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """The root of the mean square, whose derivative is 0 where there is none."""
    shape, members = oracle.members_by_index(src, index, dim, size)
    values = []
    for group in product(*map(range, shape)):
        elements = [src[place] for place in members[group]]
        total = src.new_tensor(0) if out is None else out[group]
        if elements:
            x = torch.stack(elements)
            total = total + (x - x.mean()).square().sum()
        count = max(len(elements) - unbiased, 1)
        values.append(total.sqrt() / (count + 1e-6) ** 0.5 if total != 0 else 0 * total)
    return torch.stack(values).view(shape) if values else src.new_zeros(shape)


def logsumexp(
    src: Tensor,
    index: Tensor,
    dim: int,
    size: int,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    shape, members = oracle.members_by_index(src, index, dim, size)
    values = []
    for group in product(*map(range, shape)):
        elements = [src[place] for place in members[group]]
        value = src.new_tensor(0) if out is None else out[group]
        if elements:
            x = torch.stack(elements)
            own = _with_eps(x, eps)
            value = own if out is None else torch.logaddexp(value, own)
        values.append(value)
    return torch.stack(values).view(shape) if values else src.new_zeros(shape)


def _with_eps(x: Tensor, eps: float) -> Tensor:
    top = x.detach().amax()
    return x.logsumexp(0) if top.isinf() else ((x - top).exp().sum() + eps).log() + top


def softmax(src: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
    shape, members = oracle.members_by_index(src, index, dim, size)
    values: dict[Any, Tensor] = {}
    for group in product(*map(range, shape)):
        if members[group]:
            x = torch.stack([src[place] for place in members[group]])
            values |= zip(members[group], x.softmax(0), strict=True)
    filled = [values[place] for place in product(*map(range, src.shape))]
    return torch.stack(filled).view(src.shape) if filled else src.new_zeros(src.shape)


def log_softmax(src: Tensor, index: Tensor, dim: int, size: int, eps: float = 1e-12) -> Tensor:
    shape, members = oracle.members_by_index(src, index, dim, size)
    values: dict[Any, Tensor] = {}
    for group in product(*map(range, shape)):
        if members[group]:
            x = torch.stack([src[place] for place in members[group]])
            values |= zip(members[group], x - _with_eps(x, eps), strict=True)
    filled = [values[place] for place in product(*map(range, src.shape))]
    return torch.stack(filled).view(src.shape) if filled else src.new_zeros(src.shape)


@SETTINGS
@given(scatters(), st.booleans(), st.booleans())
def test_std_is_its_definition(call: Call, unbiased: bool, with_out: bool) -> None:
    src = call.leaf()
    start = call.values(*call.result_shape, seed=7).abs() if with_out else None
    expected = std(src, call.index, call.dim, call.size, unbiased, start)
    out = None if start is None else start.clone()
    value = ops.scatter_std(src, call.index, call.dim, out, call.size, unbiased)
    assert value.is_contiguous()
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-7)
    if expected.requires_grad:
        torch.testing.assert_close(gradients(value, src), gradients(expected, src))
    if out is not None:
        assert value is not out  # which holds sums of squares


@SETTINGS
@given(scatters(), st.sampled_from([1e-12, 0.0, 0.5]), st.booleans())
def test_logsumexp_is_its_definition(call: Call, eps: float, with_out: bool) -> None:
    src = call.leaf()
    start = call.values(*call.result_shape, seed=7) if with_out else None
    expected = logsumexp(src, call.index, call.dim, call.size, eps, start)
    out = None if start is None else start.clone()
    value = ops.scatter_logsumexp(src, call.index, call.dim, out, call.size, eps)
    assert out is None or value is out
    assert_same(value, expected)
    if expected.requires_grad:
        assert_same(gradients(value, src), gradients(expected, src))


@SETTINGS
@given(scatters(), st.sampled_from([1e-12, 0.0, 0.5]))
def test_softmax_is_its_definition(call: Call, eps: float) -> None:
    src, args = call.leaf(), (call.index, call.dim)
    for value, expected in (
        (ops.scatter_softmax(src, *args, call.size), softmax(src, *args, call.size)),
        (
            ops.scatter_log_softmax(src, *args, eps, call.size),
            log_softmax(src, *args, call.size, eps),
        ),
    ):
        assert_same(value, expected)
        if expected.requires_grad:
            assert_same(gradients(value, src), gradients(expected, src))


def test_laws() -> None:
    index = torch.tensor([1, 3, 1, 0, 1])
    samples = [
        Sample((torch.randn(5, 3, dtype=torch.float64), index, 0, 4)),
        Sample((torch.randn(5, 9), index, 0, 4)),
        Sample((torch.randn(2, 5), index, 1, 4)),
        Sample((torch.randn(2, 5, 2), torch.randint(4, (2, 5, 2)), 1, 4)),
        Sample((torch.randn(0, 3), index[:0], 0, 4)),
    ]
    faces: list[tuple[Any, Any]] = [
        (lambda x, i, dim, size: ops.scatter_softmax(x, i, dim, size), softmax),
        (
            lambda x, i, dim, size: ops.scatter_log_softmax(x, i, dim, dim_size=size),
            lambda x, i, dim, size: log_softmax(x, i, dim, size, 0.0),
        ),
        (
            lambda x, i, dim, size: ops.scatter_logsumexp(x, i, dim, dim_size=size),
            lambda x, i, dim, size: logsumexp(x, i, dim, size, 0.0),
        ),
    ]
    for face, definition in faces:
        assert_op(face, definition, samples, differentiable=[0], double_backward=True)
    groups = torch.tensor([1, 0, 1, 0, 1])  # a root has no second derivative in groups of one
    samples = [Sample((torch.randn(5, w, dtype=torch.float64), groups, 0, 2)) for w in (3, 9)]
    assert_op(
        lambda x, i, dim, size: ops.scatter_std(x, i, dim, dim_size=size),
        std,
        samples,
        differentiable=[0],
        double_backward=True,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_float(dtype: torch.dtype) -> None:
    src, index = (torch.arange(12).view(6, 2) / 4).to(dtype), torch.tensor([2, 0, 2, 2, 5, 0])
    near = {torch.bfloat16: 0.02, torch.float16: 0.004}.get(dtype, 1e-5)
    args, wide = (index, 0, 6), src.double()
    for value, expected in (
        (ops.scatter_softmax(src, *args), softmax(wide, *args)),
        (ops.scatter_log_softmax(src, index, 0, dim_size=6), log_softmax(wide, *args)),
        (ops.scatter_logsumexp(src, index, 0, dim_size=6), logsumexp(wide, *args)),
        (ops.scatter_std(src, index, 0, dim_size=6), std(wide, *args)),
    ):
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), expected, rtol=near, atol=near)


def test_a_std_of_integers() -> None:
    src, index = torch.tensor([1, 2, 3, 6]), torch.tensor([0, 0, 1, 1])
    assert_same(ops.scatter_std(src, index), ops.scatter_std(src.float(), index))


@pytest.mark.parametrize("width", [1, 20])
def test_what_is_not_finite(width: int) -> None:
    column = torch.tensor([-INF, -INF, -INF, 1, NAN, 2, INF, 0, 1000, 999])
    src = column.view(-1, 1).repeat(1, width)
    index = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4, 5, 5])
    for eps in (1e-12, 0.5):
        value = ops.scatter_logsumexp(src, index, 0, eps=eps)
        assert_same(value, logsumexp(src, index, 0, 6, eps))
    assert_same(ops.scatter_softmax(src, index, 0), softmax(src, index, 0, 6))
    empty = ops.scatter_logsumexp(src[:0], index[:0], 0, dim_size=3)
    assert_same(empty, torch.zeros(3, width))


def test_alike_elements_have_a_gradient() -> None:
    src = torch.tensor([2.0, 2.0, 5.0], requires_grad=True)
    (grad,) = gradients(ops.scatter_std(src, torch.tensor([0, 0, 1])), src)
    assert_same(grad, torch.zeros(3))


def test_compiles() -> None:
    def function(src: Tensor, index: Tensor, like: Tensor) -> Tensor:
        weight = ops.scatter_softmax(src, index, 0, dim_size=like.size(0))
        return weight + ops.scatter_std(src, index, 0, dim_size=like.size(0)).sum()

    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for n in range(4, 14):
        src, index = torch.randn(3 * n, 2, requires_grad=True), torch.arange(3 * n) % n
        out, expected = (f(src, index, torch.empty(n)) for f in (compiled, function))
        assert_same(out, expected)
        torch.testing.assert_close(gradients(out, src), gradients(expected, src))
    assert counter.frame_count <= 2


X, INDEX = torch.ones(3, 2), torch.tensor([0, 2, 1])


@pytest.mark.parametrize(
    "face", [ops.scatter_std, ops.scatter_logsumexp, ops.scatter_softmax, ops.scatter_log_softmax]
)
def test_a_wrong_call_says_what_to_do(face: Any) -> None:
    with pytest.raises(IndexError, match=r"`index` must lie in \[0, 2\), got 2"):
        face(X, INDEX, 0, dim_size=2)
    with pytest.raises(IndexError, match="got -1"):
        face(X, INDEX - 1, 0)
    with pytest.raises(ValueError, match="broadcast to `src`"):
        face(X, INDEX)
    if face is not ops.scatter_std:
        with pytest.raises(ValueError, match=rf"`{face.__name__}` needs .*got torch.int64"):
            face(X.long(), INDEX, 0)


@pytest.mark.parametrize("face", [ops.scatter_std, ops.scatter_logsumexp])
def test_a_wrong_out_says_what_it_must_be(face: Any) -> None:
    with pytest.raises(ValueError, match=r"`out` must be \[3, 2\].*got \[3, 1\]"):
        face(X, INDEX, 0, out=X[:, :1])


@SETTINGS
@given(scatters(), st.booleans())
def test_agrees_with_torch_scatter(call: Call, with_out: bool) -> None:
    peer = pytest.importorskip("torch_scatter")
    along = call.index.size(call.dim if call.index.dim() > 1 else 0)
    if not call.src.numel() or along != call.src.size(call.dim):
        return
    names = ["std", "logsumexp"] if with_out else ["std", "logsumexp", "softmax", "log_softmax"]
    _, members = oracle.members_by_index(call.src, call.index, call.dim, call.size)
    for name in names:
        found = []
        for module in (ops, peer):
            src, kwargs = call.leaf(), {}
            if with_out:
                kwargs["out"] = call.values(*call.result_shape, seed=7).abs()
            value = getattr(module, f"scatter_{name}")(src, call.index, call.dim, **kwargs)
            if with_out and name == "logsumexp":  # it forgets `out` where a group is empty,
                kept = [value[group] for group, of in members.items() if of]
                value, grad = torch.stack(kept), src  # and has no gradient
            else:
                grad = gradients(value, src)[0].nan_to_num(0)
            found.append((value, grad, kwargs.get("out") if name == "std" else None))
        (value, grad, out), (peer_value, peer_grad, peer_out) = found
        torch.testing.assert_close(value, peer_value)
        torch.testing.assert_close(grad, peer_grad, rtol=1e-6, atol=1e-6)
        assert_same(out, peer_out)
