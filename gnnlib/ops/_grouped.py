"""From the index or the pointers of a call, however they broadcast, to its grouping."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnnlib import _sorting
from gnnlib._cache import TensorCache
from gnnlib.ops._grouping import Grouping

Shape = tuple[int, ...]
Segments = tuple[Tensor, Tensor | None]  # ptr and perm
Build = Callable[[Tensor, int], Segments]

# Rows of as many columns are reduced as they come; wider ones pay for being grouped first.
NARROW = 4

_cache = TensorCache()


def check(src: Tensor, index: Tensor, name: str = "index") -> None:
    """Raise unless the kernels know the dtypes and devices."""
    if src.is_complex() or src.dtype == torch.bool:
        raise ValueError(
            f"`src` must hold real numbers, got {src.dtype} (use src.long() or torch.view_as_real)"
        )
    if index.dtype != torch.int64:
        raise ValueError(f"`{name}` must be int64, got {index.dtype} (use {name}.long())")
    if index.device != src.device:
        raise ValueError(f"`{name}` must be where `src` is, {src.device}, got {index.device}")


def axis(src: Tensor, dim: int) -> int:
    """``dim`` counted from the front."""
    if not -src.dim() <= dim < src.dim():
        raise IndexError(
            f"`dim` must be a dimension of `src`, in [{-src.dim()}, {src.dim()}), got {dim}"
        )
    return dim % src.dim()


def last_axis(src: Tensor, index: Tensor, name: str = "index") -> int:
    """The dimension of ``src`` at the place of the last one of ``index``."""
    if not 0 < index.dim() <= src.dim():
        raise ValueError(
            f"`{name}` must have 1 to {src.dim()} dimensions, as many as `src` or fewer, "
            f"got {index.dim()}"
        )
    return index.dim() - 1


def by_index(
    shape: Shape, index: Tensor, dim: int, size: int | None, segments: bool = False
) -> Grouping:
    """Groups in any order along ``dim``; as ``segments`` even where narrow rows need none."""
    groups, flat = _flat(shape, index, dim, size)
    if groups.width <= NARROW and not segments:
        groups.index = flat
    else:
        groups.ptr, groups.perm = _segments(index, flat, groups, _any_order)
    return groups


def by_sorted_index(shape: Shape, index: Tensor, size: int | None) -> Grouping:
    """Groups in order along the last dimension of ``index``."""
    groups, flat = _flat(shape, index, index.dim() - 1, size)
    groups.ptr, groups.perm = _segments(index, flat, groups, _in_order)
    return groups


def by_ptr(shape: Shape, indptr: Tensor) -> Grouping:
    """Segments along the last dimension of ``indptr``."""
    dim = indptr.dim() - 1
    _require(_broadcasts(indptr.shape[:dim], shape), "indptr", indptr, shape)
    groups = Grouping(shape, dim, max(indptr.size(dim) - 1, 0), dim + 1)
    if indptr.size(dim) == 0:
        groups.ptr = indptr.new_zeros(1)
    elif groups.batches == 1:
        groups.ptr = indptr.reshape(-1)
    else:
        lists = indptr.expand(*shape[:dim], -1).reshape(groups.batches, indptr.size(dim))
        groups.ptr, groups.has_gaps = _sorting.fold_ptr(lists, groups.length), True
    return groups


def _require(holds: bool, name: str, index: Tensor, shape: Shape) -> None:
    if not holds:
        raise ValueError(
            f"`{name}` must broadcast to `src`, {list(shape)}, got {list(index.shape)} "
            "(is it about another dimension?)"
        )


def _broadcasts(sizes: Shape, shape: Shape) -> bool:
    return all(a in (1, b) for a, b in zip(sizes, shape, strict=False))


def _flat(shape: Shape, index: Tensor, dim: int, size: int | None) -> tuple[Grouping, Tensor]:
    """A grouping still to be told its groups, and the group of every row."""
    if size is None:
        size = max(int(index.max()) + 1, 0) if index.numel() else 0
    elif size < 0:
        raise ValueError(f"`dim_size` must not be negative, got {size}")
    if index.dim() == 1 and dim > 0:
        index = index.view(*[1] * dim, -1)
    _require(index.dim() <= len(shape) and _broadcasts(index.shape, shape), "index", index, shape)
    # Trailing dimensions along which the index does not vary are columns.
    while index.dim() > dim + 1 and (
        index.size(-1) == 1 or (index.stride(-1) == 0 and index.size(-1) > 1)
    ):
        index = index.select(-1, 0)
    while index.dim() <= dim:
        index = index.unsqueeze(-1)
    groups = Grouping(shape, dim, size, index.dim())
    index = index.expand(shape[: index.dim()])
    if groups.num_rows != groups.length:
        lists = index.reshape(groups.batches, groups.length, groups.inner)
        return groups, _sorting.fold_index(lists, size)
    return groups, index if index.dim() == 1 else index.reshape(-1)


def _segments(index: Tensor, flat: Tensor, groups: Grouping, build: Build) -> Segments:
    """The segments of an index, built once while it lives."""
    if torch.compiler.is_compiling():
        return build(flat, groups.num_groups)
    # Views such as the rows of an `edge_index` are made anew all the time; what they view lives on.
    source = index if index._base is None else index._base
    view = (index.storage_offset(), index.shape, index.stride())
    key = (*view, groups.batches, groups.length, groups.inner, groups.size, build)
    found: Segments = _cache.find(source, key, lambda: build(flat, groups.num_groups))
    return found


def _in_order(index: Tensor, size: int) -> Segments:
    return _sorting.index_to_ptr(index, size), None


def _any_order(index: Tensor, size: int) -> Segments:
    # A check of order would make a compiled graph depend on the data, and a GPU wait.
    blind = torch.compiler.is_compiling() or index.device.type != "cpu"
    if not blind and _sorting.is_sorted(index):
        return _in_order(index, size)
    ptr, perm = _sorting.group_index(index, size)
    return ptr, perm
