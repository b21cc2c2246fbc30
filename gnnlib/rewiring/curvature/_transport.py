"""How mass best moves from the neighbours of one end of an edge to those of the other."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from gnnlib._check import check_number, check_tensor
from gnnlib._library import register
from gnnlib.rewiring._simple_graph import SimpleGraph, checked
from gnnlib.rewiring.curvature._faces import chosen

# Shares of mass below this are rounding.
_TINY = 1e-14


class TransportPlan(NamedTuple):
    """What moves where, for some edges; what stays where it is is not listed.

    Attributes:
        edge: ``[P]``, which of the caller's edges, in the order in which they were asked for.
        source: ``[P]``, the node that mass leaves, of the walk from the edge's first end.
        target: ``[P]``, the node that it goes to, of the walk from the second end.
        amount: ``[P]`` float64, how much, of 1 in all.
        distance: ``[P]``, how many edges lie between the two nodes: 1, 2 or 3.
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    amount: Tensor
    distance: Tensor


def transport_plan(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    edges: Tensor | None = None,
    alpha: float = 0.0,
    edge_weight: Tensor | None = None,
    undirected: bool | None = None,
) -> TransportPlan:
    r"""An optimal transport plan behind the Ollivier-Ricci curvature of each edge.

    .. math::
        \pi^* = \arg\min_\pi \sum_{p, q} \pi(p, q)\, d(p, q)
        \quad\text{with}\quad \sum_q \pi(p, q) = \mu_u(p),\ \sum_p \pi(p, q) = \mu_v(q)

    for an edge from u to v and the walks :math:`\mu` of :func:`ollivier_ricci`, whose value is 1
    less the sum (Ollivier, 2009). Mass that both walks have at a node stays there and is not
    listed.

    An edge often has several optimal plans. Which one is found depends on the graph around the edge
    and on the order of its nodes alone: it is the same in a batch and on any number of threads
    (without compiled kernels it may be another one).

    Args:
        edge_index: ``[2, E]``. Self loops have no plan; repeated edges count once in walks.
        num_nodes: by default one more than the largest node id.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default.
        alpha: see :func:`ollivier_ricci`, as for the others.
        edge_weight: ``[E]`` positive, or ``None``.
        undirected: ``None`` or ``True``.

    Returns:
        A :class:`TransportPlan`: a row for each pair of nodes between which mass moves, by the
        order of ``edges``, then by ``source`` and ``target``.

    Raises:
        ValueError: as :func:`ollivier_ricci`.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
        >>> plan = transport_plan(path, edges=torch.tensor([2]))  # from node 1 to node 2
        >>> list(zip(plan.source.tolist(), plan.target.tolist(), plan.amount.tolist()))
        [(0, 1, 0.5), (2, 3, 0.5)]
    """
    graph = SimpleGraph.of_edges(
        edge_index, num_nodes, undirected=undirected, asker="transport_plan"
    )
    require_alpha(alpha)
    asked = torch.arange(graph.of.numel()) if edges is None else chosen(edges, graph.of.numel())
    asked = asked[graph.of[asked] >= 0]
    source, target = checked(edge_index)[:, asked]
    weight = weight_of(graph, edge_weight)
    ptr, pairs, amount, distance = plans_op(
        graph.rowptr, graph.col, mass_of(graph, weight), source, target, alpha
    )
    found = (asked.repeat_interleave(ptr.diff()), *pairs, amount, distance)
    return TransportPlan(*(part.to(edge_index.device) for part in found))


def farthest_transport(graph: SimpleGraph, edges: Tensor, alpha: float = 0.0) -> Tensor:
    """The pair of nodes between which most is carried, amount times distance, of some edges.

    Equal values (to 1e-9) go to the smallest pair.

    Args:
        graph: one graph or several side by side.
        edges: ``[K]``, which of its edges.
        alpha: the share of mass that stays at the edge's ends.

    Returns:
        ``[2, K]``, a node of the smaller end's walk and one of the larger end's; -1 where nothing
        moves.
    """
    source, target = graph.ends[:, edges]
    ptr, pairs, amount, distance = plans_op(
        graph.rowptr, graph.col, None, source.contiguous(), target.contiguous(), alpha
    )
    edge = torch.arange(edges.numel()).repeat_interleave(ptr.diff())
    work = ((amount * distance) * 1e9).round().long()
    first = torch.from_numpy(np.lexsort((pairs[1], pairs[0], -work, edge)))
    first = first[ptr[:-1][ptr.diff() > 0]]
    found = edges.new_full((2, edges.numel()), -1)
    found[:, edge[first]] = pairs[:, first]
    return found


