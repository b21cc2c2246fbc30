"""Effective resistance: how little a graph conducts between two nodes, by all paths together."""

import math
from collections.abc import Iterator
from numbers import Real

import torch
from torch import Tensor

from gnnlib._check import check_whole
from gnnlib._hash import uniform
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature._faces import per_edge
from gnnlib.rewiring.curvature._laplacian import Components, Solver, embeddings, nodes_beyond
from gnnlib.rewiring.curvature._transport import weight_of

# Up to so many nodes a component's Laplacian is inverted.
DENSE_LIMIT = 3000
# Signs that are drawn at once, of 53 random bits, and values of right sides that are solved for.
_BITS, _AT_ONCE = 32, 2**20


def effective_resistance(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    edge_weight: Tensor | None = None,
    epsilon: float = 0.1,
    dense_limit: int = DENSE_LIMIT,
    seed: int = 0,
    undirected: bool | None = None,
    edges: Tensor | None = None,
) -> Tensor:
    r"""Effective resistance between the ends of edges.

    .. math::
        R(u, v) = (e_u - e_v)^\top L^+ (e_u - e_v)

    with :math:`L^+` the pseudo-inverse of the Laplacian: the voltage that drives one unit of
    current from one end to the other where every edge is a conductor (Klein and Randić, 1993). It
    is :math:`1 / w_{uv}` at bridges and less the more ways lead around the edge; :math:`w_{uv}
    R(u, v)` is the share of spanning trees that have the edge, and sums to :math:`N - 1` over the
    edges of a connected graph (Foster, 1949).

    A component of up to ``dense_limit`` nodes is solved exactly, and a tree of any size. Of another
    :math:`\lceil 2 / \epsilon^2 \rceil` random projections are (Spielman and Srivastava, 2008),
    each a linear system, by sparse factors where these stay small, as those of a mesh do, or else
    by conjugate gradients, in O(N + E) memory: each resistance is then estimated without bias, with
    a standard deviation of at most ``epsilon`` times itself.

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        edge_weight: ``[E]`` positive, the conductances, the same for both directions of an edge; 1
            by default.
        epsilon: relative standard deviation in large components, above 0; costs its inverse square.
        dense_limit: the most nodes of a component that is solved exactly.
        seed: of the projections. The same seed gives the same result, alone and in a batch.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.
        edges: of which edges, ``[K]`` positions or ``[E]`` bool; all by default. A component costs
            the same for one edge as for all.

    Returns:
        ``[E]`` or ``[K]`` float64, in the order of ``edge_index``; NaN for self loops. A batch
        gives what its graphs give.

    Raises:
        ValueError: ``epsilon`` is not positive, a weight is not positive or not the same both ways,
            weights of a component differ by a factor above ``1e20`` (above ``dense_limit`` nodes
            ``1e10``), or an edge goes one way only and ``undirected`` is not given.

    Differs: the paper takes :math:`24 \log N / \epsilon^2` projections, which bounds the error of
    all edges at once.

    Example:
        >>> import torch
        >>> triangle_with_tail = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]])
        >>> found = effective_resistance(triangle_with_tail, undirected=True)
        >>> [round(value, 3) for value in found.tolist()]
        [0.667, 0.667, 0.667, 1.0]
    """
    _require_arguments(epsilon, dense_limit, seed)

    def compute(graph: SimpleGraph, part: Tensor) -> Tensor:
        weight = _conductance(graph, edge_weight)
        return _resistances(graph, part, weight, epsilon, dense_limit, seed)

    return per_edge(
        edge_index,
        num_nodes,
        undirected=undirected,
        edges=edges,
        progress=False,
        asker="effective_resistance",
        compute=compute,
        at_once=2**62,  # a component's edges are found together
    )


def total_effective_resistance(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    edge_weight: Tensor | None = None,
    epsilon: float = 0.1,
    dense_limit: int = DENSE_LIMIT,
    seed: int = 0,
    undirected: bool | None = None,
) -> float:
    r"""Effective resistance of all pairs of nodes together, the Kirchhoff index.

    .. math::
        R_{\mathrm{tot}} = \sum_{u < v} R(u, v) = N \operatorname{tr} L^+
        = N \sum_{i > 1} \frac{1}{\lambda_i}

    of a connected graph (Klein and Randić, 1993; as a measure of over-squashing, Black et al.,
    2023). The lower, the better information gets anywhere. Only pairs of one component count, so
    that the components' indices are summed, and for a batch those of its graphs.

    A component of up to ``dense_limit`` nodes is solved exactly, and a tree of any size; of another
    the trace is estimated from :math:`\lceil 2 / \epsilon^2 \rceil` random vectors (Hutchinson,
    1990), without bias, with a standard deviation of at most ``epsilon`` times itself, and far less
    on most graphs.

    Args:
        edge_index: ``[2, E]``. Self loops and repeated edges count for nothing.
        num_nodes: by default one more than the largest node id.
        edge_weight: ``[E]`` positive, the conductances, the same for both directions of an edge; 1
            by default.
        epsilon: relative standard deviation in large components, above 0; costs its inverse square.
        dense_limit: the most nodes of a component that is solved exactly.
        seed: of the random vectors. The same seed gives the same result.
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only; ``True``
            takes every edge for both ways.

    Returns:
        The sum; 0 of a graph without edges.

    Raises:
        ValueError: ``epsilon`` is not positive, a weight is not positive or not the same both ways,
            weights of a component differ by a factor above ``1e20`` (above ``dense_limit`` nodes
            ``1e10``), or an edge goes one way only and ``undirected`` is not given.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1], [1, 2]])
        >>> round(total_effective_resistance(path, undirected=True), 6)  # 1 + 1 + 2
        4.0
    """
    _require_arguments(epsilon, dense_limit, seed)
    graph = SimpleGraph.of_edges(
        edge_index, num_nodes, undirected=undirected, asker="total_effective_resistance"
    )
    weight = _conductance(graph, edge_weight)
    return total_effective_resistance_of(graph, weight, epsilon, dense_limit, seed)


