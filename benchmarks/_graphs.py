"""The graphs the benchmarks run on: one large with hubs, and a batch of molecules."""

import numpy as np
import torch
from torch import Tensor

# The size of ogbn-arxiv with both directions of every edge.
ARXIV_NODES, ARXIV_EDGES = 169_343, 2_332_486


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
