"""BORF on molecules: ours, all at once, against a loop with GraphRicciCurvature.

    python -m benchmarks.rewiring.borf

Ours begins with PyG graphs and ends with PyG graphs; the peer has networkx graphs on both ends. It
goes as BORF's code does: graph by graph, in every iteration the curvature of all edges (by optimal
transport with POT, on as many processes as there are threads), then the plans of the lowest.
Which edges come depends on the plan, and there are many least ones, so what all sides must agree on
is the curvature of the graphs they begin with. The loop takes ten times as long for ten times as
many graphs, so it runs on the first hundred.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from benchmarks._command import command
from benchmarks._graphs import molecules
from benchmarks._harness import Case, Side
from benchmarks._peers import UnavailableError, find
from gnnlib.rewiring import BORF
from gnnlib.rewiring.curvature import ollivier_ricci

ITERATIONS, ADD, REMOVE = 3, 4, 2


@dataclass(frozen=True)
class Rewired:
    """What a side made of its graphs, and the graphs it began with, whose curvature is compared."""

    made: Any
    edge_index: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        ends = self.edge_index[:, self.edge_index[0] < self.edge_index[1]]
        every = ollivier_ricci(self.edge_index)[self.edge_index[0] < self.edge_index[1]]
        yield every[(ends[0] * (int(ends.max()) + 1) + ends[1]).argsort()]


@dataclass(frozen=True)
class Looped:
    """What the loop made, and the curvature it found at first."""

    made: list[nx.Graph]
    first: list[dict[tuple[int, int], float]]

    def __iter__(self) -> Iterator[Tensor]:
        sorted_ends = [
            {tuple(sorted(ends)): k for ends, k in found.items()} for found in self.first
        ]
        values = [found[ends] for found in sorted_ends for ends in sorted(found)]
        yield torch.tensor(values, dtype=torch.float64)


def _ours(graphs: Any, edge_index: Tensor) -> Rewired:
    return Rewired(BORF(ITERATIONS, ADD, REMOVE)(graphs), edge_index)


def _one_by_one(graphs: list[Data], edge_index: Tensor) -> Rewired:
    rewire = BORF(ITERATIONS, ADD, REMOVE)
    return Rewired([rewire(graph) for graph in graphs], edge_index)


def _farthest(emd: Any, graph: nx.Graph, u: int, v: int) -> tuple[int, int]:
    """Between which two nodes an optimal plan carries the most, mass times distance."""
    near, far = list(graph[u]), list(graph[v])
    lengths = [nx.single_source_shortest_path_length(graph, p, cutoff=3) for p in near]
    cost = np.array([[float(length[q]) for q in far] for length in lengths])
    plan = emd(np.full(len(near), 1 / len(near)), np.full(len(far), 1 / len(far)), cost)
    row, column = np.unravel_index((plan * cost).argmax(), cost.shape)
    return near[row], far[column]


def _loop(curvature: Any, emd: Any, graphs: list[nx.Graph]) -> Looped:
    made, first = [], []
    for given in graphs:
        graph = given.copy()
        for step in range(ITERATIONS):
            # With base 1 a walk chooses uniformly.
            solver = curvature(graph, alpha=0, base=1, method="OTD", proc=torch.get_num_threads())
            found = solver.compute_ricci_curvature_edges(list(graph.edges))
            if step == 0:
                first.append(found)
            order = sorted(found, key=found.get)
            pairs = [_farthest(emd, graph, u, v) for u, v in order[:ADD]]
            graph.add_edges_from((p, q) for p, q in pairs if p != q)
            graph.remove_edges_from(order[-REMOVE:])
        made.append(graph)
    return Looped(made, first)


def _sides(num_graphs: int, peer: bool) -> list[Side]:
    parts = [molecules(1, 25, seed) for seed in range(num_graphs)]
    graphs = [Data(edge_index=edge_index, num_nodes=size) for edge_index, size in parts]
    batch = Batch.from_data_list(graphs)
    sides = [
        Side("gnnlib BORF, a batch", partial(_ours, batch, batch.edge_index)),
        Side("gnnlib BORF, a list", partial(_ours, graphs, batch.edge_index)),
        Side("gnnlib BORF, graph by graph", partial(_one_by_one, graphs, batch.edge_index)),
    ]
    if not peer:
        return sides
    try:
        curvature = find("GraphRicciCurvature.OllivierRicci.OllivierRicci")
        peers = [nx.Graph(edge_index.t().tolist()) for edge_index, _ in parts]
        call = partial(_loop, curvature, find("ot.emd"), peers)
        sides.append(Side("a loop with GraphRicciCurvature", call))
    except UnavailableError as error:
        sides.append(Side("a loop with GraphRicciCurvature", None, str(error)))
    return sides


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, a tiny one."""
    for num_graphs, peer in ((3, True),) if quick else ((100, True), (1_000, False)):
        title = f"{num_graphs} molecules, {ITERATIONS} iterations of +{ADD} and -{REMOVE} edges"
        yield Case(title, partial(_sides, num_graphs, peer))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    peers = ("GraphRicciCurvature", "POT")
    return command("rewiring.borf", __doc__, cases, argv, peers=peers, seconds=60)


if __name__ == "__main__":
    raise SystemExit(main())
