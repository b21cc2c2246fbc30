"""Forman curvatures and effective resistance: ours against sparse and dense matrices and networkx.

    python -m benchmarks.rewiring.forman

Every side begins with an ``edge_index`` and ends with one value for each of its edges. Graphs have
the size of Cora (2,708 nodes, 5,278 edges), of a tenth of ogbn-arxiv where the others still manage,
and of 100,000 nodes and a million edges.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import networkx as nx
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from benchmarks._command import command
from benchmarks._graphs import power_law
from benchmarks._harness import Case, Side
from gnnlib.rewiring.curvature import augmented_forman, balanced_forman, effective_resistance

# Standard deviation of what is estimated.
EPSILON = 0.1


def _adjacency(edge_index: Tensor, num_nodes: int) -> sparse.csr_array:
    source, target = edge_index.numpy()
    return sparse.csr_array((np.ones(len(source)), (source, target)), (num_nodes, num_nodes))


def _entries(matrix: sparse.csr_array, edge_index: Tensor) -> np.ndarray:
    source, target = edge_index.numpy()
    return np.asarray(matrix[source, target]).ravel()


def _sparse(edge_index: Tensor, num_nodes: int, cycles: int) -> Tensor:
    """Triangles and squares as entries of the powers of the adjacency matrix."""
    adj = _adjacency(edge_index, num_nodes)
    degree = adj.sum(1)
    both = degree[edge_index.numpy()].sum(0)
    power = adj @ adj
    value = 4 - both + 3 * _entries(power, edge_index)
    if cycles == 4:
        value += 2 * (_entries(power @ adj, edge_index) - both + 1)
    return torch.from_numpy(value)


def _sets(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Balanced Forman curvature, as its definition has it."""
    near: list[set[int]] = [set() for _ in range(num_nodes)]
    for u, v in edge_index.T.tolist():
        near[u].add(v)
    return torch.tensor(
        [_balanced(near, u, v) for u, v in edge_index.T.tolist()], dtype=torch.float64
    )


def _balanced(near: list[set[int]], u: int, v: int) -> float:
    low, high = sorted((len(near[u]), len(near[v])))
    if low == 1:
        return 0
    alone_u, alone_v = near[u] - near[v] - {v}, near[v] - near[u] - {u}
    boxes = [len(near[k] & alone_v) for k in alone_u] + [len(near[k] & alone_u) for k in alone_v]
    triangles = len(near[u] & near[v])
    value = 2 / low + 2 / high - 2 + 2 * triangles / high + triangles / low
    return value + sum(box > 0 for box in boxes) / (max([1, *boxes]) * high)


def _pinv(edge_index: Tensor, num_nodes: int) -> Tensor:
    adj = _adjacency(edge_index, num_nodes)
    inverse = np.linalg.pinv((sparse.diags_array(adj.sum(1)) - adj).toarray(), hermitian=True)
    source, target = edge_index.numpy()
    diagonal = inverse.diagonal()
    return torch.from_numpy(diagonal[source] + diagonal[target] - 2 * inverse[source, target])


def _networkx(edge_index: Tensor, num_nodes: int) -> Tensor:
    graph = nx.empty_graph(num_nodes)
    graph.add_edges_from(edge_index.T.tolist())
    resistance = {}
    for part in nx.connected_components(graph):
        resistance.update(nx.resistance_distance(graph.subgraph(part)))
    return torch.tensor([resistance[u][v] for u, v in edge_index.T.tolist()], dtype=torch.float64)


# -- the cases ----------------------------------------------------------------------------------


def _balanced_sides(num_nodes: int, num_edges: int, others: bool) -> list[Side]:
    graph = power_law(num_nodes, num_edges), num_nodes
    sides = [Side("gnnlib balanced_forman", partial(balanced_forman, *graph))]
    return [*sides, Side("Python sets", partial(_sets, *graph))] if others else sides


def _augmented_sides(num_nodes: int, num_edges: int, others: bool, cycles: int) -> list[Side]:
    graph = power_law(num_nodes, num_edges), num_nodes
    sides = [Side("gnnlib augmented_forman", partial(augmented_forman, *graph, cycles=cycles))]
    peer = Side("scipy sparse powers", partial(_sparse, *graph, cycles))
    return [*sides, peer] if others else sides


def _resistance_sides(num_nodes: int, num_edges: int) -> list[Side]:
    graph = power_law(num_nodes, num_edges), num_nodes
    return [
        Side("gnnlib effective_resistance", partial(effective_resistance, *graph)),
        Side("numpy pinv", partial(_pinv, *graph)),
        Side("networkx resistance_distance", partial(_networkx, *graph)),
    ]


def _estimate_sides(num_nodes: int, num_edges: int) -> list[Side]:
    graph = power_law(num_nodes, num_edges), num_nodes
    estimate = partial(effective_resistance, *graph, epsilon=EPSILON, dense_limit=0)
    exact = partial(effective_resistance, *graph, dense_limit=num_nodes)
    return [
        Side("gnnlib effective_resistance, estimated", estimate),
        Side("gnnlib effective_resistance, exact", exact),
    ]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    cora, arxiv, large = (2_708, 10_556), (16_934, 233_248), (100_000, 2_000_000)
    if quick:
        cora, arxiv, large = (40, 120), (60, 240), (80, 400)
    for size, others in ((cora, True), (arxiv, True), (large, False)):
        name = f"N={size[0]:,}, E={size[1]:,}"
        yield Case(f"balanced Forman, {name}", partial(_balanced_sides, *size, others))
        for cycles in (3, 4):
            title = f"augmented Forman, cycles of {cycles}, {name}"
            fits = others and (cycles == 3 or size == cora)  # the third power is nearly dense
            yield Case(title, partial(_augmented_sides, *size, fits, cycles))
    few = (cora[0] // 4, cora[1] // 8 * 2)
    name = f"N={few[0]:,}, E={few[1]:,}"
    yield Case(f"effective resistance, {name}", partial(_resistance_sides, *few))
    name = f"N={cora[0]:,}, E={cora[1]:,}"
    title = f"effective resistance, estimated, {name}"
    yield Case(title, partial(_estimate_sides, *cora), tolerance=2 * EPSILON)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    peers = ("scipy", "networkx", "numpy")
    return command("rewiring.forman", __doc__, cases, argv, peers=peers, seconds=60)


if __name__ == "__main__":
    raise SystemExit(main())
