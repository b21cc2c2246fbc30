"""DIMPA: nodes as senders and as receivers, averaged along and against the edges."""

from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.lowering import aggregate
from gnnlib.lowering._propagation import weighted_degrees


class DIMPAConv(nn.Module):
    r"""Directed mixed-path aggregation: averages of several hops, out of a node and into it.

    .. math::
        Z = \Big[ \sum_{h=0}^{\mathrm{hop}} \omega^s_h \bar A_s^h X_s \,\Big\|\,
        \sum_{h=0}^{\mathrm{hop}} \omega^t_h \bar A_t^h X_t \Big], \qquad
        \bar A_s = \mathrm{rownorm}(A + \tau I), \; \bar A_t = \mathrm{rownorm}(A^\top + \tau I)

    from He et al., 2022, "DIGRAC: Digraph Clustering Based on Flow Imbalance". :math:`A_{uv}` is
    the weight of the edges from :math:`u` to :math:`v`, so that a node averages its features as a
    source over whom it points to, and those as a target over who points to it. The
    :math:`\omega` are learned and begin at 1. A row of zeros stays zero (:math:`\tau = 0`).

    Args:
        hop: the longest path, at least 1.
        tau: :math:`\tau \geq 0`, the weight of a node in its own average.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> conv = DIMPAConv(hop=2)
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> conv(x, x, edge_index).shape
        torch.Size([3, 16])
    """

    def __init__(self, hop: int, tau: float = 0.5) -> None:
        super().__init__()
        if hop < 1:
            raise ValueError(f"`hop` must be at least 1, got {hop}")
        if not tau >= 0:
            raise ValueError(f"`tau` must not be negative, got {tau}")
        self.hop = hop
        self.tau = tau
        self.weight_source = nn.Parameter(torch.empty(hop + 1))
        self.weight_target = nn.Parameter(torch.empty(hop + 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight of every hop to 1."""
        nn.init.ones_(self.weight_source)
        nn.init.ones_(self.weight_target)

    def forward(
        self,
        x_source: Tensor,
        x_target: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Average over paths.

        Args:
            x_source: ``[N, D]``, what a node is as a source.
            x_target: ``[N, D']``, what it is as a target.
            edge_index: the directed graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, not negative.

        Returns:
            ``[N, D + D']``.

        Raises:
            ValueError: the features are no matrices of as many rows, or the graph is bipartite.
        """
        for x in (x_source, x_target):
            if x.dim() != 2 or x.size(0) != x_source.size(0):
                raise ValueError(
                    "`x_source` and `x_target` must be matrices with a row for every node, got "
                    f"{list(x_source.shape)} and {list(x_target.shape)}"
                )
        edges = Edges.of(edge_index, edge_weight, size=x_source.size(0))
        return self.forward_edges((x_source, x_target), edges)

    def forward_edges(
        self,
        x: tuple[Tensor, Tensor],
        edges: Edges,
        generator: torch.Generator | None = None,  # noqa: ARG002  (as in all layers)
    ) -> Tensor:
        """As :meth:`forward`, on edges from source to target."""
        sides = ((x[0], edges.T, self.weight_source), (x[1], edges, self.weight_target))
        return torch.cat([self._over_paths(*side) for side in sides], dim=1)

    def _over_paths(self, x: Tensor, edges: Edges, weight: Tensor) -> Tensor:
        """The sum over hops of what a node hears through ``edges``."""
        dtype = x.dtype
        # Sums before they are divided pass the range of float16.
        x = x.to(torch.promote_types(dtype, torch.float32))
        count = weighted_degrees(edges, x.dtype).unsqueeze(-1) + self.tau
        share = 1 / torch.where(count == 0, 1, count)
        out = weight[0] * x
        for factor in weight[1:]:
            x = torch.add(aggregate(x, edges, "sum"), x, alpha=self.tau) * share
            out = out + factor * x
        return out.to(dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hop={self.hop}, tau={self.tau:g})"
