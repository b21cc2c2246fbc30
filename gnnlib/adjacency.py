"""A graph as the kernels want it: its edges grouped by target, built once and found again."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node
from torch_geometric import EdgeIndex

from gnnlib import _sorting
from gnnlib._cache import Size, TensorCache, capturing, pair, version


class Adjacency:
    r"""The edges of a graph, grouped by target node (CSR), built once and immutable.

    Row :math:`i` of the adjacency lists the sources of the edges that point to node :math:`i`:
    ``col[rowptr[i]:rowptr[i + 1]]``. Use :meth:`of` to build one; layers do so themselves and find
    it again for the same ``edge_index``.

    Args:
        rowptr: ``[N_dst + 1]`` int64, where each target's edges begin.
        col: ``[E]`` int64, the source of each grouped edge, in ``[0, num_src)``.
        perm: ``[E]`` int64, the position of each grouped edge in the caller's order; ``None`` if it
            is the same.
        num_src: number of source nodes, at least 0.
        check: whether to check the arrays and keep copies; without, they must be right and never
            change. On a GPU, where a check makes the host wait, indices are checked, here and
            everywhere, only if the environment has ``GNNLIB_CHECK=1``.

    Raises:
        IndexError: an entry of ``col`` or ``perm`` is out of range.
        ValueError: ``rowptr`` decreases, or does not end at the number of edges.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 1]])
        >>> adj = Adjacency.of(edge_index, size=3)
        >>> adj
        Adjacency(num_src=3, num_dst=3, num_edges=3)
        >>> adj.rowptr.tolist(), adj.col.tolist()
        ([0, 1, 3, 3], [1, 0, 2])
    """

    def __init__(
        self,
        rowptr: Tensor,
        col: Tensor,
        perm: Tensor | None,
        num_src: int,
        *,
        check: bool = True,
    ) -> None:
        if check:
            rowptr, col = rowptr.clone(), col.clone()
            perm = None if perm is None else perm.clone()
            _sorting.check_csr(rowptr, col, perm, num_src)
        self.rowptr = rowptr
        self.col = col
        self.perm = perm
        self.num_src = num_src
        self._transpose: Adjacency | None = None
        # Weak, so that a graph and its transpose are no cycle: their memory is freed at once.
        self._transpose_of: weakref.ref[Adjacency] | None = None
        self._edge_index: Tensor | None = None
        self._has_self_loops: bool | None = None

    @staticmethod
    def of(edges: Any, size: Size = None) -> "Adjacency":
        """Build the adjacency of a graph, or find the one that was built for the same tensor
        before.

        The cache is weak and keyed by the tensor's identity and version: an edit in place
        (``edge_index[0, 0] = 3``) is seen, an edit behind autograd's back (``.data``, NumPy) is
        not.

        Args:
            edges: ``edge_index [2, E]`` (row 0 the sources, row 1 the targets), a PyG
                ``EdgeIndex``, a ``torch.sparse`` COO, CSR or CSC matrix or a
                ``torch_sparse.SparseTensor`` in PyG's transposed form ``adj_t [N_dst, N_src]``, or
                an :class:`Adjacency`.
            size: number of nodes, or ``(num_src, num_dst)``; by default the shape of a sparse
                matrix, or one more than the largest node id.

        Raises:
            IndexError: a node id is outside ``[0, size)``.
            TypeError: ``edges`` is not one of the kinds above, or its ids are not integers.
            ValueError: ``edge_index`` is not ``[2, E]``, or ``size`` disagrees with ``edges``.
        """
        if isinstance(edges, Adjacency):
            return edges._checked(size)
        if torch.compiler.is_compiling():
            return _build(edges, size)
        key = None if size is None else pair(size)
        found: Adjacency = _cache.find(edges, key, lambda: _build(edges, size))
        return found

    def _checked(self, size: Size) -> "Adjacency":
        if size is not None and pair(size) != (self.num_src, self.num_dst):
            raise ValueError(
                f"`size` must be that of the adjacency, {(self.num_src, self.num_dst)}, got "
                f"{pair(size)} (does `x` have a row for every node?)"
            )
        return self

    @property
    def num_dst(self) -> int:
        """Number of target nodes."""
        return self.rowptr.size(0) - 1

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return self.col.size(0)

    @property
    def device(self) -> torch.device:
        """Where the index tensors are."""
        return self.col.device

    @property
    def T(self) -> "Adjacency":  # noqa: N802  (as on a tensor)
        """The same edges the other way: grouped by source, in the same caller's order."""
        known = self._known_transpose()
        if known is not None:
            return known
        if torch.compiler.is_compiling() or capturing(self.col):
            return self._build_transpose()
        with torch.inference_mode(False):  # what is kept must serve a later training step too
            return self._join(self._build_transpose())

    def _known_transpose(self) -> "Adjacency | None":
        if self._transpose is None and self._transpose_of is not None:
            return self._transpose_of()
        return self._transpose

    def _build_transpose(self) -> "Adjacency":
        rowptr, col, perm = _sorting.csr_transpose(self.rowptr, self.col, self.perm, self.num_src)
        return Adjacency(rowptr, col, perm, self.num_dst, check=False)

    def _join(self, transpose: "Adjacency") -> "Adjacency":
        transpose._transpose_of = weakref.ref(self)
        self._transpose = transpose
        return transpose

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, _flatten_adjacency(self)

    @property
    def edge_index(self) -> Tensor:
        """``[2, E]``: sources and targets in the caller's order of edges."""
        if self._edge_index is not None:
            return self._edge_index
        if torch.compiler.is_compiling() or capturing(self.col):
            return self._ungrouped()
        with torch.inference_mode(False):
            self._edge_index = self._ungrouped()
        return self._edge_index

    def _ungrouped(self) -> Tensor:
        rows = torch.arange(self.num_dst, device=self.device)
        dst = rows.repeat_interleave(self.rowptr.diff(), output_size=self.num_edges)
        grouped = torch.stack([self.col, dst])
        if self.perm is None:
            return grouped
        return torch.empty_like(grouped).index_copy_(1, self.perm, grouped)

    @property
    def has_self_loops(self) -> bool:
        """Whether a node points to itself; inside ``torch.compile``, whether one might."""
        if self._has_self_loops is None:
            if torch.compiler.is_compiling():
                return True
            src, dst = self.edge_index
            self._has_self_loops = bool((src == dst).any())
        return self._has_self_loops

    @property
    def degree(self) -> Tensor:
        """``[N_dst]`` int64: the number of edges that point to each node."""
        return self.rowptr.diff()

    def __repr__(self) -> str:
        sizes = f"num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges}"
        return f"{type(self).__name__}({sizes})"


