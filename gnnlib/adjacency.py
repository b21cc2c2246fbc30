"""A graph as the kernels want it, and what rides on its edges.

:class:`Adjacency` holds the edges grouped by target; :class:`Edges` is what layers hand to each
other: an adjacency with the weights, features and gates of its edges.
"""

import threading
import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex

from gnnlib import _sorting

Size = int | tuple[int, int] | None


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

    Example:
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 0, 1]])
        >>> adj = Adjacency.of(edge_index, size=3)
        >>> adj
        Adjacency(num_src=3, num_dst=3, num_edges=3)
        >>> adj.rowptr.tolist(), adj.col.tolist()
        ([0, 1, 3, 3], [1, 0, 2])
    """

    def __init__(self, rowptr: Tensor, col: Tensor, perm: Tensor | None, num_src: int) -> None:
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
        return _cache.find(edges, size)

    def _checked(self, size: Size) -> "Adjacency":
        if size is not None and _pair(size) != (self.num_src, self.num_dst):
            raise ValueError(
                f"`size` must be that of the adjacency, {(self.num_src, self.num_dst)}, got "
                f"{_pair(size)} (does `x` have a row for every node?)"
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
        if torch.compiler.is_compiling():
            return self._build_transpose()
        with torch.inference_mode(False):  # what is kept must serve a later training step too
            return self._join(self._build_transpose())

    def _known_transpose(self) -> "Adjacency | None":
        if self._transpose is None and self._transpose_of is not None:
            return self._transpose_of()
        return self._transpose

    def _build_transpose(self) -> "Adjacency":
        rowptr, col, perm = _sorting.csr_transpose(self.rowptr, self.col, self.perm, self.num_src)
        return Adjacency(rowptr, col, perm, self.num_dst)

    def _join(self, transpose: "Adjacency") -> "Adjacency":
        transpose._transpose_of = weakref.ref(self)
        self._transpose = transpose
        return transpose

    def __reduce__(self) -> tuple[Any, ...]:
        return _unflatten_adjacency, _flatten_adjacency(self)

    @property
    def edge_index(self) -> Tensor:
        """``[2, E]``: sources and targets in the caller's order of edges."""
        if self._edge_index is not None:
            return self._edge_index
        rows = torch.arange(self.num_dst, device=self.device)
        dst = rows.repeat_interleave(self.rowptr.diff(), output_size=self.num_edges)
        edge_index = torch.stack([self.col, dst])
        if self.perm is not None:
            edge_index = torch.empty_like(edge_index).index_copy_(1, self.perm, edge_index)
        if not torch.compiler.is_compiling():
            self._edge_index = edge_index
        return edge_index

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


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, (tuple, list)) else (size, size)


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
        size = int(edge_index.max()) + 1 if edge_index.numel() else 0
    num_src, num_dst = _pair(size)
    rowptr, col, perm = _sorting.coo_to_csr(edge_index, num_src, num_dst)
    # A check of order would make a compiled graph depend on the data, and a GPU wait.
    watch = torch.compiler.is_compiling() or edge_index.device.type != "cpu"
    in_order = not watch and _sorting.is_sorted(edge_index[1])
    return Adjacency(rowptr, col, None if in_order else perm, num_src)


def _from_csr(rowptr: Tensor, col: Tensor, shape: tuple[int, int], size: Size) -> Adjacency:
    num_dst, num_src = shape
    if rowptr.numel() != num_dst + 1:
        raise ValueError(
            f"`rowptr` must have one entry more than there are rows, {num_dst}, "
            f"got {rowptr.numel()}"
        )
    rowptr, col = rowptr.long().clone(), col.long().clone()
    _sorting.check_csr(rowptr, col, num_src)
    return Adjacency(rowptr, col, None, num_src)._checked(size)


