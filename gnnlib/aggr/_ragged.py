"""What all aggregations share: rows in groups of any size and in any order, checked before work."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation

from gnnlib import _sorting
from gnnlib._cache import TensorCache
from gnnlib._check import same_device
from gnnlib.adjacency import Adjacency

_cache = TensorCache()


class RaggedAggregation(Aggregation):  # type: ignore[misc, unused-ignore]
    """A PyG ``Aggregation`` that sees the rows of every group and nothing else: no padding.

    A subclass says in :meth:`aggregate` what becomes of the rows. ``index`` need not be sorted, and
    ``dim`` may be any but the last.
    """

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,  # noqa: ARG002  (PyG's padding wants to know)
        **options: Any,
    ) -> Tensor:
        """Aggregate every group of rows, as PyG's ``Aggregation`` does.

        Args:
            x: ``[*, E, *, F]``, the rows along ``dim``.
            index: ``[E]`` int64, the group of each row, in any order.
            ptr: ``[N + 1]`` int64, group ``i`` is the rows ``ptr[i]`` to ``ptr[i + 1]``; all rows
                are in a group. One of ``index`` and ``ptr`` must be given; ``ptr`` counts if both
                are.
            dim_size: the number ``N`` of groups; by default one more than the largest.
            dim: the dimension of the rows.
            max_num_elements: not used: nothing is padded.
            options: what else :meth:`aggregate` takes, such as a ``generator``.

        Returns:
            ``[*, N, *, F_out]``.

        Raises:
            IndexError: ``index`` is negative.
            ValueError: ``dim_size`` is too small, ``ptr`` does not cover ``x`` (in a compiled graph
                and on a GPU only where it leaves the rows), or shapes or devices disagree.
        """
        if x.dim() < 2 or dim % x.dim() == x.dim() - 1:
            raise ValueError(
                f"`x` must be [*, E, *, F] with its rows along `dim`, before the last; got "
                f"{list(x.shape)} and dim={dim}"
            )
        for name, t in (("index", index), ("ptr", ptr)):
            if t is not None:
                same_device(f"`{name}`", t.device, x)
        rows = x.movedim(dim, 0)
        groups = groups_of(rows.size(0), index, ptr, dim_size)
        out: Tensor = self.aggregate(rows, groups, **options)
        return out.movedim(0, dim % x.dim()).contiguous()

    @abstractmethod
    def aggregate(self, x: Tensor, groups: Adjacency) -> Tensor:
        """What becomes of the rows of every group.

        Args:
            x: ``[E, *, F]``.
            groups: the groups of the rows, as an adjacency: group ``i`` hears from row ``j`` if row
                ``j`` is in it.

        Returns:
            ``[N, *, F_out]``, for ``N = groups.num_dst``.
        """


def groups_of(
    num_rows: int, index: Tensor | None, ptr: Tensor | None, dim_size: int | None
) -> Adjacency:
    """The adjacency from rows to the groups they are in, found again for the same tensor."""
    given = index if ptr is None else ptr
    if given is None:
        raise ValueError("one of `index` and `ptr` must be given")
    name = "index" if ptr is None else "ptr"
    if given.dim() != 1 or given.dtype != torch.int64:
        raise ValueError(
            f"`{name}` must be one-dimensional and int64, got {list(given.shape)} of {given.dtype}"
        )
    if ptr is None and given.size(0) != num_rows:
        raise ValueError(
            f"`index` must have an entry for each of the {num_rows} rows of `x`, "
            f"got {given.size(0)} (are they along another `dim`?)"
        )
    if dim_size is None:
        dim_size = given.size(0) - 1 if ptr is not None else _one_more_than_largest(given)
    size = dim_size
    if torch.compiler.is_compiling():
        return _build(given, ptr is not None, num_rows, size)
    # Views such as the rows of an `edge_index` are made anew all the time; what they view lives on.
    source = given if given._base is None else given._base
    view = (given.storage_offset(), given.size(0), given.stride(0))
    key = (*view, ptr is not None, num_rows, size)
    found: Adjacency = _cache.find(
        source, key, lambda: _build(given, ptr is not None, num_rows, size)
    )
    return found


def _one_more_than_largest(index: Tensor) -> int:
    return max(int(index.max()) + 1, 0) if index.numel() else 0


def _build(given: Tensor, is_ptr: bool, num_rows: int, size: int) -> Adjacency:
    # A look at values would make a compiled graph depend on the data, and a GPU wait.
    compiling = torch.compiler.is_compiling()
    if is_ptr:
        if not compiling and _sorting.checked(given):
            _check_ptr(given, num_rows)
        # A copy, as what is kept for a tensor must not keep the tensor; and checked by an operator,
        # which a compiled graph keeps too.
        ptr, perm = _sorting.fold_ptr(given.unsqueeze(0).contiguous(), num_rows)[:-1], None
    elif not compiling and _sorting.at_hand(given) and _sorting.is_sorted(given):
        ptr, perm = _sorting.index_to_ptr(given, size), None
    else:
        ptr, perm = _sorting.group_index(given.contiguous(), size)
    row = torch.arange(num_rows, device=given.device) if perm is None else perm
    return Adjacency(ptr, row, perm, num_rows, check=False)


def _check_ptr(ptr: Tensor, num_rows: int) -> None:
    falls = bool((ptr.diff() < 0).any())
    if ptr.numel() == 0 or ptr[0] != 0 or ptr[-1] != num_rows or falls:
        ends = [] if ptr.numel() == 0 else [int(ptr[0]), int(ptr[-1])]
        raise ValueError(
            f"`ptr` must run from 0 to the number of rows of `x`, {num_rows}, without decreasing; "
            f"got ends {ends}" + (", decreasing between them" if falls else "")
            + " (does it belong to another `x`, or another `dim`?)"
        )  # fmt: skip
