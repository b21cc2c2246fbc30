"""Weighted Laplacians, component by component: inverses of small ones, linear systems of large."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gnnlib.adjacency import Adjacency
from gnnlib.ops import gather_reduce
from gnnlib.rewiring._simple_graph import SimpleGraph

# Entries of the inverses that are there at once.
_AT_ONCE = 2**24
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


def pseudo_inverses(ends: Tensor, weight: Tensor, count: int, size: int) -> Tensor:
    """Those of the Laplacians of connected graphs of one size, ``[count, size, size]``.

    Args:
        ends: ``[2, M]``, node ``i`` of the k-th graph as ``k * size + i``.
        weight: ``[M]``.
        count: how many graphs.
        size: how many nodes each of them has.
    """
    first, second = ends
    laplacian = weight.new_zeros(count * size * size)
    for u, v in ((first, second), (second, first)):
        laplacian[u * size + v % size] = -weight
    laplacian = laplacian.view(count, size, size)
    degree = -laplacian.sum(2)
    laplacian.diagonal(dim1=1, dim2=2).copy_(degree)
    # Constant vectors get an eigenvalue of the size of the others instead of 0, and lose it after.
    scale = degree.mean(1)[:, None, None]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(laplacian + scale / size))
    return inverse - 1 / (scale * size)


class Solver:
    """Solves ``L x = b`` for the Laplacian of a connected graph, by conjugate gradients.

    Args:
        ends: ``[2, M]``.
        weight: ``[M]``.
        size: how many nodes there are.
    """

    def __init__(self, ends: Tensor, weight: Tensor, size: int) -> None:
        self._adj = Adjacency.of(torch.cat([ends, ends.flip(0)], 1), size)
        self._weight = weight.repeat(2)
        self._degree = self._near(weight.new_ones(size, 1))

    def __call__(self, right: Tensor) -> Tensor:
        """The solutions ``[N, K]``, each up to a constant, of columns ``[N, K]`` that sum to 0.

        Raises:
            RuntimeError: they do not converge.
        """
        found, rest = torch.zeros_like(right), right
        step = rest / self._degree
        error = (rest * step).sum(0)
        goal = error * _TOLERANCE**2
        for _ in range(10 * right.size(0)):
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