def _from_sparse(adj_t: Tensor, size: Size) -> Adjacency:
    num_dst, num_src = adj_t.shape
    if adj_t.layout == torch.sparse_csr:
        return _from_csr(adj_t.crow_indices(), adj_t.col_indices(), (num_dst, num_src), size)
    if adj_t.layout == torch.sparse_csc:
        columns = _from_csr(adj_t.ccol_indices(), adj_t.row_indices(), (num_src, num_dst), None)
        return columns.T._checked(size)
    if adj_t.layout == torch.sparse_coo:
        rows, cols = adj_t._indices()
        return _from_edge_index(torch.stack([cols, rows]), (num_src, num_dst))._checked(size)
    raise TypeError(f"a sparse adjacency must be COO, CSR or CSC, got {adj_t.layout}")


def _from_pyg_edge_index(edge_index: EdgeIndex, size: Size) -> Adjacency:
    own = edge_index.sparse_size()
    if size is None and own != (None, None):
        size = tuple(edge_index.get_sparse_size())
    if size is not None:
        num_src, num_dst = _pair(size)
        if own[0] not in (None, num_src) or own[1] not in (None, num_dst):
            raise ValueError(
                f"`size` must be that of the EdgeIndex, {own}, got {(num_src, num_dst)} "
                "(does `x` have a row for every node?)"
            )
        # PyG's caches do not see edits in place, and would fill in a size that is not known.
        if edge_index.is_sorted_by_col and own[1] is not None and _version(edge_index) == (0, 0):
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


class _Cache:
    """Adjacencies by tensor identity; an entry dies with its tensor and with its version."""

    def __init__(self) -> None:
        self._entries: Any = WeakTensorKeyDictionary()
        self._lock = threading.Lock()

    def find(self, edges: Any, size: Size) -> Adjacency:
        version = _version(edges)
        key = None if size is None else _pair(size)
        with self._lock:
            known, by_size = self._entries.get(edges, (None, {})) if version else (None, {})
            if version and version == known and key in by_size:
                found: Adjacency = by_size[key]
                return found
        with torch.inference_mode(False):  # what is kept must serve a later training step too
            built = _build(edges, size)
        if version is None:
            return built
        with self._lock:
            known, by_size = self._entries.get(edges, (None, {}))
            if version != known:
                by_size = {}
                self._entries[edges] = (version, by_size)
            by_size[key] = built
        return built


def _version(edges: Any) -> tuple[int, ...] | None:
    """How often a tensor was edited in place; ``None`` for what does not count it."""
    if not isinstance(edges, Tensor):
        return None
    parts = (edges, edges.as_tensor()) if isinstance(edges, EdgeIndex) else (edges,)
    return None if any(t.is_inference() for t in parts) else tuple(t._version for t in parts)


_cache = _Cache()


