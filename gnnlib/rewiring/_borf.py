"""Rewiring by Ollivier-Ricci curvature, in batches."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_number, check_whole
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._jost_liu import jost_liu_of
from gnnlib.rewiring.curvature._ollivier_ricci import ollivier_ricci_of
from gnnlib.rewiring.curvature._transport import farthest_transport


@functional_transform("borf")
class BORF(Rewiring):
    r"""Add edges where Ollivier-Ricci curvature is lowest and remove those where it is highest, in
    batches (functional name: ``borf``).

    With :math:`\mu_u` the mass :math:`\alpha` at :math:`u` and the rest spread evenly over its
    neighbours, and :math:`W_1` the least cost of moving one to another over the edges,

    .. math::
        \kappa(u, v) = 1 - W_1(\mu_u, \mu_v)

    (Nguyen et al., 2023, "Revisiting Over-smoothing and Over-squashing Using Ollivier-Ricci
    Curvature", algorithm 1). An iteration takes, of each graph as it is then, the ``batch_add``
    edges of lowest curvature and the ``batch_remove`` of highest. For each of the lowest it adds
    :math:`\{p, q\}`, the pair between which a least plan moves mass times distance the most, if it
    is not there; then it removes the highest. A graph with fewer edges gives all it has.
    Curvatures that agree to :math:`10^{-9}` are equal, and among equals the smallest
    :math:`(u, v)` comes first.

    A graph without edges comes back as it was. A complete graph has nowhere to add edges and loses
    ``batch_remove`` in every iteration, as ``batch_remove`` has no regard to how high they are.

    Differs: there are many least plans, and which pair is farthest depends on the plan;
    :func:`~gnnlib.rewiring.curvature.ollivier_ricci` always finds the same one. In the authors'
    code ``batch_remove=0`` removes every edge, and edges come and go in one direction alone.

    Cost of an iteration: the curvature of the edges that can be among the lowest or highest, by
    the bounds of Jost and Liu (2014), and that have changed since the last iteration; in one call
    for all graphs.

    Args:
        n_iter: number of iterations, at least 0 (default 3).
        batch_add: edges added in an iteration, at most, at least 0 (default 4).
        batch_remove: edges removed in an iteration, at least 0 (default 2).
        alpha: the mass that stays, in [0, 1) (default 0).
        shared: the arguments of :class:`Rewiring`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> bow = torch.tensor([[0, 0, 1, 2, 3, 3, 4], [1, 2, 2, 3, 4, 5, 5]])
        >>> data = Data(edge_index=torch.cat([bow, bow.flip(0)], 1), num_nodes=6)
        >>> rewired = BORF(n_iter=1, batch_add=1, batch_remove=0)(data)  # around 2 - 3
        >>> rewired.edge_index[:, rewired.parent_id < 0].tolist()
        [[1, 5], [5, 1]]
    """

    def __init__(
        self,
        n_iter: int = 3,
        batch_add: int = 4,
        batch_remove: int = 2,
        *,
        alpha: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_whole(0, n_iter=n_iter, batch_add=batch_add, batch_remove=batch_remove)
        check_number(0, 1, alpha=alpha)
        if alpha == 1:
            raise ValueError(f"`alpha` must be in [0, 1) (at 1 all curvatures are 0), got {alpha}")
        self.n_iter = int(n_iter)
        self.batch_add = int(batch_add)
        self.batch_remove = int(batch_remove)
        self.alpha = float(alpha)

    def options(self) -> dict[str, Any]:
        """All arguments but those of the base."""
        return {
            "n_iter": self.n_iter,
            "batch_add": self.batch_add,
            "batch_remove": self.batch_remove,
            "alpha": self.alpha,
        }

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Decide what comes and what goes; see :class:`Rewiring`."""
        before, least = graph, self._bounds(graph, torch.arange(graph.num_edges))
        for _ in range(self.n_iter):
            lowest = self._first(graph, least, 0, self.batch_add)
            highest = self._first(graph, least, 1, self.batch_remove)
            pairs = farthest_transport(graph, lowest, self.alpha)
            new = pairs[:, (pairs[0] != pairs[1]) & (graph.edge_id(pairs) < 0)].sort(0).values
            if new.numel() == highest.numel() == 0:
                break
            stays = torch.ones(graph.num_edges, dtype=torch.bool)
            stays[highest] = False
            after = graph.replaced(torch.cat([graph.ends[:, stays], new], 1))
            least = self._carried(graph, least, after)
            graph = after
        return Edit.between(before, graph)

    # What is known of every curvature is `least [2, M]`, the least that it and its negative can be,
    # in steps of 1e-9. Once it is computed the two are each other's negatives.

    def _bounds(self, graph: SimpleGraph, edges: Tensor) -> Tensor:
        """What is known of the curvature of edges before it is computed, ``[2, K]``."""
        stays, degree = self.alpha, graph.degree[graph.ends[:, edges]]
        # The lazy curvature is concave in alpha and 0 at 1; and what both ends hold of each other's
        # mass is all that could stay where it is.
        low, high = (1 - stays) * jost_liu_of(graph, edges)
        high = high + ((1 - stays) / degree).clamp(max=stays).sum(0)
        return torch.stack([low, -high]).mul(1e9).floor().long()

    def _first(self, graph: SimpleGraph, least: Tensor, row: int, count: int) -> Tensor:
        """The edges of lowest curvature (row 0) or highest (row 1), ``count`` of every graph.

        First the curvature of those whose bounds are the most extreme is computed, then of all that
        may be as extreme as those turned out to be.
        """
        owner, value = graph.graph_of_edge, least[row]
        chosen = _smallest(value, owner, count)
        self._compute(graph, least, chosen)
        worst = value.new_full((graph.num_graphs,), torch.iinfo(torch.long).min)
        worst = worst.scatter_reduce(0, owner[chosen], value[chosen], "amax")
        self._compute(graph, least, (value <= worst[owner]).nonzero().flatten())
        return _smallest(value, owner, count)

    def _compute(self, graph: SimpleGraph, least: Tensor, edges: Tensor) -> None:
        """Write down the curvature of edges where it is not known yet."""
        edges = edges[least[0, edges] != -least[1, edges]]
        value = ollivier_ricci_of(graph, edges, self.alpha).mul(1e9).round().long()
        least[:, edges] = torch.stack([value, -value])

    def _carried(self, graph: SimpleGraph, least: Tensor, after: SimpleGraph) -> Tensor:
        """What is still known when edges have come and gone.

        A curvature depends on the neighbours of both ends, and on theirs.
        """
        old = graph.edge_id(after.ends)
        gone = after.edge_id(graph.ends) < 0
        touched = torch.zeros(graph.num_nodes, dtype=torch.bool)
        touched[torch.cat([after.ends[:, old < 0], graph.ends[:, gone]], 1)] = True
        near = touched.clone()
        for one, other in (after.ends, after.ends.flip(0)):
            near[one[touched[other]]] = True
        new = near[after.ends].any(0).nonzero().flatten()
        carried = least[:, old]
        carried[:, new] = self._bounds(after, new)
        return carried


def _smallest(value: Tensor, owner: Tensor, count: int) -> Tensor:
    """Where the ``count`` smallest values of each owner are; owners ascend, of equals the first."""
    order = value.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    rank = torch.arange(owner.numel()) - torch.searchsorted(owner, owner)
    return order[rank < count]
