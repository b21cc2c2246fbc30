"""Operators that group edges: a list of edges to CSR, and CSR to its transpose.

A GPU runs what is written here: torch's own stable sort, a radix sort that is kept up with every
GPU, leaves no kernel of ours anything to do. There the host never waits, nor are values looked at,
unless ``GNNLIB_CHECK=1`` asks for it.
"""

import os

import torch
from torch import Tensor

from gnnlib._library import register


def at_hand(values: Tensor) -> bool:
    """Whether the host sees values without having to wait for a GPU."""
    return values.device.type == "cpu"


def checked(indices: Tensor) -> bool:
    """Whether indices are checked: where they are at hand, or else if ``GNNLIB_CHECK=1``."""
    return at_hand(indices) or os.environ.get("GNNLIB_CHECK") == "1"


def _check_range(nodes: Tensor, size: int, end: str) -> None:
    if not checked(nodes):
        return
    bad = nodes[(nodes < 0) | (nodes >= size)]
    if bad.numel():
        raise IndexError(
            f"`edge_index` must hold {end} nodes in [0, {size}), got {int(bad[0])} "
            "(does `x` have a row for every node, or is `size` too small?)"
        )


def check_ptr(ptr: Tensor, size: int) -> None:
    """Raise unless segments, along the last dimension, are parts of a list of ``size`` elements."""
    if not checked(ptr):
        return
    if (ptr.diff() < 0).any():
        raise ValueError("`indptr` must not decrease")
    bad = ptr[(ptr < 0) | (ptr > size)]
    if bad.numel():
        raise IndexError(
            f"`indptr` must lie in [0, {size}], got {int(bad[0])} "
            "(does it belong to another `src`, or another `dim`?)"
        )


def check_index(index: Tensor, size: int) -> None:
    """Raise IndexError unless groups lie in ``[0, size)``."""
    if size < 0:
        raise ValueError(f"`dim_size` must not be negative, got {size}")
    if not checked(index):
        return
    bad = index[(index < 0) | (index >= size)]
    if bad.numel():
        first = int(bad[0])
        raise IndexError(
            f"`index` must lie in [0, {size}), got {first} "
            + ("(a negative index is never a group; was it padding?)" if first < 0
               else "(is `dim_size` or `out` too small?)")
        )  # fmt: skip


def _group(key: Tensor, size: int) -> tuple[Tensor, Tensor]:
    if size < 2**31:
        key = key.int()  # half the passes of a radix sort
    key, perm = key.sort(stable=True)
    return torch.searchsorted(key, torch.arange(size + 1, dtype=key.dtype, device=key.device)), perm


def _is_sorted_reference(index: Tensor) -> bool:
    return bool((index[1:] >= index[:-1]).all())


def _coo_to_csr_reference(
    edge_index: Tensor, num_src: int, num_dst: int
) -> tuple[Tensor, Tensor, Tensor]:
    src, dst = edge_index
    if num_src < 0 or num_dst < 0:
        raise ValueError("`size` must not be negative")
    _check_range(src, num_src, "source")
    _check_range(dst, num_dst, "target")
    rowptr, perm = _group(dst, num_dst)
    return rowptr, src[perm], perm


def _csr_transpose_reference(
    rowptr: Tensor, col: Tensor, perm: Tensor | None, num_src: int
) -> tuple[Tensor, Tensor, Tensor]:
    _check_range(col, num_src, "source")
    rows = torch.arange(rowptr.numel() - 1, device=col.device)
    rows = rows.repeat_interleave(rowptr.diff(), output_size=col.numel())
    t_rowptr, order = _group(col, num_src)
    return t_rowptr, rows[order], order if perm is None else perm[order]


def _check_csr_reference(rowptr: Tensor, col: Tensor, perm: Tensor | None, num_src: int) -> None:
    if num_src < 0:
        raise ValueError(f"`num_src` must not be negative, got {num_src}")
    if perm is not None and perm.shape != col.shape:
        raise ValueError(f"`perm` must have one entry per edge, {col.numel()}")
    if not checked(col):
        return
    if rowptr[0] != 0 or rowptr[-1] != col.numel() or (rowptr.diff() < 0).any():
        raise ValueError(
            f"`rowptr` must run from 0 to the number of edges, {col.numel()}, without decreasing"
        )
    _check_range(col, num_src, "source")
    every = torch.arange(col.numel(), device=col.device)
    if perm is not None and not torch.equal(perm.sort().values, every):
        raise IndexError(f"`perm` must hold every edge in [0, {perm.numel()}) once")


def _group_index_reference(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    check_index(index, size)
    return _group(index, size)


def _index_to_ptr_reference(index: Tensor, size: int) -> Tensor:
    check_index(index, size)
    if checked(index) and not _is_sorted_reference(index):
        raise ValueError("`index` must be sorted along its last dimension (use scatter instead)")
    ends = torch.arange(size + 1, device=index.device)
    return torch.searchsorted(index.contiguous(), ends)


def _fold_index_reference(index: Tensor, size: int) -> Tensor:
    """Batches ``[B, E, M]`` of groups to one list of them, ``(b * size + group) * M + m``.

    Checked first, or a bad index would land in another batch's group.
    """
    check_index(index, size)
    batch = torch.arange(index.size(0), device=index.device).view(-1, 1, 1) * size
    column = torch.arange(index.size(2), device=index.device)
    return ((index + batch) * index.size(2) + column).flatten()


def _fold_ptr_reference(ptr: Tensor, size: int) -> Tensor:
    """The segments ``[B, N + 1]`` of B lists of ``size`` elements to those of one list.

    What lies between the segments of two lists becomes a segment too, the last of each N + 1.
    """
    check_ptr(ptr, size)
    shifted = ptr + torch.arange(ptr.size(0), device=ptr.device).unsqueeze(-1) * size
    end = shifted.new_full((1,), ptr.size(0) * size)
    return torch.cat([shifted.flatten(), end])


def _grouped_fake(edges: Tensor, num_edges: int, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    return edges.new_empty(num_rows + 1), edges.new_empty(num_edges), edges.new_empty(num_edges)


is_sorted = register("is_sorted", _is_sorted_reference, _is_sorted_reference)
coo_to_csr = register(
    "coo_to_csr",
    _coo_to_csr_reference,
    lambda edge_index, num_src, num_dst: _grouped_fake(edge_index, edge_index.size(1), num_dst),
)
csr_transpose = register(
    "csr_transpose",
    _csr_transpose_reference,
    lambda rowptr, col, perm, num_src: _grouped_fake(col, col.size(0), num_src),
)
check_csr = register("check_csr", _check_csr_reference, lambda rowptr, col, perm, num_src: None)
group_index = register(
    "group_index",
    _group_index_reference,
    lambda index, size: (index.new_empty(size + 1), index.new_empty(index.size(0))),
)
index_to_ptr = register(
    "index_to_ptr", _index_to_ptr_reference, lambda index, size: index.new_empty(size + 1)
)
fold_index = register(
    "fold_index", _fold_index_reference, lambda index, size: index.new_empty(index.numel())
)
fold_ptr = register(
    "fold_ptr", _fold_ptr_reference, lambda ptr, size: ptr.new_empty(ptr.numel() + 1)
)