def _from_edge_index(edge_index: Tensor, size: Size) -> Adjacency:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            f"`edge_index` must be [2, E], got {list(edge_index.shape)} "
            "(is it transposed, or a dense adjacency matrix?)"
        )
    if edge_index.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(
            f"`edge_index` must hold integer node ids, got {edge_index.dtype} "
            "(use edge_index.long())"
        )
    edge_index = edge_index.long()
    if size is None:
        size = max(int(edge_index.max()) + 1, 0) if edge_index.numel() else 0
    num_src, num_dst = pair(size)
    rowptr, col, perm = _sorting.coo_to_csr(edge_index, num_src, num_dst)
    # A check of order would make a compiled graph depend on the data, and a GPU wait.
    blind = torch.compiler.is_compiling() or not _sorting.at_hand(edge_index)
    in_order = not blind and _sorting.is_sorted(edge_index[1])
    return Adjacency(rowptr, col, None if in_order else perm, num_src, check=False)


def _from_csr(rowptr: Tensor, col: Tensor, shape: tuple[int, int], size: Size) -> Adjacency:
    num_dst, num_src = shape
    if rowptr.numel() != num_dst + 1:
        raise ValueError(
            f"`rowptr` must have one entry more than there are rows, {num_dst}, "
            f"got {rowptr.numel()}"
        )
    adj = Adjacency(rowptr.long(), col.long(), None, num_src)
    return adj._checked(size)


