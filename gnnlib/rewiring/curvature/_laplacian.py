"""Weighted Laplacians, component by component: inverses of small ones, linear systems of large."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from gnnlib.adjacency import Adjacency
from gnnlib.encodings._eigenpairs import factors_stay_sparse
from gnnlib.ops import gather_reduce
from gnnlib.rewiring._simple_graph import SimpleGraph

# Entries of the inverses that are there at once.
_AT_ONCE = 2**24
# Nodes that are eliminated before the rest of a dense graph hears of it.
_BLOCK = 64
# Weights that differ by a larger factor cost more digits than six: in an elimination, and where the
# diagonal of a Laplacian is summed.
_MOST_APART, _MOST_APART_IN_SUMS = 1e20, 1e10
# Entries in a row of factors up to which these are quicker than conjugate gradients.
_FILL = 512
# Of a residual, relative to its right side, in the norm of the preconditioner.
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Components:
    """A graph's connected components.

    Attributes:
        label: ``[N]``, which component each node is in.
        size: ``[C]``, how many nodes each component has.
        place: ``[N]``, how many smaller nodes are in a node's component.
    """

    label: Tensor
    size: Tensor
    place: Tensor

    @staticmethod
    def of(graph: SimpleGraph) -> "Components":
        """Those of a graph, or of several side by side."""
        entries = (np.ones(graph.col.numel()), graph.col.numpy(), graph.rowptr.numpy())
        adjacency = csr_array(entries, shape=(graph.num_nodes, graph.num_nodes))
        _, found = connected_components(adjacency, directed=False)
        label = torch.from_numpy(found).long()
        size = torch.bincount(label)
        order = label.argsort(stable=True)
        place = torch.empty_like(label)
        place[order] = torch.arange(label.numel()) - (size.cumsum(0) - size)[label[order]]
        return Components(label, size, place)

    def alike(self, wanted: Tensor, dense_limit: int) -> Iterator[Tensor]:
        """The wanted components in groups of one size; those above the limit alone."""
        for size in self.size[wanted].unique().tolist():  # type: ignore[no-untyped-call]
            at_once = max(_AT_ONCE // size**2, 1) if size <= dense_limit else 1
            yield from wanted[self.size[wanted] == size].split(at_once)  # type: ignore[no-untyped-call]


def embeddings(ends: Tensor, weight: Tensor, count: int, size: int) -> Tensor:
    """Connected graphs' nodes as points ``x``, so that ``R(u, v) = |x_u - x_v|^2``.

    Nodes are eliminated one by one: what is left conducts as before if the neighbours of a node
    that goes are joined by ``w_i w_j / W``, its weights and their sum. With the shares ``w_i / W``
    in the rows of ``P``, the points are the rows of ``(1 - P)^-1 diag(W)^-1/2``. Nothing is ever
    subtracted, so that small and large weights side by side lose no digits, as they do where the
    diagonal of a Laplacian is a sum that rounds the small ones away.

    Args:
        ends: ``[2, M]``, node ``i`` of the k-th graph as ``k * size + i``.
        weight: ``[M]``.
        count: how many graphs.
        size: how many nodes each of them has.

    Returns:
        ``[count, size, size]``.

    Raises:
        ValueError: weights differ by more than a factor of ``1e20``.
    """
    _require_near(weight, _MOST_APART)
    near = weight.new_zeros(count * size * size)
    for u, v in (ends, ends.flip(0)):
        near[u * size + v % size] = weight
    near = near.view(count, size, size)
    total = weight.new_empty(count, size, 1)
    one = torch.eye(size, dtype=weight.dtype)
    for first in range(0, size, _BLOCK):
        block, rest = slice(first, first + _BLOCK), slice(first + _BLOCK, size)
        # Whatever is beyond the block counts as one node at first.
        own = torch.cat([near[:, block, block], near[:, block, rest].sum(2, keepdim=True)], 2)
        for k in range(own.size(1)):
            away = own[:, k, k + 1 :]
            total[:, first + k] = away.sum(1, keepdim=True)
            own[:, k + 1 :, k + 1 :] += away[:, :-1, None] * (away / total[:, first + k])[:, None]
        total[:, size - 1 :] = math.inf  # the last node stays
        near[:, block, block] = own[:, :, :-1].triu_(1)
        shares = (near[:, block, block] / total[:, block]).mT
        step = one[: shares.size(1), : shares.size(1)] - shares
        rows = torch.linalg.solve_triangular(step, near[:, block, rest], upper=False)
        near[:, block, rest] = rows
        near[:, rest, rest].baddbmm_(rows.mT, rows / total[:, block])
    shares = near.triu_(1).div_(total)
    points: Tensor = torch.linalg.solve_triangular(one - shares, one.expand_as(near), upper=True)
    return points / total.mT.sqrt()


def nodes_beyond(ends: Tensor, size: int) -> Tensor:
    """How many nodes are on one side of each edge of a tree, ``[size - 1]``."""
    entries = (np.ones(size - 1), tuple(ends.numpy()))
    order, parent = breadth_first_order(csr_array(entries, (size, size)), 0, directed=False)
    above, below = parent.tolist(), [1] * size
    for node in order[:0:-1].tolist():
        below[above[node]] += below[node]
    u, v = ends
    return torch.tensor(below)[torch.where(torch.from_numpy(parent)[u] == v, u, v)]


class Solver:
    """Solves ``L x = b`` for the Laplacian of a connected graph.

    By its factors where these stay sparse, as those of a tree or a mesh do; else by conjugate
    gradients, which need few steps where a graph is no such thing.

    Args:
        ends: ``[2, M]``.
        weight: ``[M]``.
        size: how many nodes there are.
        most_steps: of conjugate gradients.

    Raises:
        ValueError: weights differ by more than a factor of ``1e10``.
    """

    def __init__(
        self, ends: Tensor, weight: Tensor, size: int, most_steps: int | None = None
    ) -> None:
        _require_near(weight, _MOST_APART_IN_SUMS)
        both = torch.cat([ends, ends.flip(0)], 1)
        self._adj = Adjacency.of(both, size)
        self._weight = weight.repeat(2)
        self._degree = self._near(weight.new_ones(size, 1))
        self._most_steps = 10 * size if most_steps is None else most_steps
        row, col = torch.cat([both, torch.arange(size).expand(2, -1)], 1).numpy()
        entries = torch.cat([-self._weight, self._degree.flatten()]).numpy()
        laplacian = csr_array((entries, (row, col)), shape=(size, size))
        self._factors = None
        if factors_stay_sparse(laplacian, _FILL):
            # The voltage of the last node is 0.
            grounded = csc_array(laplacian[:-1, :-1])
            self._factors = splu(grounded, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)

    def __call__(self, right: Tensor) -> Tensor:
        """The solutions ``[N, K]``, each up to a constant, of columns ``[N, K]`` that sum to 0.

        Raises:
            RuntimeError: they do not converge.
        """
        if self._factors is None:
            return self._iterated(right)
        found = torch.zeros_like(right)
        found[:-1] = torch.from_numpy(self._factors.solve(right[:-1].numpy()))
        return found

    def _iterated(self, right: Tensor) -> Tensor:
        found, rest = torch.zeros_like(right), right
        step = rest / self._degree
        error = (rest * step).sum(0)
        goal = error * _TOLERANCE**2
        for _ in range(self._most_steps):
            if bool((error <= goal).all()):
                return found
            image = self._degree * step - self._near(step)
            length = torch.where(error > goal, error / (step * image).sum(0), 0)
            found, rest = found + length * step, rest - length * image
            scaled = rest / self._degree
            before, error = error, (rest * scaled).sum(0)
            step = scaled + torch.where(before > goal, error / before, 0) * step
        raise RuntimeError(
            f"conjugate gradients do not converge on a component of {right.size(0)} nodes (are "
            "weights of very different sizes? raise `dense_limit` above that to solve it directly)"
        )

    def _near(self, x: Tensor) -> Tensor:
        return gather_reduce(x, self._adj, self._weight)


def _require_near(weight: Tensor, most: float) -> None:
    if weight.numel() == 0:
        return
    low, high = float(weight.min()), float(weight.max())
    if high / low > most:
        more = " (or raise `dense_limit`, which allows 1e+20)" if most < _MOST_APART else ""
        raise ValueError(
            f"weights must not differ by more than a factor of {most:.0e}, as digits are lost in "
            f"sums of them, got {low:.3g} and {high:.3g}: set the smallest to more{more}"
        )