def require_alpha(alpha: float) -> None:
    """Raise ValueError unless it is a share."""
    check_number(0, 1, alpha=alpha)


def weight_of(graph: SimpleGraph, edge_weight: Tensor | None) -> Tensor | None:
    """The weight of each edge of the simple graph, ``[M]``, from the caller's ``[E]``.

    Raises:
        TypeError: it is no tensor.
        ValueError: there is not one for each of the caller's edges, one is not positive and finite,
            or an edge has several.
    """
    if edge_weight is None:
        return None
    check_tensor("[E]", edge_weight=edge_weight)
    given = edge_weight.detach().cpu().double()
    if given.shape != graph.of.shape:
        raise ValueError(
            f"`edge_weight` must be [{graph.of.numel()}], one for each edge, got "
            f"{list(edge_weight.shape)}"
        )
    if not bool((given > 0).all() and given.isfinite().all()):
        raise ValueError("`edge_weight` must be positive and finite")
    real = graph.of >= 0
    weight = given.new_empty(graph.num_edges)
    weight[graph.of[real]] = given[real]
    if not torch.equal(weight[graph.of[real]], given[real]):
        raise ValueError(
            "`edge_weight` must be the same for both directions and all repetitions of an edge "
            "(use coalesce or to_undirected to make it so)"
        )
    return weight


def mass_of(graph: SimpleGraph, weight: Tensor | None) -> Tensor | None:
    """The weights in the order of the graph's neighbours, ``[2M]``."""
    return None if weight is None else weight[graph.edge]


Rows = list[dict[int, float]]


def rows_of(rowptr: Tensor, col: Tensor, mass: Tensor | None) -> Rows:
    """The neighbours of every node, and what each weighs."""
    weight = torch.ones(col.numel()) if mass is None else mass
    sizes = rowptr.diff().tolist()
    parts = zip(col.split(sizes), weight.split(sizes), strict=True)  # type: ignore[no-untyped-call]
    return [dict(zip(near.tolist(), share.tolist(), strict=True)) for near, share in parts]


def optimal_plan(rows: Rows, u: int, v: int, alpha: float) -> list[tuple[int, int, float, int]]:
    """What moves from where to where, how much and how far, by a linear program."""
    excess: dict[int, float] = {u: 0.0, v: 0.0}
    for end, sign in ((u, 1), (v, -1)):
        total = sum(rows[end].values())
        excess[end] += sign * alpha
        for node, weight in rows[end].items():
            excess[node] = excess.get(node, 0.0) + sign * (1 - alpha) * weight / total
    give = [node for node in sorted(excess) if excess[node] > _TINY]
    take = [node for node in sorted(excess) if excess[node] < -_TINY]
    if not give:
        return []
    distance = np.array([[_distance(rows, p, q) for q in take] for p in give])
    leaves = np.kron(np.eye(len(give)), np.ones(len(take)))
    arrives = np.kron(np.ones(len(give)), np.eye(len(take)))
    mass = [*(excess[p] for p in give), *(-excess[q] for q in take)]
    plan = linprog(distance.ravel(), A_eq=np.vstack([leaves, arrives]), b_eq=mass).x
    moved = zip(np.ndindex(*distance.shape), plan, distance.ravel(), strict=True)
    return [(give[i], take[j], float(x), int(d)) for (i, j), x, d in moved if x > _TINY]


def _distance(rows: Rows, p: int, q: int) -> int:
    return 1 if q in rows[p] else 2 if rows[p].keys() & rows[q].keys() else 3


def _reference(
    rowptr: Tensor, col: Tensor, mass: Tensor | None, source: Tensor, target: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = rows_of(rowptr, col, mass)
    ends = zip(source.tolist(), target.tolist(), strict=True)
    plans = [optimal_plan(rows, u, v, alpha) for u, v in ends]
    ptr = source.new_tensor([0, *map(len, plans)]).cumsum(0)
    moves = torch.tensor([move for plan in plans for move in plan], dtype=torch.float64)
    p, q, amount, distance = moves.reshape(-1, 4).t()
    return ptr, torch.stack([p, q]).long(), amount.contiguous(), distance.long()


def _fake(
    rowptr: Tensor, col: Tensor, mass: Any, source: Tensor, target: Tensor, alpha: float
) -> Any:
    size = torch.library.get_ctx().new_dynamic_size()
    amount = source.new_empty(size, dtype=torch.float64)
    return (
        source.new_empty(source.numel() + 1),
        source.new_empty(2, size),
        amount,
        source.new_empty(size),
    )


plans_op = register("transport_plans", _reference, _fake)
