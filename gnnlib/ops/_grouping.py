"""How a call of torch_scatter looks to the kernels: a list of rows, each in one group.

A tensor ``[B, E, M, K]``, of which ``E`` is the dimension to reduce and ``M`` those behind it along
which the groups differ, is a list of ``B * E * M`` rows of ``K`` columns; ``N`` groups in each
batch and column of ``M`` are ``B * N * M`` groups of the list.
"""

from math import prod

import torch
from torch import Tensor

from gnnlib.ops._reduce import MEAN, SUM
from gnnlib.ops._scatter_reduce import scatter_arg, scatter_reduce
from gnnlib.ops._segment_reduce import segment_arg, segment_expand, segment_reduce


class Grouping:
    """The rows of a tensor of ``shape``, in ``size`` groups along ``dim``.

    The dimensions from ``columns_from`` on are the columns. The group of every row is in ``index``,
    or else the groups are the segments ``ptr`` of the rows, which are taken in the order ``perm``.
    """

    index: Tensor | None = None
    ptr: Tensor
    perm: Tensor | None = None
    has_gaps = False  # whether, after each batch, a segment follows that is no group

    def __init__(self, shape: tuple[int, ...], dim: int, size: int, columns_from: int) -> None:
        self.batches, self.length, self.size = prod(shape[:dim]), shape[dim], size
        self.inner, self.width = prod(shape[dim + 1 : columns_from]), prod(shape[columns_from:])
        self.num_rows = self.batches * self.length * self.inner
        self.num_groups = self.batches * size * self.inner
        self.result_shape = (*shape[:dim], size, *shape[dim + 1 :])

    def rows(self, src: Tensor) -> Tensor:
        """A tensor of ``shape`` as the list of its rows."""
        shape = (self.num_rows, self.width)
        return src if src.shape == shape else src.reshape(shape)

    def groups(self, a: Tensor) -> Tensor:
        """A tensor of ``result_shape`` as a list of a row per group."""
        if self.has_gaps:
            a = a.reshape(self.batches, self.size, self.width)
            return torch.nn.functional.pad(a, (0, 0, 0, 1)).flatten(0, 1)
        return a.reshape(self.num_groups, self.width)

    def result(self, rows: Tensor) -> Tensor:
        """A list of a row per group as a tensor of ``result_shape``."""
        if self.has_gaps:
            rows = rows.view(self.batches, self.size + 1, self.width)[:, :-1]
        return rows if rows.shape == self.result_shape else rows.reshape(self.result_shape)

    def places(self, arg: Tensor) -> Tensor:
        """Places in the list as places along ``dim``, whose length stands for none."""
        if self.num_rows != self.length:
            along = arg.div(self.inner, rounding_mode="floor") % self.length
            arg = torch.where(arg == self.num_rows, self.length, along)
        return self.result(arg)

    def reduce(self, x: Tensor, how: int) -> Tensor:
        """Reduce a list of rows to one row per group."""
        if how == MEAN and not x.is_floating_point():
            total = self.reduce(x, SUM)
            return total.div(self.count().clamp(min=1), rounding_mode="floor").to(x.dtype)
        out: Tensor
        if self.index is None:
            out = segment_reduce(x, self.ptr, self.perm, how)
        else:
            out = scatter_reduce(x, self.index, self.num_groups, how)
        return out

    def extremum(self, x: Tensor, how: int) -> tuple[Tensor, Tensor]:
        """The extremum of each group, and the place of the row that holds it first."""
        out: tuple[Tensor, Tensor]
        if self.index is None:
            out = segment_arg(x, self.ptr, self.perm, how)
        else:
            out = scatter_arg(x, self.index, self.num_groups, how)
        return out

    def expand(self, a: Tensor) -> Tensor:
        """Copy a list of a row per group to all the rows of each."""
        if self.index is not None:
            return a.index_select(0, self.index)
        out: Tensor = segment_expand(a, self.ptr, self.perm, self.num_rows)
        return out

    def count(self) -> Tensor:
        """``[num_groups, 1]`` int64: how many rows each group has."""
        if self.index is None:
            return self.ptr.diff().unsqueeze(-1)
        out: Tensor = scatter_reduce(
            torch.ones_like(self.index).unsqueeze(-1), self.index, self.num_groups, SUM
        )
        return out
