"""FoSR: ours against the outer product of the eigenvector with itself, as the paper's code has it.

    python -m benchmarks.rewiring.fosr

Every side begins with an ``edge_index`` and ends with that of the rewired graph. The dense side
looks for the smallest product among all pairs of nodes, and is measured where they fit in memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from benchmarks._command import command
from benchmarks._graphs import molecules, power_law
from benchmarks._harness import Case, Side
from gnnlib._hash import uniform
from gnnlib.rewiring import FoSR

POWER_ITERS = 5


def _ours(data: Data | list[Data], count: int) -> Tensor:
    out = FoSR(count, initial_power_iters=POWER_ITERS)(data)
    return _sorted([out] if isinstance(out, Data) else out)


def _sorted(graphs: Sequence[Data]) -> Tensor:
    """The edges of a batch of graphs, in the order of their ends."""
    edges, size = Batch.from_data_list(list(graphs)).edge_index, sum(g.num_nodes for g in graphs)
    return (edges[0] * size + edges[1]).sort().values


def _dense(graphs: Sequence[Data], count: int) -> Tensor:
    return _sorted([_dense_one(graph, count) for graph in graphs])


def _dense_one(graph: Data, count: int) -> Data:
    size = graph.num_nodes
    source, target = graph.edge_index.numpy()
    x = 2 * uniform(0, torch.arange(size)).numpy() - 1
    for step in range(POWER_ITERS + count):
        degree = np.bincount(source, minlength=size).astype(np.float64)
        if step >= POWER_ITERS:
            y = x / np.sqrt(degree + 1)
            product = np.outer(y, y)
            np.fill_diagonal(product, np.inf)
            product[source, target] = np.inf
            u, v = divmod(int(product.argmin()), size)
            source, target = np.append(source, [u, v]), np.append(target, [v, u])
            degree[[u, v]] += 1
        root = np.sqrt(degree)
        x = x - x @ root * root / degree.sum()
        x = x + np.bincount(target, x[source] / root[source], minlength=size) / root
        x = x / np.linalg.norm(x)
    return Data(edge_index=torch.from_numpy(np.stack([source, target])), num_nodes=size)


def _molecules(num_graphs: int, count: int) -> list[Side]:
    parts = [molecules(1, 150, seed) for seed in range(num_graphs)]
    graphs = [Data(edge_index=edges, num_nodes=size) for edges, size in parts]
    return [
        Side("gnnlib FoSR", partial(_ours, graphs, count)),
        Side("dense outer products", partial(_dense, graphs, count)),
    ]


def _power_law(num_nodes: int, num_edges: int, count: int, dense: bool) -> list[Side]:
    edges = power_law(num_nodes, num_edges)
    # A path through all nodes leaves none of them isolated, which the paper's code cannot take.
    path = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
    edges = torch.cat([edges, path, path.flip(0)], 1).unique(dim=1)
    data = Data(edge_index=edges, num_nodes=num_nodes)
    sides = [Side("gnnlib FoSR", partial(_ours, data, count))]
    if dense:
        call = partial(_dense, [data], count)
        sides.append(Side("dense outer products", call))
    return sides


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    num_graphs, count = (3, 5) if quick else (500, 40)
    title = f"{num_graphs} peptides of about 150 nodes, {count} edges each"
    yield Case(title, partial(_molecules, num_graphs, count))
    for num_nodes, dense in ((3_000, True), (100_000, False)):
        size, edges = (num_nodes // 100, 20) if quick else (num_nodes, 100)
        title = f"power law of {size:,} nodes and {10 * size:,} edges, {edges} edges"
        yield Case(title, partial(_power_law, size, 20 * size, edges, dense))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("rewiring.fosr", __doc__, cases, argv)


if __name__ == "__main__":
    raise SystemExit(main())
