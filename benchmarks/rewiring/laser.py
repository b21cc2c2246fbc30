"""LASER: ours against dense matrices of walks and distances, as the paper's code has them.

    python -m benchmarks.rewiring.laser

Every side begins with graphs and ends with the edges of the rewired ones and their types. The dense
side ranks each orbit of each node by rows of a matrix of all pairs, and takes equals in the same
order as ours, so that both can be compared; it is measured where such matrices fit in memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from benchmarks._command import command
from benchmarks._graphs import grid, molecules, power_law
from benchmarks._harness import Case, Side
from gnnlib._hash import uniform
from gnnlib.rewiring import LASER

SNAPSHOTS, FACTOR = 3, 0.5


def _ours(graphs: list[Data]) -> tuple[Tensor, Tensor]:
    done = LASER(SNAPSHOTS, FACTOR)(graphs)
    return _joined([(graph.edge_index, graph.edge_type) for graph in done])


def _dense(graphs: list[Data]) -> tuple[Tensor, Tensor]:
    return _joined([_dense_one(graph) for graph in graphs])


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The edges of all graphs, those of each in the order of their ends, and their types."""
    keys = [edges[0] * 2**32 + edges[1] for edges, _ in parts]
    orders = [key.argsort() for key in keys]
    ends = torch.cat([key[order] for key, order in zip(keys, orders, strict=True)])
    types = [kind[order] for (_, kind), order in zip(parts, orders, strict=True)]
    return torch.stack([ends >> 32, ends % 2**32]), torch.cat(types)


def _dense_one(graph: Data) -> tuple[Tensor, Tensor]:
    size = graph.num_nodes
    adj = np.zeros((size, size))
    adj[graph.edge_index[0], graph.edge_index[1]] = 1
    walks = np.linalg.matrix_power(adj + np.eye(size), 8)
    walks = walks.view(np.int64) + 2**22 >> 23
    draws = uniform(0, torch.arange(size)[:, None], torch.arange(size)).numpy()
    level = seen = np.eye(size, dtype=bool)
    kind = np.full((size, size), -1)
    for hop in range(1, SNAPSHOTS + 1):
        level = (adj @ level > 0) & ~seen
        seen = seen | level
        if hop == 1:
            kind[level] = 0
            continue
        for i in range(size):
            orbit = np.flatnonzero(level[i])
            order = orbit[np.lexsort((draws[i, orbit], walks[i, orbit]))]
            kind[i, order[: int(np.ceil(FACTOR * len(orbit)))]] = hop - 1
    kind = np.maximum(kind, kind.T)
    ends = np.stack(np.nonzero(kind >= 0))
    return torch.from_numpy(ends), torch.from_numpy(kind[ends[0], ends[1]])


def _sides(graphs: list[Data], dense: bool) -> list[Side]:
    sides = [Side("gnnlib LASER", partial(_ours, graphs))]
    if dense:
        sides.append(Side("dense matrices", partial(_dense, graphs)))
    return sides


def _molecules(num_graphs: int) -> list[Side]:
    parts = [molecules(1, 150, seed) for seed in range(num_graphs)]
    return _sides([Data(edge_index=edges, num_nodes=size) for edges, size in parts], True)


def _power_law(num_nodes: int) -> list[Side]:
    edges = power_law(num_nodes, 10 * num_nodes)
    return _sides([Data(edge_index=edges, num_nodes=num_nodes)], True)


def _grid(side: int) -> list[Side]:
    return _sides([Data(edge_index=grid(side), num_nodes=side**2)], False)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    num_graphs, num_nodes, side = (3, 50, 6) if quick else (500, 2_000, 316)
    kind = f"{SNAPSHOTS} snapshots"
    title = f"{num_graphs} peptides of about 150 nodes, {kind}"
    yield Case(title, partial(_molecules, num_graphs))
    title = f"power law of {num_nodes:,} nodes and {5 * num_nodes:,} edges, {kind}"
    yield Case(title, partial(_power_law, num_nodes))
    yield Case(f"a grid of {side} x {side}, {kind}", partial(_grid, side))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("rewiring.laser", __doc__, cases, argv)


if __name__ == "__main__":
    raise SystemExit(main())