def total_effective_resistance_of(
    graph: SimpleGraph,
    weight: Tensor,
    epsilon: float,
    dense_limit: int,
    seed: int,
    most_steps: int | None = None,
) -> float:
    """That of a graph, with conductances ``[M]``; see :func:`total_effective_resistance`.

    Raises:
        RuntimeError: conjugate gradients need more steps than that.
    """
    parts, total = Components.of(graph), 0.0
    everything = torch.arange(graph.num_edges)
    for some, _, ends, conductance in _groups(graph, parts, everything, weight, dense_limit):
        size = int(parts.size[some[0]])
        if size <= dense_limit:
            points = embeddings(ends, conductance, some.numel(), size)
            total += size * float((points - points.mean(1, keepdim=True)).square().sum())
            continue
        if ends.size(1) == size - 1:
            beyond = nodes_beyond(ends, size).double()
            total += float((beyond * (size - beyond) / conductance).sum())
            continue
        solve, trace = Solver(ends, conductance, size, most_steps), 0.0
        for block in _blocks(epsilon, size):
            vector = _signs(seed, block, torch.arange(size))
            vector -= vector.mean(0)
            trace += float((vector * solve(vector)).sum())
        total += size * trace / _projections(epsilon)
    return total


def _resistances(
    graph: SimpleGraph, edges: Tensor, weight: Tensor, epsilon: float, dense_limit: int, seed: int
) -> Tensor:
    """Those of some of a graph's edges, ``[K]``."""
    parts, found = Components.of(graph), torch.full_like(weight, float("nan"))
    for some, own, ends, conductance in _groups(graph, parts, edges, weight, dense_limit):
        size = int(parts.size[some[0]])
        if size <= dense_limit:
            points = embeddings(ends, conductance, some.numel(), size).flatten(0, 1)
            pairs = ends.split(max(_AT_ONCE // size, 1), 1)  # type: ignore[no-untyped-call]
            found[own] = torch.cat([(points[u] - points[v]).square().sum(1) for u, v in pairs])
        elif ends.size(1) == size - 1:
            found[own] = 1 / conductance
        else:
            found[own] = _projected(ends, conductance, size, epsilon, seed)
    return found[edges]


def _projected(ends: Tensor, weight: Tensor, size: int, epsilon: float, seed: int) -> Tensor:
    """The resistances of all edges of a large component, estimated."""
    solve, total, root = Solver(ends, weight, size), torch.zeros_like(weight), weight.sqrt()
    for block in _blocks(epsilon, weight.numel()):
        current = _signs(seed, block, *ends) * root[:, None]
        right = current.new_zeros(size, current.size(1))
        right.index_add_(0, ends[0], current).index_add_(0, ends[1], -current)
        potential = solve(right)
        total += (potential[ends[0]] - potential[ends[1]]).square().sum(1)
    return total / _projections(epsilon)


def _groups(
    graph: SimpleGraph, parts: Components, edges: Tensor, weight: Tensor, dense_limit: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The components that some edges are in, by groups of one size.

    Yields:
        Which components, which edges are theirs, the ends of these, node ``i`` of the k-th
        component as ``k * size + i``, and their weights.
    """
    label = parts.label[graph.ends[0]]
    wanted = label[edges].unique()  # type: ignore[no-untyped-call]
    groups = list(parts.alike(wanted, dense_limit))
    group = torch.full_like(parts.size, -1)
    rank = torch.zeros_like(parts.size)
    for k, some in enumerate(groups):
        group[some], rank[some] = k, torch.arange(some.numel())
    order = group[label].argsort(stable=True)
    sizes = torch.bincount(group[label] + 1, minlength=len(groups) + 1).tolist()
    own = order.split(sizes)[1:]  # type: ignore[no-untyped-call]
    for some, mine in zip(groups, own, strict=True):
        ends = parts.place[graph.ends[:, mine]] + rank[label[mine]] * parts.size[some[0]]
        yield some, mine, ends, weight[mine]


def _projections(epsilon: float) -> int:
    return math.ceil(2 / epsilon**2)


def _blocks(epsilon: float, height: int) -> Iterator[tuple[int, int]]:
    """Which projections of so many values are made at once, from the first to the last."""
    count, width = _projections(epsilon), _BITS * max(_AT_ONCE // (_BITS * height), 1)
    for first in range(0, count, width):
        yield first, min(first + width, count)


def _signs(seed: int, block: tuple[int, int], *keys: Tensor) -> Tensor:
    """1 or -1, for each tuple of keys and each of a block's projections."""
    first, last = block
    draw = torch.arange(first // _BITS, -(-last // _BITS))
    bits = (uniform(seed, draw, *(key[:, None] for key in keys)) * 2.0**53).long()
    signs = (bits[..., None] >> torch.arange(_BITS) & 1).flatten(1)
    return signs[:, : last - first].double() * 2 - 1


def _conductance(graph: SimpleGraph, edge_weight: Tensor | None) -> Tensor:
    weight = weight_of(graph, edge_weight)
    return torch.ones(graph.num_edges, dtype=torch.float64) if weight is None else weight


def _require_arguments(epsilon: float, dense_limit: int, seed: int) -> None:
    check_whole(0, dense_limit=dense_limit)
    check_whole(None, seed=seed)
    number = isinstance(epsilon, Real) and not isinstance(epsilon, bool)
    if not number or not 0 < epsilon < math.inf:
        raise ValueError(f"`epsilon` must be positive and finite, got {epsilon!r}")