@dataclass(frozen=True, eq=False)
class Edges:
    r"""The edges a layer works on: an adjacency, and what rides on it. Immutable.

    Two edge signals are never mixed. ``weight`` multiplies a message. The gates say that an edge
    *is not there*: edge :math:`(u, v)` is present iff :math:`b_u l_v \neq 0`, where :math:`b_u` is
    what the source broadcasts and :math:`l_v` how the target listens. A mean does not count an
    absent edge, a maximum does not see it. Gates live on nodes, so that they mean the same on any
    edge set.

    Args:
        adj: the edges.
        weight: ``[E]`` floating point, in the caller's order; ``None`` for ones.
        attr: ``[E, D]`` edge features, in the caller's order.
        type: ``[E]`` int64 edge types, in the caller's order.
        broadcast: ``[N_src]`` gate of each source, in ``[0, 1]``; ``None`` when all are open.
        listen: ``[N_dst]`` gate of each target, in ``[0, 1]``; ``None`` when all are open.
    """

    adj: Adjacency
    weight: Tensor | None = None
    attr: Tensor | None = None
    type: Tensor | None = None
    broadcast: Tensor | None = None
    listen: Tensor | None = None

    @staticmethod
    def of(
        edges: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
    ) -> "Edges":
        """Gather what a layer's ``forward`` was called with.

        Args:
            edges: whatever :meth:`Adjacency.of` takes, or :class:`Edges` (then returned as it is).
            edge_weight: ``[E]`` or ``[E, 1]``; by default the values of a sparse matrix.
            edge_attr: ``[E, D]`` or ``[E]``.
            size: as for :meth:`Adjacency.of`.

        Raises:
            ValueError: a signal does not have one row per edge, or is given twice.
        """
        if isinstance(edges, Edges):
            if edge_weight is not None or edge_attr is not None:
                raise ValueError("`edge_weight` and `edge_attr` are already part of `Edges`")
            edges.adj._checked(size)
            return edges
        adj = Adjacency.of(edges, size)
        if edge_weight is None:
            edge_weight = _sparse_values(edges)
        for name, signal in (("edge_weight", edge_weight), ("edge_attr", edge_attr)):
            if signal is not None and signal.size(0) != adj.num_edges:
                raise ValueError(
                    f"`{name}` must have one row per edge, {adj.num_edges}, got {signal.size(0)}"
                )
        if edge_weight is not None:
            if edge_weight.numel() != adj.num_edges:
                raise ValueError(
                    f"`edge_weight` must be [E], got {list(edge_weight.shape)} "
                    "(features of edges go into `edge_attr`)"
                )
            edge_weight = edge_weight.reshape(-1)
        return Edges(adj, edge_weight, edge_attr)

    def masked(self, broadcast: Tensor | None = None, listen: Tensor | None = None) -> "Edges":
        """These edges behind further gates; gates multiply."""
        return replace(
            self, broadcast=_times(self.broadcast, broadcast), listen=_times(self.listen, listen)
        )

    @property
    def gated(self) -> bool:
        """Whether any gate is set."""
        return self.broadcast is not None or self.listen is not None

    @property
    def T(self) -> "Edges":  # noqa: N802  (as on a tensor)
        """The same edges the other way."""
        return replace(self, adj=self.adj.T, broadcast=self.listen, listen=self.broadcast)

    @property
    def edge_index(self) -> Tensor:
        """``[2, E]`` in the caller's order of edges."""
        return self.adj.edge_index

    @property
    def mask(self) -> Tensor | None:
        """``[E]`` in the caller's order: the product of both gates, zero on an absent edge."""
        src, dst = self.edge_index
        sent = None if self.broadcast is None else self.broadcast[src]
        return _times(sent, None if self.listen is None else self.listen[dst])


def _times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a * b


def _sparse_values(edges: Any) -> Tensor | None:
    if isinstance(edges, Tensor):
        if isinstance(edges, EdgeIndex) or edges.layout == torch.strided:
            return None
        return edges._values() if edges.layout == torch.sparse_coo else edges.values()
    if hasattr(edges, "csr") and hasattr(edges, "sparse_sizes"):
        value: Tensor | None = edges.csr()[2]
        return value
    return None


def _flatten_adjacency(adj: Adjacency) -> tuple[list[Any], int]:
    t = adj._known_transpose()
    arrays = [adj.rowptr, adj.col, adj.perm]
    return arrays + ([None] * 3 if t is None else [t.rowptr, t.col, t.perm]), adj.num_src


def _unflatten_adjacency(leaves: Any, num_src: int) -> Adjacency:
    rowptr, col, perm, t_rowptr, t_col, t_perm = leaves
    adj = Adjacency(rowptr, col, perm, num_src)
    if t_rowptr is not None:
        adj._join(Adjacency(t_rowptr, t_col, t_perm, adj.num_dst))
    return adj


_EDGE_FIELDS = ("adj", "weight", "attr", "type", "broadcast", "listen")

register_pytree_node(
    Adjacency,
    _flatten_adjacency,
    _unflatten_adjacency,
    serialized_type_name="gnnlib.Adjacency",
)
register_pytree_node(
    Edges,
    lambda edges: ([getattr(edges, name) for name in _EDGE_FIELDS], None),
    lambda leaves, _: Edges(*leaves),
    serialized_type_name="gnnlib.Edges",
)
