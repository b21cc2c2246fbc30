"""torch_scatter's ``segment_coo``: groups in order, each element with its group."""

from torch import Tensor

from gnnlib.ops._accumulate import check_out, code, extremum, reduced, size_of
from gnnlib.ops._grouped import by_sorted_index, check, last_axis
from gnnlib.ops._grouping import Grouping
from gnnlib.ops._reduce import MAX, MEAN, MIN, SUM


def segment_coo(
    src: Tensor,
    index: Tensor,
    out: Tensor | None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    r"""Reduce the elements of each group, which follow one another.

    .. math::
        \mathrm{out}_i = \bigoplus_{e :\, \mathrm{index}_e = i} \mathrm{src}_e,
        \qquad \bigoplus \in \{\textstyle\sum, \mathrm{mean}, \min, \max, \prod\}

    :func:`scatter` for an index in order, which is faster. As in torch_scatter (Fey, 2018), from
    which :doc:`torch_scatter` tells it apart.

    Args:
        src: ``[*, E, *]``; floating point or integers.
        index: int64 ``[*, E]``, never decreasing along its last dimension, which is the one to
            reduce; the others broadcast to those of ``src``.
        out: ``[*, N, *]``, takes part in the reduction and is written to.
        dim_size: ``N``; by default what ``out`` has, or one more than the largest group.
        reduce: ``"sum"`` (or ``"add"``), ``"mean"``, ``"min"``, ``"max"`` or ``"mul"``.

    Returns:
        ``[*, N, *]``, or ``out``; as of :func:`scatter`.

    Raises:
        IndexError: a group is outside ``[0, N)``.
        ValueError: ``index`` is not in order, sizes, dtypes or devices disagree, or ``reduce`` is
            unknown.

    Example:
        >>> import torch
        >>> segment_coo(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 2]))
        tensor([3., 0., 4.])
    """
    how = code(reduce)
    return reduced(_groups(src, index, out, dim_size), src, how, out)


def segment_sum_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    """Sum each group: :func:`segment_coo` with ``reduce="sum"``."""
    return reduced(_groups(src, index, out, dim_size), src, SUM, out)


def segment_add_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    """Sum each group: :func:`segment_coo` with ``reduce="sum"``."""
    return reduced(_groups(src, index, out, dim_size), src, SUM, out)


def segment_mean_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    """Average each group: :func:`segment_coo` with ``reduce="mean"``."""
    return reduced(_groups(src, index, out, dim_size), src, MEAN, out)


def segment_min_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Find the minimum of each group, and the first element that holds it, as
    :func:`scatter_min`."""
    return extremum(_groups(src, index, out, dim_size), src, MIN, out)


def segment_max_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Find the maximum of each group, and the first element that holds it, as
    :func:`scatter_max`."""
    return extremum(_groups(src, index, out, dim_size), src, MAX, out)


def gather_coo(src: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    r"""Copy to every element what its group holds.

    .. math::
        \mathrm{out}_e = \mathrm{src}_{\mathrm{index}_e}

    Args:
        src: ``[*, N, *]``.
        index: int64 ``[*, E]``, never decreasing along its last dimension.
        out: ``[*, E, *]``, to be written to.

    Returns:
        ``[*, E, *]``, or ``out``.

    Raises:
        IndexError: a group is outside ``[0, N)``.
        ValueError: ``index`` is not in order, or sizes, dtypes or devices disagree.

    Example:
        >>> import torch
        >>> gather_coo(torch.tensor([1.0, 2.0]), torch.tensor([0, 0, 1]))
        tensor([1., 1., 2.])
    """
    check(src, index)
    dim = last_axis(src, index)
    shape = (*src.shape[:dim], index.size(dim), *src.shape[dim + 1 :])
    groups = by_sorted_index(shape, index, src.size(dim))
    value = groups.elements(groups.expand(groups.groups(src)))
    if out is None:
        return value
    check_out(out, src, shape)
    return out.copy_(value)


def _groups(src: Tensor, index: Tensor, out: Tensor | None, dim_size: int | None) -> Grouping:
    check(src, index)
    dim = last_axis(src, index)
    if out is not None:
        dim_size = size_of(out, src, dim)
    return by_sorted_index(src.shape, index, dim_size)