def _from_sparse(adj_t: Tensor, size: Size) -> Adjacency:
    num_dst, num_src = adj_t.shape
    if adj_t.layout == torch.sparse_csr:
        return _from_csr(adj_t.crow_indices(), adj_t.col_indices(), (num_dst, num_src), size)
    if adj_t.layout == torch.sparse_csc:
        columns = _from_csr(adj_t.ccol_indices(), adj_t.row_indices(), (num_src, num_dst), None)
        return columns.T._checked(size)
    if adj_t.layout == torch.sparse_coo:
        rows, cols = adj_t.coalesce().indices()
        return _from_edge_index(torch.stack([cols, rows]), (num_src, num_dst))._checked(size)
    raise TypeError(f"a sparse adjacency must be COO, CSR or CSC, got {adj_t.layout}")


def _from_pyg_edge_index(edge_index: EdgeIndex, size: Size) -> Adjacency:
    own = edge_index.sparse_size()
    if size is None and own != (None, None):
        size = tuple(edge_index.get_sparse_size())
    if size is not None:
        num_src, num_dst = pair(size)
        if own[0] not in (None, num_src) or own[1] not in (None, num_dst):
            raise ValueError(
                f"`size` must be that of the EdgeIndex, {own}, got {(num_src, num_dst)} "
                "(does `x` have a row for every node?)"
            )
        # PyG's caches do not see edits in place, and would fill in a size that is not known.
        known = own[1] is not None and version(edge_index) == (0, 0)
        if known and edge_index.is_sorted_by_col and _sorting.is_sorted(edge_index.as_tensor()[1]):
            (colptr, row), _ = edge_index.get_csc()
            return _from_csr(colptr, row, (num_dst, num_src), None)
    return _from_edge_index(edge_index.as_tensor(), size)


def _build(edges: Any, size: Size) -> Adjacency:
    if isinstance(edges, EdgeIndex):
        return _from_pyg_edge_index(edges, size)
    if isinstance(edges, Tensor):
        return (_from_edge_index if edges.layout == torch.strided else _from_sparse)(edges, size)
    if hasattr(edges, "csr") and hasattr(edges, "sparse_sizes"):  # torch_sparse.SparseTensor
        rowptr, col, _ = edges.csr()
        return _from_csr(rowptr, col, edges.sparse_sizes(), size)
    raise TypeError(
        "a graph must be an `edge_index` tensor, EdgeIndex, torch.sparse matrix, SparseTensor or "
        f"Adjacency, got {type(edges).__name__}"
    )


_cache = TensorCache()


def _flatten_adjacency(adj: Adjacency) -> tuple[list[Any], int]:
    t = adj._known_transpose()
    arrays = [adj.rowptr, adj.col, adj.perm]
    return arrays + ([None] * 3 if t is None else [t.rowptr, t.col, t.perm]), adj.num_src


def _loaded(leaves: Any, num_src: int) -> Adjacency:
    """What was pickled, which may come from anywhere."""
    adj = _unflatten_adjacency(leaves, num_src)
    for way in (adj, adj._known_transpose()):
        if way is not None:
            _sorting.check_csr(way.rowptr, way.col, way.perm, way.num_src)
    return adj


def _unflatten_adjacency(leaves: Any, num_src: int) -> Adjacency:
    rowptr, col, perm, t_rowptr, t_col, t_perm = leaves
    adj = Adjacency(rowptr, col, perm, num_src, check=False)
    if t_rowptr is not None:
        adj._join(Adjacency(t_rowptr, t_col, t_perm, adj.num_dst, check=False))
    return adj


register_pytree_node(
    Adjacency,
    _flatten_adjacency,
    _unflatten_adjacency,
    serialized_type_name="gnnlib.Adjacency",
)
