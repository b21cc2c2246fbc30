"""What the laws of a rewiring work on: a fixed family of graphs, and what becomes of each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Data  # type: ignore[import-untyped, unused-ignore]

from gnnlib.rewiring._rewiring import Rewiring

# Nothing in the graphs has these values, so that they tell a new edge's attributes.
FILL = {"edge_attr": -7.0, "edge_weight": -5.0}
EDGE_ATTRIBUTES = ("edge_attr", "edge_weight")


@dataclass(frozen=True)
class RewiringCase:
    """A rewiring under test, and what it makes of the graphs."""

    make: Callable[..., Rewiring]
    budget: Callable[[Any], tuple[float, float]]
    seed: int

    def rewiring(self, **kwargs: Any) -> Rewiring:
        """A fresh rewiring; the same every time."""
        return self.make(**{"seed": self.seed, "fill": FILL, **kwargs})

    @cached_property
    def graphs(self) -> dict[str, Any]:
        """The family, by name."""
        generator = torch.Generator().manual_seed(self.seed)
        return {name: _graph(*parts, generator) for name, parts in _FAMILY.items()}

    @cached_property
    def results(self) -> dict[str, Any]:
        """What becomes of each alone."""
        return {name: self.rewiring()(data) for name, data in self.graphs.items()}

    def of_all(self, graphs: Iterable[Any], **kwargs: Any) -> list[Any]:
        """What becomes of graphs in one call, which is much faster."""
        found: list[Any] = self.rewiring(**kwargs)(list(graphs))
        return found

    def check(self, law: Callable[..., None], *more: Iterable[Any]) -> None:
        """Check a law of a graph, what became of it, and whatever else, on each of the family."""
        graphs, results = self.graphs.values(), self.results.values()
        for name, *given in zip(self.graphs, graphs, results, *more, strict=True):
            try:
                law(*given)
            except AssertionError as error:  # noqa: PERF203 (to say of which graph)
                raise AssertionError(f"{name}: {error}") from error


def _clique(*nodes: int) -> list[tuple[int, int]]:
    return [(u, v) for u in nodes for v in nodes if u < v]


def _path(*nodes: int) -> list[tuple[int, int]]:
    return list(pairwise(nodes))


_GRID = [(i, i + step) for step in (1, 4) for i in range(16) if step == 4 or i % 4 < 3]
_HUBS = _path(*range(9)) + [(0, v) for v in range(2, 15)] + [(1, v) for v in range(3, 9)]
_MIXED = [(i, (i * i + k) % 13) for i in range(13) for k in (1, 2, 5) if i != (i * i + k) % 13]

# Nodes, undirected edges, and what comes on top: edges again, and edges from a node to itself.
_FAMILY: dict[str, tuple[int, list[tuple[int, int]], list[tuple[int, int]]]] = {
    "no nodes": (0, [], []),
    "one node": (1, [], []),
    "one node with a self loop": (1, [], [(0, 0)]),
    "no edges": (4, [], []),
    "one edge": (2, [(0, 1)], []),
    "path": (8, _path(*range(8)), []),
    "cycle": (8, [*_path(*range(8)), (0, 7)], []),
    "star": (7, [(0, v) for v in range(1, 7)], []),
    "complete": (5, _clique(*range(5)), []),
    "two cliques and a bridge": (8, [*_clique(0, 1, 2, 3), (3, 4), *_clique(4, 5, 6, 7)], []),
    "grid": (16, [edge for edge in _GRID if edge[1] < 16], []),
    "tree": (11, [((v - 1) // 2, v) for v in range(1, 11)], []),
    "hubs": (15, _HUBS, []),
    "parts and isolated nodes": (13, [*_path(0, 1, 2), *_clique(4, 5, 6), *_path(7, 8, 9, 10)], []),
    "mixed": (13, _MIXED, []),
    "self loops and repeated edges": (
        11,
        [*_clique(0, 1, 2), *_path(2, 3, 4, 5, 6, 7, 2), *_path(5, 8, 9)],
        [(3, 3), (3, 3), (8, 8), (10, 10), (2, 3), (3, 2), (2, 3), (0, 1), (5, 8)],
    ),
}


def _graph(
    num_nodes: int,
    edges: list[tuple[int, int]],
    more: list[tuple[int, int]],
    generator: torch.Generator,
) -> Any:
    """A graph with its edges shuffled, and with attributes of everything."""
    pairs = sorted(set(map(tuple, map(sorted, edges))))
    both = [*pairs, *((v, u) for u, v in pairs), *more]
    edge_index = torch.tensor(both, dtype=torch.long).reshape(-1, 2).t()
    edge_index = edge_index[:, torch.randperm(len(both), generator=generator)]
    return Data(
        x=torch.rand(num_nodes, 3, generator=generator),
        y=torch.randint(3, (num_nodes,), generator=generator),
        edge_index=edge_index.contiguous(),
        edge_attr=torch.rand(len(both), 2, generator=generator),
        edge_weight=torch.rand(len(both), generator=generator),
    )


def with_edges(data: Any, edges: Tensor) -> Any:
    """The graph with some of its edges, or all in another order."""
    out = data.clone()
    out.edge_index = data.edge_index[:, edges]
    for key in EDGE_ATTRIBUTES:
        out[key] = data[key][edges]
    return out


def pairs_of(edge_index: Tensor) -> set[tuple[int, int]]:
    """The edges of a simple graph."""
    return {(min(edge), max(edge)) for edge in edge_index.t().tolist() if edge[0] != edge[1]}


def components_of(data: Any) -> Any:
    """The component of every node."""
    source, target = data.edge_index.numpy()
    shape = (data.num_nodes, data.num_nodes)
    joined = coo_array((np.ones(len(source)), (source, target)), shape=shape)
    return connected_components(joined, directed=False)[1]


def new_edges_of(result: Any) -> Any:
    """The edges that were not there before."""
    return result.edge_index[:, result.parent_id < 0]
