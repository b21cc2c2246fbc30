"""Pairs of nodes that are some hops apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node

from gnnlib import _sorting
from gnnlib._cache import TensorCache, capturing, version
from gnnlib._check import check_whole
from gnnlib.adjacency import Adjacency

_cache = TensorCache()


@dataclass(frozen=True, eq=False, repr=False)
class KHop:
    r"""Ordered pairs of nodes :math:`j \to i` by their distance, 1 to :math:`K` hops. Immutable.

    They are grouped by target :math:`i`, then by distance, then in order of :math:`j`. The sources
    at distance :math:`k` from :math:`i` are ``col[hop_ptr[i * K + k - 1] : hop_ptr[i * K + k]]``.
    :func:`k_hop` finds the pairs of a graph, :meth:`of` reads stored ones.

    What is read off the pairs is kept for as long as they are, for the next call: ``adj`` and
    ``by_hop`` take ``N`` and no further numbers, every :meth:`hop` as many as it has pairs, and
    ``T`` as many as these pairs do, beside a sort; so does the transpose of any of them, which a
    layer's gradient needs. A pair itself takes eight bytes.

    Args:
        hop_ptr: ``[N K + 1]`` int64, where each target's pairs of each distance begin.
        col: ``[P]`` int64, their sources.
        num_nodes: :math:`N`.
        num_hops: :math:`K`.

    Example:
        >>> pairs = KHop.of(torch.tensor([[1, 2, 1], [0, 0, 2]]), torch.tensor([1, 2, 1]), 2, 3)
        >>> pairs
        KHop(num_nodes=3, num_hops=2, num_pairs=3)
        >>> pairs.hop_ptr.tolist(), pairs.col.tolist()
        ([0, 1, 2, 2, 2, 3, 3], [1, 2, 1])
    """

    hop_ptr: Tensor
    col: Tensor
    num_nodes: int
    num_hops: int
    _kept: dict[Any, Any] = field(default_factory=dict, init=False)

    @staticmethod
    def of(k_hop_index: Tensor, distance: Tensor, num_hops: int, num_nodes: int) -> "KHop":
        """Read pairs as :class:`~gnnlib.encodings.AddKHop` stores them, or find them again for the
        same tensors.

        Pairs in the order of this class, as those of a batch are, are taken as they come; others
        are sorted.

        Args:
            k_hop_index: ``[2, P]``, sources and targets.
            distance: ``[P]`` integers in ``[1, num_hops]``.
            num_hops: the number of hops, at least 1.
            num_nodes: the number of nodes.

        Raises:
            IndexError: a node is outside ``[0, num_nodes)``.
            ValueError: a shape is wrong, a distance is out of range, or a pair is there twice at
                the same distance.
        """
        stamp = None if torch.compiler.is_compiling() else version(distance)
        if stamp is None:
            return _from_pairs(k_hop_index, distance, num_hops, num_nodes)
        # Beside the pairs stay their distances, so that no other tensor can come by the same id.
        found: tuple[Any, KHop] = _cache.find(
            k_hop_index,
            (id(distance), stamp, num_hops, num_nodes),
            lambda: (distance, _from_pairs(k_hop_index, distance, num_hops, num_nodes)),
        )
        return found[1]

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return self.col.size(0)

    @property
    def device(self) -> torch.device:
        """Where the pairs are."""
        return self.col.device

    @property
    def adj(self) -> Adjacency:
        """All pairs: ``N`` targets, whose sources come in order of their distance."""
        rowptr = self.hop_ptr[:: self.num_hops]
        adj: Adjacency = self._keep("adj", lambda: self._rows(rowptr.contiguous(), self.col))
        return adj

    @property
    def by_hop(self) -> Adjacency:
        """Pairs by distance: ``N K`` targets, where ``i * K + k - 1`` is node ``i`` at ``k``."""
        adj: Adjacency = self._keep("by_hop", lambda: self._rows(self.hop_ptr, self.col))
        return adj

    def hop(self, k: int) -> Adjacency:
        """The pairs at distance ``k``: ``N`` targets.

        Raises:
            ValueError: ``k`` is not in ``[1, num_hops]``.
        """
        if not isinstance(k, int) or not 1 <= k <= self.num_hops:
            raise ValueError(
                f"`k` must be a whole number in [1, {self.num_hops}], got {k!r} (for more hops, "
                "find their pairs)"
            )
        adj: Adjacency = self._keep(k, lambda: self._hop(k))
        return adj

    @property
    def T(self) -> "KHop":  # noqa: N802  (as on a tensor)
        """The same pairs the other way: their distances in the graph with its edges reversed."""
        back: KHop = self._keep("T", self._transposed)
        return back

    @property
    def distance(self) -> Tensor:
        """``[P]`` int64: the distance of each pair."""
        hops = torch.arange(1, self.num_hops + 1, device=self.device).repeat(self.num_nodes)
        return hops.repeat_interleave(self.hop_ptr.diff(), output_size=self.num_pairs)

    @property
    def pairs(self) -> Tensor:
        """``[2, P]``: sources and targets, an ``edge_index``."""
        return torch.stack([self.col, self._target])

    @property
    def _target(self) -> Tensor:
        nodes, count = torch.arange(self.num_nodes, device=self.device), self.adj.degree
        return nodes.repeat_interleave(count, output_size=self.num_pairs)

    def _rows(self, rowptr: Tensor, col: Tensor) -> Adjacency:
        return Adjacency(rowptr, col, None, self.num_nodes, check=False)

    def _hop(self, k: int) -> Adjacency:
        begin, end = self.hop_ptr[k - 1 : -1 : self.num_hops], self.hop_ptr[k :: self.num_hops]
        rowptr = begin.new_zeros(self.num_nodes + 1)
        rowptr[1:] = (end - begin).cumsum(0)
        shift = (begin - rowptr[:-1]).repeat_interleave(end - begin)
        place = torch.arange(shift.numel(), device=self.device) + shift
        return self._rows(rowptr, self.col[place])

    def _transposed(self) -> "KHop":
        rows = torch.stack([self._target, self.col * self.num_hops + self.distance - 1])
        # The sort is stable: within a row the nodes stay in order.
        size = self.num_nodes * self.num_hops
        hop_ptr, col, _ = _sorting.coo_to_csr(rows, self.num_nodes, size)
        return KHop(hop_ptr, col, self.num_nodes, self.num_hops)

    def _keep(self, key: Any, build: Callable[[], Any]) -> Any:
        if key in self._kept:
            return self._kept[key]
        if torch.compiler.is_compiling() or capturing(self.col):
            return build()
        with torch.inference_mode(False):  # what is kept must serve a later training step too
            return self._kept.setdefault(key, build())

    def __repr__(self) -> str:
        sizes = f"num_nodes={self.num_nodes}, num_hops={self.num_hops}, num_pairs={self.num_pairs}"
        return f"{type(self).__name__}({sizes})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (self.hop_ptr, self.col, self.num_nodes, self.num_hops)


def _from_pairs(k_hop_index: Tensor, distance: Tensor, num_hops: int, num_nodes: int) -> KHop:
    if k_hop_index.dim() != 2 or k_hop_index.size(0) != 2:
        raise ValueError(f"`k_hop_index` must be [2, P], got {list(k_hop_index.shape)}")
    if distance.shape != k_hop_index.shape[1:]:
        raise ValueError(
            f"`distance` must have one value per pair, {k_hop_index.size(1)}, got "
            f"{list(distance.shape)}"
        )
    check_whole(num_hops=num_hops)
    check_whole(0, num_nodes=num_nodes)
    compiling = torch.compiler.is_compiling()
    if not compiling:
        _check_pairs(k_hop_index, distance, num_hops, num_nodes)
    src, dst = k_hop_index.long()
    row = dst * num_hops + distance.long() - 1
    key = row * num_nodes + src
    # A check of order would make a compiled graph depend on the data.
    if compiling or not bool((key.diff() > 0).all()):
        key, order = key.sort()
        row, src = row[order], src[order]
        if not compiling and bool((key.diff() == 0).any()):
            raise ValueError(
                "`k_hop_index` must hold a pair once at a distance, but holds one twice (were "
                "graphs joined without counting their nodes on? PyG does so for names with `index`)"
            )
    hop_ptr = _sorting.index_to_ptr(row, num_nodes * num_hops)
    # A copy: what is kept must not change with the caller's tensor, nor keep it alive.
    return KHop(hop_ptr, src.clone(), num_nodes, num_hops)


def _check_pairs(k_hop_index: Tensor, distance: Tensor, num_hops: int, num_nodes: int) -> None:
    for name, values in (("k_hop_index", k_hop_index), ("distance", distance)):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"`{name}` must hold integers, got {values.dtype}")
    if distance.numel() == 0:
        return
    low, high = (int(value) for value in k_hop_index.aminmax())
    if low < 0 or high >= num_nodes:
        raise IndexError(
            f"`k_hop_index` must hold nodes in [0, {num_nodes}), got {low if low < 0 else high} "
            "(does it belong to another graph?)"
        )
    low, high = (int(value) for value in distance.aminmax())
    if low < 1 or high > num_hops:
        raise ValueError(
            f"`distance` must lie in [1, {num_hops}], got {low if low < 1 else high} "
            "(were the pairs found for more hops?)"
        )


def _loaded(hop_ptr: Tensor, col: Tensor, num_nodes: int, num_hops: int) -> KHop:
    """What was pickled, which may come from anywhere."""
    _sorting.check_csr(hop_ptr, col, None, num_nodes)
    if hop_ptr.numel() != num_nodes * num_hops + 1:
        raise ValueError(
            f"`hop_ptr` must have an entry per node and hop and one more, "
            f"{num_nodes * num_hops + 1}, got {hop_ptr.numel()}"
        )
    return KHop(hop_ptr, col, num_nodes, num_hops)


def _flatten(pairs: KHop) -> tuple[list[Any], tuple[Any, ...]]:
    kept = pairs._kept
    return [pairs.hop_ptr, pairs.col, *kept.values()], (pairs.num_nodes, pairs.num_hops, *kept)


def _unflatten(leaves: Any, context: tuple[Any, ...]) -> KHop:
    hop_ptr, col, *kept = leaves
    num_nodes, num_hops, *keys = context
    pairs = KHop(hop_ptr, col, num_nodes, num_hops)
    pairs._kept.update(zip(keys, kept, strict=True))
    return pairs


register_pytree_node(
    KHop,
    _flatten,
    _unflatten,
    serialized_type_name="gnnlib.KHop",
    to_dumpable_context=list,
    from_dumpable_context=tuple,
)
