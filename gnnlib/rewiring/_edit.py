"""What a rewiring does to a graph, and what must not be taken from it."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph


@dataclass(frozen=True)
class Edit:
    """Edges that come and edges that go, against the graph as it was.

    Attributes:
        added: ``[2, K]``, the smaller and the larger end of every new edge; none of them was there,
            and none comes twice.
        removed: ``[M]`` bool, which of the graph's edges go.
        kind: ``[K]``, the relation of every new edge, from 1 on; ``None`` if all are of relation 1.
    """

    added: Tensor
    removed: Tensor
    kind: Tensor | None = None

    @staticmethod
    def none(graph: SimpleGraph) -> "Edit":
        """Nothing comes and nothing goes."""
        return Edit.adding(graph, graph.ends.new_empty(2, 0))

    @staticmethod
    def adding(graph: SimpleGraph, added: Tensor, kind: Tensor | None = None) -> "Edit":
        """Edges come, none goes."""
        return Edit(added, torch.zeros(graph.num_edges, dtype=torch.bool), kind)

    @staticmethod
    def between(before: SimpleGraph, after: SimpleGraph) -> "Edit":
        """What made one graph of the other, whatever steps led there."""
        new = before.edge_id(after.ends) < 0
        return Edit(after.ends[:, new], after.edge_id(before.ends) < 0)


def spared(graph: SimpleGraph, added: Tensor, removed: Tensor) -> Tensor:
    """``removed`` without the edges that hold a component together, ``[M]`` bool.

    Those go back one after the other, in the graph's order, that join two parts of what remains.
    """
    kept = torch.cat([graph.ends[:, ~removed], added], 1).numpy()
    size = graph.num_nodes
    shape = coo_array((np.ones(kept.shape[1]), (kept[0], kept[1])), shape=(size, size))
    parent = connected_components(shape, directed=False)[1]
    spare = removed.clone()

    def root(part: int) -> int:
        while parent_of[part] != part:
            parent_of[part] = parent_of[parent_of[part]]
            part = parent_of[part]
        return part

    parent_of = list(range(int(parent.max()) + 1 if size else 0))
    for edge in removed.nonzero().flatten().tolist():
        u, v = graph.ends[:, edge].tolist()
        a, b = root(int(parent[u])), root(int(parent[v]))
        if a != b:
            parent_of[a] = b
            spare[edge] = False
    return spare
