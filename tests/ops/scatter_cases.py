"""What the tests of torch_scatter's functions draw their arguments from."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

REDUCES = ["sum", "add", "mean", "min", "max", "mul"]
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
NAN, INF = float("nan"), float("inf")
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@dataclass
class Call:
    src: Tensor
    index: Tensor  # or indptr
    dim: int
    size: int

    @property
    def result_shape(self) -> tuple[int, ...]:
        shape = list(self.src.shape)
        shape[self.dim] = self.size
        return tuple(shape)

    def values(self, *shape: int, seed: int = 1) -> Tensor:
        """Numbers of few bits, with many ties; none is zero."""
        draw = torch.Generator().manual_seed(seed)
        whole = torch.randint(1, 9, shape, generator=draw)
        sign = torch.randint(0, 2, shape, generator=draw) * 2 - 1
        return (whole * sign / 4).to(self.src.dtype)

    def leaf(self) -> Tensor:
        return self.src.clone(memory_format=torch.preserve_format).requires_grad_()


def strided(t: Tensor, how: str) -> Tensor:
    """The same numbers laid out otherwise."""
    if how == "transposed":
        return t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim())))
    if how == "sliced" and t.dim():
        wide = t.new_full((*t.shape[:-1], 2 * t.size(-1) + 1), 7)
        wide[..., 1::2] = t
        return wide[..., 1::2]
    return t


layouts = st.sampled_from(["plain", "plain", "transposed", "sliced"])


@st.composite
def shapes(draw: Any) -> tuple[list[int], int]:
    shape = draw(st.lists(st.sampled_from([0, 1, 1, 2, 2, 3, 6]), min_size=1, max_size=4))
    dim = draw(st.integers(0, len(shape) - 1))
    shape[dim] = draw(st.sampled_from([0, 1, 2, 4, 7]))
    return shape, dim


def _src(draw: Any, shape: list[int], dtype: torch.dtype) -> Tensor:
    src = Call(torch.empty(0, dtype=dtype), torch.empty(0), 0, 0).values(
        *shape, seed=draw(st.integers(0, 99))
    )
    return strided(src, draw(layouts))


@st.composite
def scatters(draw: Any, dtype: torch.dtype = torch.float64) -> Call:
    """Any index that broadcasts: of fewer dimensions, of size 1, expanded, copied."""
    shape, dim = draw(shapes())
    size = draw(st.integers(1, 4))
    varies = [draw(st.booleans()) for _ in shape]
    varies[dim] = draw(st.sampled_from([True] * 9 + [False]))
    sizes = [n if v else 1 for n, v in zip(shape, varies, strict=True)]
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    index = torch.randint(size, sizes, generator=seed)
    form = draw(st.sampled_from(["as it is", "short", "expanded", "copied"]))
    if form == "short":
        if sizes[:dim] == [1] * dim and sizes[dim + 1 :] == [1] * (len(shape) - dim - 1):
            index = index.reshape(-1)
        while index.dim() > max(dim + 1, 2) and index.size(-1) == 1:
            index = index.squeeze(-1)
    elif form != "as it is":
        index = index.expand(shape)
        index = index.contiguous() if form == "copied" else index
    return Call(_src(draw, shape, dtype), strided_index(draw, index), dim, size)


def strided_index(draw: Any, index: Tensor) -> Tensor:
    expanded = any(s == 0 for s in index.stride())
    return index if expanded else strided(index, draw(layouts))


@st.composite
def sorted_calls(draw: Any, dtype: torch.dtype = torch.float64) -> Call:
    """An index in order along its last dimension."""
    shape, dim = draw(shapes())
    size = draw(st.integers(1, 4))
    sizes = [draw(st.sampled_from([1, n])) for n in shape[:dim]] + [shape[dim]]
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    index = torch.randint(size, sizes, generator=seed).sort(-1).values
    if draw(st.booleans()):
        index = index.expand(shape[: dim + 1])
    return Call(_src(draw, shape, dtype), strided_index(draw, index), dim, size)


@st.composite
def segmented(draw: Any, dtype: torch.dtype = torch.float64) -> Call:
    """Pointers that need not begin at the first element nor end at the last."""
    shape, dim = draw(shapes())
    size = draw(st.integers(0, 4))
    sizes = [draw(st.sampled_from([1, n])) for n in shape[:dim]] + [size + 1]
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    indptr = torch.randint(shape[dim] + 1, sizes, generator=seed).sort(-1).values
    if draw(st.booleans()):
        indptr = indptr.expand(*shape[:dim], size + 1)
    return Call(_src(draw, shape, dtype), strided_index(draw, indptr), dim, size)


def gradients(out: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Of a loss that tells every element of the result."""
    grad = (torch.arange(out.numel(), dtype=out.dtype).view(out.shape) - 3) / 4
    return torch.autograd.grad(out, leaves, grad, allow_unused=True, materialize_grads=True)


def assert_same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, equal_nan=True)
