"""All pairs of nodes up to ten hops apart: ours against dense matrices and scipy.

    python -m benchmarks.kernels.k_hop

Graphs are those of peptides (150 nodes) and of molecules (25), trees with a few rings, and one grid
that is too large for a dense matrix. Every side begins with lists of edges and ends with pairs and
their distances; ours in CSR form, as its layers read them. Between calls nothing is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data

from benchmarks._command import command
from benchmarks._graphs import grid, molecules
from benchmarks._harness import Case, Side
from gnnlib import Adjacency
from gnnlib.encodings import AddKHop
from gnnlib.ops import KHop, k_hop

HOPS = 10
Graphs = Sequence[tuple[Tensor, int]]


@dataclass(frozen=True)
class Pairs:
    """What a side found, in its own order; sorted only when the harness compares it."""

    dst: Sequence[Tensor]
    src: Sequence[Tensor]
    distance: Sequence[Tensor]
    starts: Sequence[int]

    def __iter__(self) -> Iterator[Tensor]:
        dst, src = (
            torch.cat([part.long() + start for part, start in zip(parts, self.starts, strict=True)])
            for parts in (self.dst, self.src)
        )
        order = (dst * (int(src.max()) + 1) + src).argsort()
        yield from (dst[order], src[order], torch.cat(list(self.distance)).long()[order])


@dataclass(frozen=True)
class Found:
    """Ours, whose pairs and distances are written down only when the harness compares them."""

    pairs: KHop

    def __iter__(self) -> Iterator[Tensor]:
        src, dst = self.pairs.pairs
        return iter(Pairs([dst], [src], [self.pairs.distance], [0]))


def _starts(graphs: Graphs) -> list[int]:
    sizes = [num_nodes for _, num_nodes in graphs]
    return [0, *np.cumsum(sizes[:-1]).tolist()]


def _joined(graphs: Graphs) -> tuple[Tensor, int]:
    """The batch, as a loader gives it."""
    parts = [edges + start for (edges, _), start in zip(graphs, _starts(graphs), strict=True)]
    return torch.cat(parts, 1), sum(num_nodes for _, num_nodes in graphs)


# -- ours ---------------------------------------------------------------------------------------


def _batch(edge_index: Tensor, num_nodes: int) -> Found:
    return Found(k_hop(Adjacency.of(edge_index.clone(), num_nodes), HOPS))


def _one_by_one(data: Sequence[Data], starts: Sequence[int]) -> Pairs:
    done = [AddKHop(HOPS)(graph) for graph in data]
    dst, src = ([graph.k_hop_index[row] for graph in done] for row in (1, 0))
    return Pairs(dst, src, [graph.k_hop_distance for graph in done], starts)


# -- the others ---------------------------------------------------------------------------------


def _by_graph(
    find: Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]],
    graphs: Graphs,
    starts: Sequence[int],
) -> Pairs:
    found = [find(edge_index, num_nodes) for edge_index, num_nodes in graphs]
    dst, src, distance = zip(*found, strict=True)
    return Pairs(dst, src, distance, starts)


def _dense(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """As DRew's code: the k-th matrix is where A times the one before is, less all before."""
    src, dst = edge_index
    adj = torch.zeros(num_nodes, num_nodes)
    adj[dst, src] = 1
    distance = adj.clone()
    distance.fill_diagonal_(0)
    seen = distance > 0
    seen.fill_diagonal_(True)
    last = distance
    for hop in range(2, HOPS + 1):
        met = (adj @ last > 0).logical_and_(~seen)
        seen |= met
        last = met.float()
        distance.add_(last, alpha=hop)
    dst, src = distance.nonzero(as_tuple=True)
    return dst, src, distance[dst, src]


def _dijkstra(edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """All shortest paths no longer than that, with all edges alike."""
    src, dst = edge_index.numpy()
    graph = sparse.csr_array((np.ones(len(src)), (dst, src)), (num_nodes, num_nodes))
    distance = sparse.csgraph.dijkstra(graph, unweighted=True, limit=HOPS)
    found = np.nonzero(np.isfinite(distance) & (distance > 0))
    return *map(torch.from_numpy, found), torch.from_numpy(distance[found])


def _powers(edge_index: Tensor, num_nodes: int) -> Pairs:
    """Boolean powers of the whole batch, less all before."""
    src, dst = edge_index.numpy()
    shape = (num_nodes, num_nodes)
    graph = sparse.csr_array((np.ones(len(src), dtype=bool), (dst, src)), shape)
    last = seen = sparse.eye_array(num_nodes, dtype=bool, format="csr")
    levels = []
    for _ in range(HOPS):
        last = (graph @ last) > seen
        seen = seen.maximum(last)
        levels.append(last.tocoo())
    distance = [torch.full((level.nnz,), hop + 1) for hop, level in enumerate(levels)]
    dst, src = ([torch.from_numpy(level.coords[axis]) for level in levels] for axis in (0, 1))
    return Pairs(dst, src, distance, [0] * HOPS)


# -- the cases ----------------------------------------------------------------------------------


def _sides(num_graphs: int, num_nodes: int) -> list[Side]:
    graphs = [molecules(1, num_nodes, seed) for seed in range(num_graphs)]
    starts, batch = _starts(graphs), _joined(graphs)
    data = [Data(edge_index=edge_index, num_nodes=size) for edge_index, size in graphs]
    return [
        Side("gnnlib k_hop, the batch", partial(_batch, *batch)),
        Side("gnnlib AddKHop, graph by graph", partial(_one_by_one, data, starts)),
        Side("dense matrices (as DRew's code)", partial(_by_graph, _dense, graphs, starts)),
        Side("scipy dijkstra", partial(_by_graph, _dijkstra, graphs, starts)),
        Side("scipy boolean powers, the batch", partial(_powers, *batch)),
    ]


def _grid_sides(side: int) -> list[Side]:
    graph = grid(side), side**2
    return [
        Side("gnnlib k_hop", partial(_batch, *graph)),
        Side("scipy boolean powers", partial(_powers, *graph)),
    ]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    num_graphs, side = (5, 6) if quick else (5_000, 177)
    for name, num_nodes in (("peptides", 150), ("molecules", 25)):
        title = f"{num_graphs} {name} of about {num_nodes} nodes, {HOPS} hops"
        yield Case(title, partial(_sides, num_graphs, num_nodes))
    yield Case(f"a grid of {side} x {side}, {HOPS} hops", partial(_grid_sides, side))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("kernels.k_hop", __doc__, cases, argv, peers=("scipy",), seconds=60)


if __name__ == "__main__":
    raise SystemExit(main())
