"""The graphs the benchmarks run on: one large with hubs, and five shapes of a tenth of its size."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnnlib import Adjacency

# The size of ogbn-arxiv with both directions of every edge.
ARXIV_NODES, ARXIV_EDGES = 169_343, 2_332_486


# Compared by identity, so that what is prepared for a graph can be kept with it.
@dataclass(frozen=True, eq=False)
class Graph:
    """Edges ``[2, E]`` from ``num_src`` to ``num_dst`` nodes; a new tensor each call, if asked."""

    edge_index: Tensor
    num_src: int
    num_dst: int
    is_new: bool = False

    def edges(self) -> Tensor:
        """What a layer would be handed this time."""
        # A clone is what a loader's batch is to the adjacency cache: a tensor it has not seen.
        return self.edge_index.clone() if self.is_new else self.edge_index

    def adjacency(self) -> Adjacency:
        """What a layer makes of its edges, or finds again."""
        return Adjacency.of(self.edges(), (self.num_src, self.num_dst))


def large(quick: bool = False) -> Graph:
    """The large graph."""
    num_nodes, num_edges = (500, 4_000) if quick else (ARXIV_NODES, ARXIV_EDGES)
    return Graph(power_law(num_nodes, num_edges), num_nodes, num_nodes)


def shapes(quick: bool = False) -> dict[str, Graph]:
    """Graphs of about 250,000 edges each, and a batch of 128 molecules."""
    side, scale = (6, 1_000) if quick else (177, 1)
    num_edges = 250_000 // scale
    num_nodes = num_edges * ARXIV_NODES // ARXIV_EDGES
    batch, batch_nodes = molecules(4 if quick else 128)
    return {
        "grid": Graph(grid(side), side**2, side**2),
        "molecules": Graph(batch, batch_nodes, batch_nodes),
        "power law": Graph(power_law(num_nodes, num_edges), num_nodes, num_nodes),
        "one hub": Graph(star(num_edges // 2), num_edges // 2 + 1, num_edges // 2 + 1),
        "bipartite": bipartite(20_000 // scale, 5_000 // scale, num_edges),
    }


def power_law(
    num_nodes: int = ARXIV_NODES, num_edges: int = ARXIV_EDGES, tail: float = 0.582, seed: int = 0
) -> Tensor:
    """An undirected graph with hubs, as ``edge_index`` in no particular order.

    Both ends of every edge are drawn in proportion to the node's weight, its rank to the power
    ``-tail`` (Chung and Lu, 2002); the default gives a largest in-degree of about 5,500 at the
    default size. No self loops, no edge twice, ids in random order.

    Args:
        num_nodes: number of nodes.
        num_edges: number of directed edges, even, well below ``num_nodes ** 2``.
        tail: how heavy the tail is, in ``[0, 1)``.
        seed: same seed, same graph.

    Returns:
        ``[2, num_edges]`` int64.

    Raises:
        ValueError: ``num_edges`` is odd.
    """
    if num_edges % 2:
        raise ValueError(
            f"`num_edges` must be even (both directions of each edge), got {num_edges}"
        )
    rng = np.random.default_rng(seed)
    reach = np.cumsum(np.arange(1, num_nodes + 1) ** -tail)
    pairs = np.empty(0, dtype=np.int64)
    while len(pairs) < num_edges // 2:
        ends = np.searchsorted(reach, rng.random((2, num_edges)) * reach[-1])
        low, high = ends.min(0), ends.max(0)
        pairs = np.union1d(pairs, (low * num_nodes + high)[low != high])
    # Drawn without regard to order, as np.union1d has sorted them.
    pairs = rng.permutation(pairs)[: num_edges // 2]
    rank_to_id = rng.permutation(num_nodes)
    low, high = rank_to_id[pairs // num_nodes], rank_to_id[pairs % num_nodes]
    both = np.stack([np.concatenate([low, high]), np.concatenate([high, low])])
    return torch.from_numpy(np.ascontiguousarray(rng.permutation(both, axis=1)))


def molecules(num_graphs: int = 128, mean_nodes: int = 25, seed: int = 0) -> tuple[Tensor, int]:
    """A batch of graphs of the size of molecules: each a tree of small degree with a few rings.

    Args:
        num_graphs: graphs in the batch.
        mean_nodes: mean number of nodes of one.
        seed: same seed, same batch.

    Returns:
        ``edge_index`` of the batch as a loader gives it (graph after graph, both directions of a
        bond beside each other, about 2.1 directed edges a node), and its number of nodes.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.normal(mean_nodes, mean_nodes / 4, num_graphs).round().astype(int).clip(6)
    starts = np.cumsum(sizes) - sizes
    bonds = np.concatenate(
        [start + _molecule(rng, int(size)) for start, size in zip(starts, sizes, strict=True)]
    )
    both = np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2)
    return torch.from_numpy(np.ascontiguousarray(both.T)), int(sizes.sum())


def _molecule(rng: np.random.Generator, size: int) -> np.ndarray:
    """``[bonds, 2]``: a random tree whose parents are near, and rings of about six closed on it."""
    child = np.arange(1, size)
    tree = np.stack([np.maximum(child - rng.choice([1, 1, 1, 2, 3], size - 1), 0), child], axis=1)
    # A tree has 2 (n - 1) / n directed edges a node; the rings make it 2.1.
    rings = max(1, round(0.05 * size + 1))
    first = rng.choice(size - 5, min(rings, size - 5), replace=False)
    return np.concatenate([tree, np.stack([first, first + 5], axis=1)])


def grid(side: int) -> Tensor:
    """``[2, E]`` of a square grid whose nodes are joined to their eight neighbours."""
    row, col = torch.arange(side * side) // side, torch.arange(side * side) % side
    edges = []
    for dr, dc in itertools.product((-1, 0, 1), repeat=2):
        r, c = row + dr, col + dc
        inside = (r >= 0) & (r < side) & (c >= 0) & (c < side) & (dr != 0 or dc != 0)
        edges.append(torch.stack([(row * side + col)[inside], (r * side + c)[inside]]))
    return torch.cat(edges, 1)


def star(leaves: int, seed: int = 0) -> Tensor:
    """``[2, 2 * leaves]``: one node joined to all others, both ways, in no particular order."""
    rng = np.random.default_rng(seed)
    hub, leaf = np.zeros(leaves, dtype=np.int64), np.arange(1, leaves + 1)
    both = np.stack([np.concatenate([hub, leaf]), np.concatenate([leaf, hub])])
    return torch.from_numpy(np.ascontiguousarray(rng.permutation(both, axis=1)))


def bipartite(num_src: int, num_dst: int, num_edges: int, seed: int = 0) -> Graph:
    """Edges with uniform ends, from many nodes to fewer others, as from users to items."""
    rng = np.random.default_rng(seed)
    ends = [rng.integers(0, size, num_edges) for size in (num_src, num_dst)]
    return Graph(torch.from_numpy(np.stack(ends)), num_src, num_dst)
