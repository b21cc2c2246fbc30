"""From the index or the pointers of a call, however they broadcast, to its grouping."""

from collections.abc import Callable
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from gnnlib import _sorting
from gnnlib._cache import TensorCache
from gnnlib.ops._grouping import Grouping, Shape

Segments = tuple[Tensor, Tensor | None]  # ptr and perm
T = TypeVar("T")

# A CPU reduces rows of as many columns as they come; wider ones pay for being grouped first.
NARROW = 8

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
        raise ValueError(
            f"`{name}` must be where `src` is, {src.device}, got {index.device} "
            f"(use .to('{src.device}'))"
        )


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
    groups, index = _by_index(shape, index, dim, _needed(index, shape) if size is None else size)
    # A GPU would need atomics, which add in another order every time.
    if groups.width <= NARROW and _sorting.at_hand(index) and not segments:
        plain = groups.num_rows == groups.length  # nothing to build
        groups.index = _listed(groups, index) if plain else _found(groups, index, _listed)
    else:
        groups.ptr, groups.perm = _found(groups, index, _any_order)
    return groups


def by_sorted_index(shape: Shape, index: Tensor, size: int | None) -> Grouping:
    """Groups in order along the last dimension of ``index``."""
    if size is None:
        size = _needed(index, shape[: index.dim()])
    groups, index = _by_index(shape, index, index.dim() - 1, size)
    groups.ptr, groups.perm = _found(groups, index, _in_order)
    return groups


def by_ptr(shape: Shape, indptr: Tensor) -> Grouping:
    """Segments along the last dimension of ``indptr``."""
    dim, num_ptrs = indptr.dim() - 1, indptr.size(-1)
    _require(_broadcasts(indptr.shape[:dim], shape), "indptr", indptr, shape)
    order, num_kept = _order(shape, indptr, dim)
    groups = Grouping(shape, dim, max(num_ptrs - 1, 0), num_kept, order)
    lists = _kept((*shape[:dim], num_ptrs), indptr, order, num_kept)
    if num_ptrs == 0:
        groups.ptr = indptr.new_zeros(1)
    elif groups.batches == 1:
        groups.ptr = lists.reshape(-1)
    else:
        lists = lists.reshape(groups.batches, num_ptrs)
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


def _needed(index: Tensor, shape: Shape) -> int:
    """One more than the largest group; none where nothing is in one."""
    return max(int(index.max()) + 1, 0) if index.numel() and 0 not in shape else 0


def _by_index(shape: Shape, index: Tensor, dim: int, size: int) -> tuple[Grouping, Tensor]:
    """A grouping still to be told its groups, and the index that tells them."""
    if size < 0:
        raise ValueError(f"`dim_size` must not be negative, got {size}")
    given = index
    if index.dim() == 1 and dim > 0:
        index = index.view(*[1] * dim, -1)
    fits = index.dim() <= len(shape) and _broadcasts(index.shape, shape)
    _require(fits, "index", given, shape)
    while index.dim() > dim + 1 and not _varies(index, -1):
        index = index.select(-1, 0)
    if index.shape == shape[:1]:  # most calls
        return Grouping(shape, 0, size, 1), index
    while index.dim() <= dim:
        index = index.unsqueeze(-1)
    order, num_kept = _order(shape, index, dim)
    return Grouping(shape, dim, size, num_kept, order), _kept(shape, index, order, num_kept)


def _varies(index: Tensor, dim: int) -> bool:
    """Whether an index may differ along a dimension: it has one entry there, or was expanded."""
    return index.size(dim) != 1 and (index.stride(dim) != 0 or index.size(dim) == 0)


def _order(shape: Shape, index: Tensor, dim: int) -> tuple[Shape | None, int]:
    """The order of the dimensions, and how many come before the columns.

    Columns are the dimensions behind those of the index, or, if they are narrow, all along which it
    does not vary. ``None`` is the order as it is.
    """
    kept = [d for d in range(index.dim()) if d == dim or _varies(index, d)]
    if len(kept) == index.dim() or prod(shape[index.dim() :]) > NARROW:
        return None, index.dim()
    return (*kept, *(d for d in range(len(shape)) if d not in kept)), len(kept)


def _kept(shape: Shape, index: Tensor, order: Shape | None, num_kept: int) -> Tensor:
    """An index for ``shape``, in order and without the columns."""
    if order is not None:
        own = [d for d in order if d < index.dim()]
        index, shape = index.permute(own), tuple(shape[d] for d in own)
    while index.dim() > num_kept:
        index = index.select(-1, 0)
    return index.expand(shape[:num_kept])


def _listed(groups: Grouping, index: Tensor) -> Tensor:
    """The group of every row."""
    if groups.num_rows == groups.length:
        return index if index.dim() == 1 else index.reshape(-1)
    lists = index.reshape(groups.batches, groups.length, groups.inner)
    listed: Tensor = _sorting.fold_index(lists, groups.size)
    return listed


def _found(groups: Grouping, index: Tensor, build: Callable[[Grouping, Tensor], T]) -> T:
    """What is built from an index, built once while it lives."""
    if torch.compiler.is_compiling():
        return build(groups, index)
    # Views such as the rows of an `edge_index` are made anew all the time; what they view lives on.
    source = index if index._base is None else index._base
    view = (index.storage_offset(), index.shape, index.stride())
    key = (*view, groups.batches, groups.length, groups.size, build)
    found: T = _cache.find(source, key, lambda: build(groups, index))
    return found


def _in_order(groups: Grouping, index: Tensor) -> Segments:
    return _sorting.index_to_ptr(_listed(groups, index), groups.num_groups), None


def _any_order(groups: Grouping, index: Tensor) -> Segments:
    # A check of order would make a compiled graph depend on the data, and a GPU wait.
    blind = torch.compiler.is_compiling() or not _sorting.at_hand(index)
    listed = _listed(groups, index)
    if not blind and _sorting.is_sorted(listed):
        return _sorting.index_to_ptr(listed, groups.num_groups), None
    ptr, perm = _sorting.group_index(listed, groups.num_groups)
    return ptr, perm
