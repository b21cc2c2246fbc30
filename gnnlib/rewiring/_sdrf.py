"""SDRF: support the most negatively curved edge, drop the most positively curved one."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_bool, check_number, check_whole
from gnnlib._hash import signed, uniform
from gnnlib._library import register
from gnnlib.rewiring._attributes import Fill
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph

# Curvatures are whole multiples of its inverse, so that those which rounding tells apart are equal.
_PER_UNIT = 1e9
# Steps of one native call, between which Ctrl-C is heard.
_AT_ONCE = 2**16


@functional_transform("sdrf")
class SDRF(Rewiring):
    r"""Stochastic discrete Ricci flow (functional name: ``sdrf``).

    Topping et al., 2022, "Understanding over-squashing and bottlenecks on graphs via curvature",
    algorithm 1. With :math:`\mathrm{Ric}` the balanced Forman curvature
    (:func:`gnnlib.rewiring.curvature.balanced_forman`), a step takes the edge :math:`i \sim j`
    of least curvature, adds one of the pairs

    .. math::
        \{\, (k, l) : k \in B_1(i),\ l \in B_1(j),\ k \ne l,\ k \not\sim l \,\},
        \quad p(k, l) \propto \exp\bigl(\tau \, (\mathrm{Ric}_{kl}(i, j) - \mathrm{Ric}(i, j))\bigr)

    where :math:`B_1` are the neighbours of a node and itself, and :math:`\mathrm{Ric}_{kl}` is the
    curvature with that pair joined; and then removes the edge of largest curvature, if that is
    above ``removal_bound``. A step looks again at those edges only whose curvature it changes, so
    it takes as long in a large graph as in a small one. Each graph of a batch gets its own
    ``max_steps``.

    Curvatures count as equal when they are so to nine digits. Of several equal edges the first in
    lexicographic order is taken, for the least curvature and for the largest; of several pairs
    also, where ``tau`` is infinite. The flow ends before ``max_steps`` where there is no pair to
    add and no edge to remove, or where ``tau`` is infinite and it removes the very edge that it
    added, as it would again: in a graph without edges at once, in a complete one after edges of
    curvature above ``removal_bound`` were removed and put back. With a bound from 0 on no component
    is left in two, as an edge that holds one together has a curvature of at most 0.

    Differs: the paper's code finds the largest curvature before the new edge is there, ours after,
    as the paper has it, so that it may be the new edge that goes; its curvature is another (it
    counts ends of an edge as parts of 4-cycles, and on the CPU it leaves most edges out); and a
    large ``tau`` overflows there.

    Args:
        max_steps: number of steps, at least 0.
        tau: how much a pair that gains more curvature is preferred, from 0 (all pairs alike) to
            ``float("inf")`` (always the best).
        removal_bound: above which curvature an edge is removed.
        remove_edges: whether edges are removed at all.
        undirected: see :class:`~gnnlib.rewiring.Rewiring`, as for the arguments below.
        protect_connectivity: see there.
        fill: see there.
        relation: see there.
        seed: see there.

    Raises:
        ValueError: ``max_steps`` is negative, ``tau`` negative or NaN, or ``removal_bound`` NaN.

    Example:
        >>> from torch_geometric.data import Data
        >>> edges = torch.tensor([[0, 0, 1, 2, 3, 3, 4], [1, 2, 2, 3, 4, 5, 5]])  # two triangles
        >>> barbell = Data(edge_index=edges, num_nodes=6)
        >>> data = SDRF(1, tau=float("inf"), undirected=True)(barbell)
        >>> data.edge_index[:, data.edge_type == 1].tolist()
        [[0, 3], [3, 0]]
    """

    def __init__(
        self,
        max_steps: int,
        *,
        tau: float = 1.0,
        removal_bound: float = 0.5,
        remove_edges: bool = True,
        undirected: bool | None = None,
        protect_connectivity: bool = False,
        fill: Fill | None = None,
        relation: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            undirected=undirected,
            protect_connectivity=protect_connectivity,
            fill=fill,
            relation=relation,
            seed=seed,
        )
        check_whole(0, max_steps=max_steps)
        check_number(0, math.inf, tau=tau)  # from any pair to the best
        check_number(-math.inf, math.inf, removal_bound=removal_bound)
        check_bool(remove_edges=remove_edges)
        self.max_steps = int(max_steps)
        self.tau = float(tau)
        self.removal_bound = float(removal_bound)
        self.remove_edges = remove_edges

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """What all steps together have changed."""
        seed = signed(self.seed)
        after = graph
        for first in range(0, self.max_steps, _AT_ONCE):
            last = min(first + _AT_ONCE, self.max_steps)
            ends = _op(
                after.rowptr, after.col, after.ptr, first, last, self.tau, self.removal_bound,
                self.remove_edges, seed,
            )  # fmt: skip
            after = after.replaced(ends)
        return Edit.between(graph, after)

    def options(self) -> dict[str, Any]:
        """Its own arguments."""
        return {
            "max_steps": self.max_steps,
            "tau": self.tau,
            "removal_bound": self.removal_bound,
            "remove_edges": self.remove_edges,
        }


Near = list[set[int]]
Pair = tuple[int, int]


def _curvature(near: Near, i: int, j: int) -> int:
    low, high = sorted((len(near[i]), len(near[j])))
    if low == 1:
        return 0
    boxes = [
        len((near[k] & near[b]) - near[a] - {a})
        for a, b in ((i, j), (j, i))
        for k in near[a] - near[b] - {b}
    ]
    shared = len(near[i] & near[j])
    squares = sum(box > 0 for box in boxes) / (max([1, *boxes]) * high)
    return round((2 / low + 2 / high - 2 + 2 * shared / high + shared / low + squares) * _PER_UNIT)


def _toggle(near: Near, i: int, j: int) -> None:
    near[i] ^= {j}
    near[j] ^= {i}


def _gain(near: Near, edge: Pair, pair: Pair) -> int:
    before = _curvature(near, *edge)
    _toggle(near, *pair)
    after = _curvature(near, *edge)
    _toggle(near, *pair)
    return after - before


def _drawn(gains: dict[Pair, int], tau: float, seed: int, step: int) -> Pair:
    if math.isinf(tau):
        return min(gains, key=lambda pair: (-gains[pair], pair))
    u, v = torch.tensor(list(gains)).T
    luck = uniform(seed, torch.tensor(step), u, v).tolist()
    best = max(gains.values())
    noise = dict(zip(gains, (-math.log(-math.log(one)) for one in luck), strict=True))
    return max(gains, key=lambda pair: tau * ((gains[pair] - best) / _PER_UNIT) + noise[pair])


def _edges(near: Near) -> list[Pair]:
    return [(i, j) for i, others in enumerate(near) for j in sorted(others) if i < j]


def _step(near: Near, step: int, tau: float, bound: float, remove: bool, seed: int) -> bool:
    """Whether the next may do something else."""
    edges = _edges(near)
    if not edges:
        return False
    i, j = min(edges, key=lambda edge: (_curvature(near, *edge), edge))
    ball_i, ball_j = near[i] | {i}, near[j] | {j}
    pairs = {(min(k, m), max(k, m)) for k in ball_i for m in ball_j if k != m and m not in near[k]}
    gains = {pair: _gain(near, (i, j), pair) for pair in sorted(pairs)}
    added = _drawn(gains, tau, seed, step) if gains else None
    if added:
        _toggle(near, *added)
    top = min(_edges(near), key=lambda edge: (-_curvature(near, *edge), edge))
    if not (remove and _curvature(near, *top) > bound * _PER_UNIT):
        return added is not None
    _toggle(near, *top)
    return added != top or not math.isinf(tau)


def _reference(
    rowptr: Tensor,
    col: Tensor,
    ptr: Tensor,
    first_step: int,
    last_step: int,
    tau: float,
    removal_bound: float,
    remove_edges: bool,
    seed: int,
) -> Tensor:
    near = [set(part.tolist()) for part in col.split(rowptr.diff().tolist())]  # type: ignore[no-untyped-call]
    ends: list[Pair] = []
    for first, last in itertools.pairwise(ptr.tolist()):
        own = [{j - first for j in others} for others in near[first:last]]
        for step in range(first_step, last_step):
            if not _step(own, step, tau, removal_bound, remove_edges, seed):
                break
        ends += [(i + first, j + first) for i, j in _edges(own)]
    return col.new_tensor(ends).reshape(-1, 2).t().contiguous()


_op = register(
    "sdrf",
    _reference,
    lambda rowptr, col, *_: col.new_empty(2, get_ctx().new_dynamic_size()),
)
