"""What aggregations by a learned operation share: rows in some order, one operation for all."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from gnnlib import _sorting
from gnnlib.adjacency import Adjacency
from gnnlib.aggr._ragged import RaggedAggregation
from gnnlib.aggr._weights import Weights
from gnnlib.ops._reduce import targets


class RowwiseAggregation(RaggedAggregation):
    """Rows of ``in_channels`` to one row of ``out_channels`` per group, by a learned operation.

    Args:
        in_channels: width of the rows; -1 for that of the first input.
        out_channels: width of the result; ``None`` or -1 for that of the rows.
        shuffle: whether the rows of every group are put in a random order in training.
    """

    def __init__(self, in_channels: int, out_channels: int | None, shuffle: bool) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if value is not None and value < 1 and value != -1:
                raise ValueError(f"`{name}` must be positive, or -1, got {value}")
        self.in_channels = in_channels
        self.out_channels = in_channels if out_channels in (None, -1) else out_channels
        self.shuffle = shuffle
        self._penalty: Tensor | None = None

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.children():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def aggregate(
        self, x: Tensor, groups: Adjacency, generator: torch.Generator | None = None
    ) -> Tensor:
        """Combine the rows of every group.

        Args:
            x: ``[E, *, in_channels]``; along the dimensions between, all is done alike.
            groups: the groups of the rows.
            generator: source of the order and of the regularizers' samples; ``None`` for torch's.

        Returns:
            ``[N, *, out_channels]``.

        Raises:
            ValueError: ``x`` is not floating point or does not have ``in_channels`` columns.
        """
        if not x.is_floating_point():
            raise ValueError(f"`x` must be floating point, got {x.dtype} (use x.float())")
        self._settle(x.size(-1))
        rows, lists = (x, groups) if x.dim() == 2 else _one_list(x, groups)
        if self.training and self.shuffle:
            lists = _shuffled(lists, generator)
        out = self._combine(rows, lists, generator)
        if x.dim() == 2:
            return out
        return out.view(*x.shape[1:-1], groups.num_dst, out.size(-1)).movedim(-2, 0)

    @abstractmethod
    def _combine(self, x: Tensor, groups: Adjacency, generator: torch.Generator | None) -> Tensor:
        """:meth:`aggregate` of ``[E, in_channels]``, in the order of the groups."""

    def _settle(self, width: int) -> None:
        """Learn the widths from the weights, if a state was loaded, or from the first rows."""
        if self.in_channels == -1:
            every = [module for module in self.modules() if isinstance(module, Weights)]
            loaded = next((w.widths() for w in every if w.settled), None)
            out = width if self.out_channels == -1 else self.out_channels
            self.in_channels, self.out_channels = loaded or (width, out)
            for weights in every:
                self._settle_weights(weights)
            self._settled()
        if width != self.in_channels:
            raise ValueError(
                f"`x` must have in_channels={self.in_channels} columns, got {width} "
                "(the aggregation was made for other messages)"
            )

    def _settle_weights(self, weights: Weights) -> None:
        weights.settle(self.in_channels, self.out_channels)

    def _settled(self) -> None:
        """Called when the widths have become known."""

    def _measure(self, penalty: Tensor | None) -> None:
        """Add to what :func:`regularization` will collect."""
        if penalty is not None:
            self._penalty = penalty if self._penalty is None else self._penalty + penalty

    def __getstate__(self) -> dict[str, Any]:
        # A regularizer's value belongs to a forward pass, not to the module that is copied.
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_penalty": None}


def _one_list(x: Tensor, groups: Adjacency) -> tuple[Tensor, Adjacency]:
    """Rows ``[E, *, F]`` as so many lists of ``E`` rows one after the other, and their groups."""
    num_rows, count = x.size(0), math.prod(x.shape[1:-1])
    start = (torch.arange(count, device=x.device) * num_rows).unsqueeze(-1)
    end = start.new_full((1,), count * num_rows)
    ptr = torch.cat([(groups.rowptr[:-1] + start).flatten(), end])
    row = (groups.col + start).flatten()
    perm = None if groups.perm is None else row
    rows = x.movedim(0, -2).reshape(count * num_rows, x.size(-1))
    return rows, Adjacency(ptr, row, perm, count * num_rows, check=False)


def _shuffled(groups: Adjacency, generator: torch.Generator | None) -> Adjacency:
    """The same groups with their rows in a random order."""
    device = groups.device
    order = torch.randperm(groups.num_src, generator=generator, device=device)
    group, _ = targets(groups.rowptr, groups.col)
    of_row = torch.empty_like(group).index_copy_(0, groups.col, group)
    _, place = _sorting.group_index(of_row[order], groups.num_dst)
    row = order[place]
    # Groups keep their sizes, and so what is planned for them.
    return Adjacency(groups.rowptr, row, row, groups.num_src, check=False)
