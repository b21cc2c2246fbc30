"""What layers hand to each other: a graph, and what rides on its edges."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node
from torch_geometric import EdgeIndex

from gnnlib._cache import Size
from gnnlib.adjacency import Adjacency
from gnnlib.history import History

if TYPE_CHECKING:
    from gnnlib.ops import KHop


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
        k_hop: the pairs of nodes further apart, for delayed layers; ``None`` lets them look.
        history: what earlier layers saw, for delayed layers.
    """

    adj: Adjacency
    weight: Tensor | None = None
    attr: Tensor | None = None
    type: Tensor | None = None
    broadcast: Tensor | None = None
    listen: Tensor | None = None
    k_hop: "KHop | None" = None
    history: History | None = None

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
            edge_weight: ``[E]`` or ``[E, 1]``; by default the values of a sparse matrix, unless
                all are ones.
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
            if signal is not None and signal.shape[:1] != (adj.num_edges,):
                got = signal.size(0) if signal.dim() else "a scalar"
                raise ValueError(f"`{name}` must have one row per edge, {adj.num_edges}, got {got}")
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
        return replace(
            self,
            adj=self.adj.T,
            broadcast=self.listen,
            listen=self.broadcast,
            k_hop=None if self.k_hop is None else self.k_hop.T,
        )

    def hop(self, k: int) -> "Edges":
        """The pairs at distance ``k`` in ``k_hop`` behind the same gates; the edges for 1.

        Weights, features and types belong to edges, so pairs further apart have none.

        Raises:
            ValueError: ``k`` is beyond the first hop, and ``k_hop`` is not known.
        """
        if k == 1:
            return replace(self, k_hop=None, history=None)
        if self.k_hop is None:
            raise ValueError(
                f"pairs at distance {k} are not known: set `k_hop` (gnnlib.ops.k_hop finds them)"
            )
        return Edges(self.k_hop.hop(k), broadcast=self.broadcast, listen=self.listen)

    @property
    def edge_index(self) -> Tensor:
        """``[2, E]`` in the caller's order of edges."""
        return self.adj.edge_index

    @property
    def mask(self) -> Tensor | None:
        """``[E]`` in the caller's order: the product of both gates, zero on an absent edge."""
        if not self.gated:
            return None
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
        values = (edges.coalesce() if edges.layout == torch.sparse_coo else edges).values()
        # A torch.sparse matrix cannot be without values: ones say that there are no weights.
        learned = values.requires_grad or torch.compiler.is_compiling()
        return None if not learned and bool((values == 1).all()) else values
    if hasattr(edges, "csr") and hasattr(edges, "sparse_sizes"):
        value: Tensor | None = edges.csr()[2]
        return value
    return None


_FIELDS = ("adj", "weight", "attr", "type", "broadcast", "listen", "k_hop", "history")

register_pytree_node(
    Edges,
    lambda edges: ([getattr(edges, name) for name in _FIELDS], None),
    lambda leaves, _: Edges(*leaves),
    serialized_type_name="gnnlib.Edges",
)
