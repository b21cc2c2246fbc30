"""How a call of torch_scatter looks to the kernels: a list of rows, each in one group.

The dimensions of a tensor are, in this order, batches ``B``, the dimension to reduce ``E``, others
along which the groups differ ``M``, and columns ``K``. It is a list of ``B * E * M`` rows, and its
``N`` groups in each batch and place of ``M`` are ``B * N * M`` groups of the list.
"""

from math import prod

import torch
from torch import Tensor

from gnnlib.ops._reduce import MEAN, SUM
from gnnlib.ops._scatter_reduce import scatter_arg, scatter_reduce
from gnnlib.ops._segment_reduce import segment_arg, segment_expand, segment_reduce

Shape = tuple[int, ...]


class Grouping:
    """The rows of a tensor of ``shape``, in ``size`` groups along ``dim``.

    The dimensions are taken in ``order``; from the ``columns_from``-th on they are the columns. The
    group of every row is in ``index``, or else the groups are the segments ``ptr`` of the rows,
    which are taken in the order ``perm``.
    """

    index: Tensor | None = None
    ptr: Tensor
    perm: Tensor | None = None
    has_gaps = False  # whether, after each batch, a segment follows that is no group

    def __init__(
        self, shape: Shape, dim: int, size: int, columns_from: int, order: Shape | None = None
    ) -> None:
        self.shape, self.result_shape = shape, _with(shape, dim, size)
        self.order = order
        if order is not None:
            shape, dim = tuple(shape[d] for d in order), order.index(dim)
        self.batches, self.length, self.size = prod(shape[:dim]), shape[dim], size
        self.inner, self.width = prod(shape[dim + 1 : columns_from]), prod(shape[columns_from:])
        self.num_rows = self.batches * self.length * self.inner
        self.num_groups = self.batches * size * self.inner

    def rows(self, src: Tensor) -> Tensor:
        """A tensor of ``shape`` as the list of its rows."""
        return self._listed(src, self.num_rows)

    def elements(self, rows: Tensor) -> Tensor:
        """The list of the rows as a tensor of ``shape``."""
        return self._tensor(rows, self.shape)

    def groups(self, a: Tensor) -> Tensor:
        """A tensor of ``result_shape`` as a list of a row per group."""
        rows = self._listed(a, self.num_groups)
        if not self.has_gaps:
            return rows
        rows = rows.view(self.batches, self.size, self.width)
        return torch.nn.functional.pad(rows, (0, 0, 0, 1)).flatten(0, 1)

    def result(self, rows: Tensor) -> Tensor:
        """A list of a row per group as a tensor of ``result_shape``."""
        if self.has_gaps:
            rows = rows.view(self.batches, self.size + 1, self.width)[:, :-1].contiguous()
        return self._tensor(rows, self.result_shape)

    def _listed(self, t: Tensor, num_rows: int) -> Tensor:
        if self.order is not None:
            t = t.permute(self.order)
        return t if t.shape == (num_rows, self.width) else t.reshape(num_rows, self.width)

    def _tensor(self, rows: Tensor, shape: Shape) -> Tensor:
        if self.order is None:
            return rows if rows.shape == shape else rows.reshape(shape)
        ordered = rows.reshape([shape[d] for d in self.order])
        return ordered.permute([self.order.index(d) for d in range(len(shape))]).contiguous()

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


def _with(shape: Shape, dim: int, size: int) -> Shape:
    return (*shape[:dim], size, *shape[dim + 1 :])
