"""torch_scatter's ``scatter``: groups in any order."""

from torch import Tensor

from gnnlib.ops._accumulate import code, extremum, reduced, size_of
from gnnlib.ops._grouped import axis, by_index, check
from gnnlib.ops._grouping import Grouping
from gnnlib.ops._reduce import MAX, MEAN, MIN, MUL, SUM


def scatter(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    reduce: str = "sum",
) -> Tensor:
    r"""Reduce the elements of each group along a dimension.

    .. math::
        \mathrm{out}_i = \bigoplus_{e :\, \mathrm{index}_e = i} \mathrm{src}_e,
        \qquad \bigoplus \in \{\textstyle\sum, \mathrm{mean}, \min, \max, \prod\}

    As in torch_scatter (Fey, 2018), from which :doc:`torch_scatter` tells it apart.

    Args:
        src: ``[*, E, *]`` with ``E`` at ``dim``; floating point or integers.
        index: int64, the group of each element, in any order: ``[E]``, or a tensor that broadcasts
            to ``src`` from its first dimension on.
        dim: the dimension to reduce.
        out: ``[*, N, *]``, takes part in the reduction and is written to; a mean divides what it
            holds too.
        dim_size: ``N``; by default what ``out`` has, or one more than the largest group.
        reduce: ``"sum"`` (or ``"add"``), ``"mean"``, ``"min"``, ``"max"`` or ``"mul"``.

    Returns:
        ``[*, N, *]``, or ``out``; an empty group is 0, for ``"mul"`` 1. Ties share the gradient of
        an extremum evenly. Means of integers are rounded down.

    Raises:
        IndexError: a group is outside ``[0, N)``, or ``dim`` is no dimension of ``src``.
        ValueError: sizes, dtypes or devices disagree, or ``reduce`` is unknown.

    Example:
        >>> import torch
        >>> src, index = torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([1, 0, 1])
        >>> scatter(src, index, dim=0)
        tensor([[3., 4.],
                [6., 8.]])
        >>> scatter(src, index, dim=0, dim_size=3, reduce="max")
        tensor([[3., 4.],
                [5., 6.],
                [0., 0.]])
    """
    how = code(reduce)
    return reduced(groups_of(src, index, dim, out, dim_size), src, how, out)


def scatter_sum(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> Tensor:
    """Sum each group: :func:`scatter` with ``reduce="sum"``."""
    return reduced(groups_of(src, index, dim, out, dim_size), src, SUM, out)


def scatter_add(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> Tensor:
    """Sum each group: :func:`scatter` with ``reduce="sum"``."""
    return reduced(groups_of(src, index, dim, out, dim_size), src, SUM, out)


def scatter_mul(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> Tensor:
    """Multiply each group: :func:`scatter` with ``reduce="mul"``."""
    return reduced(groups_of(src, index, dim, out, dim_size), src, MUL, out)


def scatter_mean(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> Tensor:
    """Average each group: :func:`scatter` with ``reduce="mean"``."""
    return reduced(groups_of(src, index, dim, out, dim_size), src, MEAN, out)


def scatter_min(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the minimum of each group, and the first element that holds it.

    As :func:`scatter` with ``reduce="min"``, but the gradient goes to that element alone.

    Returns:
        The minima, and their places along ``dim``: ``E`` where a group is empty, or where nothing
        beats ``out``.

    Example:
        >>> import torch
        >>> scatter_min(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([0, 0, 0]), dim_size=2)
        (tensor([1., 0.]), tensor([1, 3]))
    """
    return extremum(groups_of(src, index, dim, out, dim_size), src, MIN, out)


def scatter_max(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the maximum of each group, and the first element that holds it.

    As :func:`scatter` with ``reduce="max"``, but the gradient goes to that element alone.

    Returns:
        The maxima, and their places along ``dim``: ``E`` where a group is empty, or where nothing
        beats ``out``.

    Example:
        >>> import torch
        >>> scatter_max(torch.tensor([2.0, 1.0, 2.0]), torch.tensor([0, 0, 0]), dim_size=2)
        (tensor([2., 0.]), tensor([0, 3]))
    """
    return extremum(groups_of(src, index, dim, out, dim_size), src, MAX, out)


def groups_of(
    src: Tensor,
    index: Tensor,
    dim: int,
    out: Tensor | None,
    dim_size: int | None,
    segments: bool = False,
) -> Grouping:
    """The groups of a call; as ``segments`` even where narrow rows need none."""
    check(src, index)
    dim = axis(src, dim)
    if out is not None:
        dim_size = size_of(out, src, dim)
    return by_index(src.shape, index, dim, dim_size, segments)
