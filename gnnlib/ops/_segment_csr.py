"""torch_scatter's ``segment_csr``: groups in order, told by where each begins."""

import torch
from torch import Tensor

from gnnlib.ops._accumulate import check_out, code, extremum, reduced, size_of
from gnnlib.ops._grouped import by_ptr, check, last_axis
from gnnlib.ops._grouping import Grouping
from gnnlib.ops._reduce import MAX, MEAN, MIN, SUM


def segment_csr(
    src: Tensor, indptr: Tensor, out: Tensor | None = None, reduce: str = "sum"
) -> Tensor:
    r"""Reduce segments of a dimension, given by where each begins and ends.

    .. math::
        \mathrm{out}_i = \bigoplus_{e = \mathrm{indptr}_i}^{\mathrm{indptr}_{i + 1} - 1}
        \mathrm{src}_e,
        \qquad \bigoplus \in \{\textstyle\sum, \mathrm{mean}, \min, \max, \prod\}

    As in torch_scatter (Fey, 2018), from which :doc:`torch_scatter` tells it apart.

    Args:
        src: ``[*, E, *]``; floating point or integers.
        indptr: int64 ``[*, N + 1]``, never decreasing along its last dimension, in ``[0, E]``; it
            segments the dimension of ``src`` at the place of its last, and its others broadcast.
            Elements before the first segment and after the last count for nothing.
        out: ``[*, N, *]``, to be overwritten.
        reduce: ``"sum"`` (or ``"add"``), ``"mean"``, ``"min"``, ``"max"`` or ``"mul"``.

    Returns:
        ``[*, N, *]``, or ``out``; an empty segment is 0, for ``"mul"`` 1. Ties share the gradient
        of an extremum evenly. Means of integers are rounded down.

    Raises:
        IndexError: an entry of ``indptr`` is outside ``[0, E]``.
        ValueError: ``indptr`` decreases, sizes, dtypes or devices disagree, or ``reduce`` is
            unknown.

    Example:
        >>> segment_csr(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 2, 3]))
        tensor([3., 0., 4.])
    """
    return _reduce(src, indptr, out, code(reduce))


def segment_sum_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum each segment: :func:`segment_csr` with ``reduce="sum"``."""
    return _reduce(src, indptr, out, SUM)


def segment_add_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum each segment: :func:`segment_csr` with ``reduce="sum"``."""
    return _reduce(src, indptr, out, SUM)


def segment_mean_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    """Average each segment: :func:`segment_csr` with ``reduce="mean"``."""
    return _reduce(src, indptr, out, MEAN)


def segment_min_csr(
    src: Tensor, indptr: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the minimum of each segment, and the first element that holds it, as
    :func:`scatter_min`; ``out`` is overwritten."""
    return _extremum(src, indptr, out, MIN)


def segment_max_csr(
    src: Tensor, indptr: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the maximum of each segment, and the first element that holds it, as
    :func:`scatter_max`; ``out`` is overwritten."""
    return _extremum(src, indptr, out, MAX)


def gather_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    r"""Copy to every element what its segment holds.

    .. math::
        \mathrm{out}_e = \mathrm{src}_i, \qquad \mathrm{indptr}_i \le e < \mathrm{indptr}_{i + 1}

    Args:
        src: ``[*, N, *]``.
        indptr: int64 ``[*, N + 1]``, never decreasing along its last dimension.
        out: ``[*, E, *]``, to be written to where a segment is.

    Returns:
        ``[*, E, *]``, by default with ``E`` the last entry of ``indptr`` and 0 where no segment is;
        or ``out``.

    Raises:
        IndexError: an entry of ``indptr`` is outside ``[0, E]``.
        ValueError: ``indptr`` decreases, or sizes, dtypes or devices disagree.

    Example:
        >>> gather_csr(torch.tensor([1.0, 2.0]), torch.tensor([0, 2, 3]))
        tensor([1., 1., 2.])
    """
    check(src, indptr, "indptr")
    dim = last_axis(src, indptr, "indptr")
    if out is not None:
        length = size_of(out, src, dim)
    else:
        length = max(int(indptr.max()), 0) if indptr.numel() else 0
    shape = (*src.shape[:dim], length, *src.shape[dim + 1 :])
    groups = by_ptr(shape, indptr)
    if src.shape != groups.result_shape:
        raise ValueError(
            f"`src` must be {list(groups.result_shape)}, with a row per segment of `indptr`, got "
            f"{list(src.shape)}"
        )
    value = groups.elements(groups.expand(groups.groups(src)))
    if out is None:
        return value
    check_out(out, src, shape)
    ones = groups.groups(torch.ones_like(src, dtype=torch.uint8))
    covered = groups.elements(groups.expand(ones))
    return out.copy_(torch.where(covered == 0, out, value))


def _groups(src: Tensor, indptr: Tensor) -> Grouping:
    check(src, indptr, "indptr")
    last_axis(src, indptr, "indptr")
    return by_ptr(src.shape, indptr)


def _reduce(src: Tensor, indptr: Tensor, out: Tensor | None, how: int) -> Tensor:
    groups = _groups(src, indptr)
    if out is not None:
        check_out(out, src, groups.result_shape)
    value = reduced(groups, src, how)
    return value if out is None else out.copy_(value)


def _extremum(src: Tensor, indptr: Tensor, out: Tensor | None, how: int) -> tuple[Tensor, Tensor]:
    groups = _groups(src, indptr)
    if out is not None:
        check_out(out, src, groups.result_shape)
    value, place = extremum(groups, src, how)
    return (value if out is None else out.copy_(value)), place
