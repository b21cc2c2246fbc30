"""The normalised adjacency as an operator on node features; no edge weight is normalised."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import dropout

from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import aggregate


@dataclass(frozen=True)
class Propagation:
    r"""Sum over neighbours between two scalings of the nodes.

    .. math::
        \mathrm{out} = S (A + L) S \, x

    where :math:`A` holds the weights of the present edges. Nodes multiply and edges do not, so no
    normalised weight is ever stored.

    Args:
        edges: the edges, on as many targets as sources.
        loops: ``[N]``, the diagonal of :math:`L`, or the same number for all nodes.
        scale: ``[N, 1]``, the diagonal of :math:`S`; default ones.
    """

    edges: Edges
    loops: Tensor | float = 0.0
    scale: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``[N, F]`` to ``[N, F]``."""
        dtype, scale = x.dtype, self.scale
        if scale is not None:
            # Sums before they are scaled down pass the range of float16.
            x = x.to(scale.dtype) * scale
        out = aggregate(x, self.edges, "sum")
        # In place: nobody else has seen the sum, and a fresh matrix of nodes costs as much as it.
        if isinstance(self.loops, Tensor):
            out = out.addcmul_(self.loops.to(x.dtype).unsqueeze(-1), x)
        elif self.loops:
            out = out.add_(x, alpha=self.loops)
        return out if scale is None else out.mul_(scale).to(dtype)

    def dropped(self, p: float, dtype: torch.dtype) -> "Propagation":
        """Every edge and every loop lost with probability ``p``, the others scaled up."""
        adj, weight, loops = self.edges.adj, self.edges.weight, self.loops
        if weight is None:
            weight = torch.ones(adj.num_edges, dtype=dtype, device=adj.device)
        if not isinstance(loops, Tensor):
            loops = weight.new_full((adj.num_dst if loops else 0,), loops)
        # One draw, in PyG's order.
        drawn = dropout(torch.cat([weight, loops.to(weight.dtype)]), p)
        weight, loops = drawn[: adj.num_edges], drawn[adj.num_edges :]
        edges = replace(self.edges, weight=weight)
        return replace(self, edges=edges, loops=loops if loops.numel() else 0.0)


def gcn_propagation(
    x: Tensor, edges: Edges, fill: float = 1.0, add_self_loops: bool = True
) -> Propagation:
    r"""The symmetric normalisation of GCN (Kipf and Welling, 2017, eq. 2).

    .. math::
        \hat D^{-1/2} (A + L) \hat D^{-1/2}

    where :math:`L` holds one self loop a node (its own weight if the graph has one, ``fill``
    otherwise), and :math:`\hat D` the row sums of both: a degree counts present edges only.

    Args:
        x: ``[N, F]``, for its dtype: the operator works in float32 at least.
        edges: the edges, on as many targets as sources.
        fill: weight of an added self loop.
        add_self_loops: whether to add them.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    loops: Tensor | float = 0.0
    if add_self_loops:
        edges, loops = _split_self_loops(edges, fill, dtype)
    return Propagation(edges, loops, inverse_root(weighted_degrees(edges, dtype) + loops))


def gcn_aggregate(
    x: Tensor, edges: Edges, fill: float = 1.0, add_self_loops: bool = True
) -> Tensor:
    r"""Aggregate ``[N, F]`` once with the normalisation of :func:`gcn_propagation`."""
    return gcn_propagation(x, edges, fill, add_self_loops)(x)


def weighted_degrees(edges: Edges, dtype: torch.dtype) -> Tensor:
    """``[N_dst]``: the sum of the weights of the present edges that point to each node."""
    if edges.weight is None and not edges.gated:
        return edges.adj.degree.to(dtype)
    ones = torch.ones(edges.adj.num_src, 1, dtype=dtype, device=edges.adj.device)
    return aggregate(ones, edges, "sum").squeeze(-1)


def inverse_root(degree: Tensor) -> Tensor:
    """``[N, 1]``: one over the root of each degree, 0 for 0."""
    # Of 1 where there is 0, whose power has no derivative.
    none = degree == 0
    return torch.where(none, 1, degree).pow(-0.5).masked_fill(none, 0).unsqueeze(-1)


def without_self_loops(edges: Edges, dtype: torch.dtype) -> Edges:
    """The same edges, self loops weighing nothing."""
    if not edges.adj.has_self_loops:
        return edges
    weight = torch.ones(edges.adj.num_edges, dtype=dtype, device=edges.adj.device)
    weight = weight if edges.weight is None else edges.weight
    src, dst = edges.edge_index
    return replace(edges, weight=weight.masked_fill(src == dst, 0))


def _split_self_loops(
    edges: Edges, fill: float, dtype: torch.dtype
) -> tuple[Edges, Tensor | float]:
    if not edges.adj.has_self_loops:
        return edges, fill
    rest, (src, dst), mask = without_self_loops(edges, dtype), edges.edge_index, edges.mask
    kept = src == dst if mask is None else (src == dst) & (mask != 0)
    weight = torch.ones_like(src, dtype=dtype) if edges.weight is None else edges.weight.to(dtype)
    # Edges that are no loop write to one slot past the end, so that no shape depends on the data.
    slot = torch.where(kept, dst, edges.adj.num_dst)
    loops = weight.new_full((edges.adj.num_dst + 1,), fill).scatter(0, slot, weight)[:-1]
    return rest, loops
