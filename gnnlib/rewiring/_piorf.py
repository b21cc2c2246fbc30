"""Rewiring by curvature and a field over the nodes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_number
from gnnlib.ops import segment_max_csr, segment_min_csr
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring._spans import spans
from gnnlib.rewiring.curvature._ollivier_ricci import ollivier_ricci_of


@functional_transform("piorf")
class PIORF(Rewiring):
    r"""Join the nodes of lowest curvature to those whose field differs the most from theirs
    (functional name: ``piorf``).

    The curvature of a node is the mean Ollivier-Ricci curvature of its edges,

    .. math::
        \gamma_v = \frac{1}{d_v} \sum_{u \in N(v)} \kappa_\alpha(u, v), \qquad
        r(s) = \arg\max_v \lVert f_v - f_s \rVert_2

    (Yu et al., 2025, "PIORF: Physics-Informed Ollivier-Ricci Flow for Long-Range Interactions in
    Mesh Graph Neural Networks"). Of a graph of :math:`N` nodes the
    :math:`\lfloor \delta N / 100 \rfloor` of lowest :math:`\gamma` are senders, and each gets an
    edge to its :math:`r(s)`, a node of the same graph; nothing is removed. A sender whose field no
    node differs from gets none, so with a constant field nothing is done, nor with fewer than
    :math:`100 / \delta` nodes. Of equal :math:`\gamma` (to :math:`10^{-9}`) and of equally
    different nodes the smallest id comes first. Isolated nodes have no curvature and are no
    senders, but may be found by one.

    A mesh keeps its curvature while its field changes: compute it once by
    :func:`~gnnlib.rewiring.curvature.ollivier_ricci` and
    :func:`~gnnlib.rewiring.curvature.node_mean`, store it with the mesh, and name it in
    ``curvature``. Then a step costs a search for the farthest points alone.

    Differs: the authors' code maps the field to one number by a random layer that is never
    trained; the paper has the field itself. With a constant field that code joins all senders to
    the first node.

    Cost: :math:`O(N)` memory, and :math:`O(N)` time plus senders times the nodes that are at the
    rim of the field's values.

    Args:
        field: the name of what the nodes differ in, ``[N]`` or ``[N, d]``, such as a velocity.
        delta: how many nodes are senders, in percent, in [0, 100] (default 3).
        alpha: the mass that stays, in [0, 1) (default 0.5).
        curvature: the name of the nodes' curvature ``[N]``; by default it is computed.
        shared: the arguments of :class:`Rewiring`.

    Raises:
        ValueError: an argument is out of range, or the graph has no such attribute, or one of
            another shape, or one that is not finite.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> path = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
        >>> data = Data(edge_index=torch.cat([path, path.flip(0)], 1), num_nodes=5)
        >>> data.velocity = torch.tensor([0.0, 0.0, 0.0, 0.0, 2.0])
        >>> rewired = PIORF("velocity", delta=20)(data)  # one sender
        >>> rewired.edge_index[:, rewired.parent_id < 0].tolist()
        [[2, 4], [4, 2]]
    """

    def __init__(
        self,
        field: str,
        *,
        delta: float = 3.0,
        alpha: float = 0.5,
        curvature: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        for name, value in (("field", field), ("curvature", curvature)):
            if not isinstance(value, str) and (name, value) != ("curvature", None):
                raise ValueError(
                    f"`{name}` must be the name of an attribute of the nodes, got "
                    f"{type(value).__name__}"
                )
        check_number(0, 100, delta=delta)  # a percentage
        check_number(0, 1, alpha=alpha)
        if alpha == 1:
            raise ValueError(f"`alpha` must be in [0, 1) (at 1 all curvatures are 0), got {alpha}")
        self.field = field
        self.delta = float(delta)
        self.alpha = float(alpha)
        self.curvature = curvature

    def options(self) -> dict[str, Any]:
        """All arguments but those of the base."""
        return {
            "field": self.field,
            "delta": self.delta,
            "alpha": self.alpha,
            "curvature": self.curvature,
        }

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Decide what comes and what goes; see :class:`Rewiring`."""
        field = _of_nodes(data, self.field)
        sender = self._senders(graph, data)
        receiver = _farthest(field, graph.ptr, sender)
        differs = (field[sender] != field[receiver]).any(1)
        new = torch.stack([sender, receiver])[:, differs].sort(0).values
        return Edit.between(graph, graph.replaced(torch.cat([graph.ends, new], 1)))

    def _senders(self, graph: SimpleGraph, data: Any) -> Tensor:
        """The nodes of lowest curvature, their share of each graph."""
        value = self._curvature(graph, data).mul(1e9).round()
        sizes = graph.ptr.diff()
        owner = torch.arange(graph.num_graphs).repeat_interleave(sizes)
        order = value.masked_fill(graph.degree == 0, float("inf")).argsort(stable=True)
        order = order[owner[order].argsort(stable=True)]
        rank = torch.arange(owner.numel()) - graph.ptr[owner]
        quota = (self.delta * sizes.double() / 100 + 1e-9).floor()  # 7% of 100 are 7
        chosen = order[rank < quota[owner]]
        return chosen[graph.degree[chosen] > 0]

    def _curvature(self, graph: SimpleGraph, data: Any) -> Tensor:
        """The curvature of every node, ``[N]``."""
        if self.curvature is not None:
            given = _of_nodes(data, self.curvature)
            if given.size(1) != 1:
                raise ValueError(f"PIORF needs one `{self.curvature}` a node, not {given.size(1)}")
            return given.flatten()
        value = ollivier_ricci_of(graph, torch.arange(graph.num_edges), self.alpha)
        total = torch.bincount(graph.ends.flatten(), value.repeat(2), minlength=graph.num_nodes)
        return total / graph.degree.clamp(min=1)


def _of_nodes(data: Any, name: str) -> Tensor:
    """An attribute of the nodes of a graph, a batch or a list of graphs, ``[N, d]`` float64."""
    rows = [torch.empty(0, 1)] if data == [] else []
    for graph in data if isinstance(data, list) else [data]:
        value = graph.get(name)
        tensor = isinstance(value, Tensor)
        if not tensor or value.shape[:1] != (graph.num_nodes,) or 0 in value.shape[1:]:
            got = list(value.shape) if tensor else type(value).__name__
            fix = " (use torch.from_numpy)" if isinstance(value, np.ndarray) else ""
            raise ValueError(
                f"PIORF needs `{name}` with a row for each of {graph.num_nodes} nodes, [N] or "
                f"[N, d], got {got}{fix}"
            )
        if value.is_complex():
            raise ValueError(
                f"PIORF needs `{name}` of real numbers, got {value.dtype} (use torch.view_as_real)"
            )
        rows.append(value.detach().cpu()[:, None].flatten(1))
    values = torch.cat(rows).double()
    if not values.isfinite().all():
        raise ValueError(f"PIORF needs a finite `{name}`, as it compares its values")
    return values


def _farthest(field: Tensor, ptr: Tensor, sender: Tensor) -> Tensor:
    """The node of each sender's graph that differs the most from it, the first among equals."""
    owner = torch.searchsorted(ptr, sender, right=True) - 1
    rim = _rim(field, ptr, sender, owner)
    rim_ptr = torch.searchsorted(rim, ptr)
    found = [sender[:0]]
    for part, item, place in spans(rim_ptr[owner], rim_ptr.diff()[owner]):
        square = _square(field[sender[part]][item], field[rim[place]])
        begins = torch.searchsorted(item, torch.arange(part.stop - part.start + 1))
        found.append(rim[place[segment_max_csr(square, begins)[1]]])
    return torch.cat(found)


def _rim(field: Tensor, ptr: Tensor, sender: Tensor, owner: Tensor) -> Tensor:
    """The nodes that may be the farthest from a sender of their graph, ascending.

    From a centre c, a node v, and a node p that has the largest or smallest value of a column:
    where v is the farthest from s, |s - c| + |c - v| >= |s - v| >= |s - p|.
    """
    low, at_low = segment_min_csr(field, ptr)
    high, at_high = segment_max_csr(field, ptr)
    graph = torch.arange(ptr.numel() - 1).repeat_interleave(ptr.diff())
    radius = _square(field, ((low + high) / 2)[graph]).sqrt()
    reach = torch.zeros_like(radius[sender])
    for pivot in torch.cat([at_low, at_high], 1).t():
        reach = reach.maximum(_square(field[sender], field[pivot[owner]]).sqrt())
    least = radius.new_full((ptr.numel() - 1,), float("inf"))
    least = least.scatter_reduce(0, owner, reach - radius[sender], "amin")
    size = torch.zeros_like(least).scatter_reduce(0, graph, radius, "amax")
    return (radius >= (least - 1e-9 * size)[graph]).nonzero().flatten()  # but for rounding


def _square(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of rows, summed column by column: the same bits for any number of rows."""
    total = torch.zeros_like(a[:, 0])
    for x, y in zip(a.unbind(1), b.unbind(1), strict=True):
        total += (x - y).square()
    return total
