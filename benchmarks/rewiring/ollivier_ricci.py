"""Ollivier-Ricci curvature of all edges: ours against GraphRicciCurvature, and linear programs.

    python -m benchmarks.rewiring.ollivier_ricci

Every side begins with an ``edge_index``, GraphRicciCurvature with the networkx graph of it, and
ends with the curvature of every edge, without laziness. GraphRicciCurvature solves an optimal
transport between all neighbours of both ends (with POT), on as many processes as there are threads;
the linear programs are those of scipy (HiGHS). The large graph is ours alone.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from benchmarks._command import command
from benchmarks._graphs import power_law
from benchmarks._harness import Case, Side
from benchmarks._peers import UnavailableError, find
from gnnlib.datasets import load
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring.curvature import _ollivier_ricci, ollivier_ricci

CORA_NODES, CORA_EDGES = 2_708, 10_556


def _ours(edge_index: Tensor) -> Tensor:
    return ollivier_ricci(edge_index)


def _programs(edge_index: Tensor) -> Tensor:
    graph = SimpleGraph.of_edges(edge_index)
    ends = graph.ends.contiguous()
    return _ollivier_ricci._reference(graph.rowptr, graph.col, None, *ends, 0.0)[graph.of]


def _theirs(curvature: Any, graph: nx.Graph, edge_index: Tensor) -> Tensor:
    # With base 1 a walk chooses uniformly.
    made = curvature(graph, alpha=0, base=1, method="OTD", proc=torch.get_num_threads())
    found = made.compute_ricci_curvature_edges(list(graph.edges))
    value = {frozenset(ends): kappa for ends, kappa in found.items()}
    pairs = edge_index.t().tolist()
    return torch.tensor([value[frozenset(pair)] for pair in pairs], dtype=torch.float64)


def _sides(edge_index: Tensor, programs: bool) -> list[Side]:
    sides = [Side("gnnlib ollivier_ricci", partial(_ours, edge_index))]
    try:
        curvature = find("GraphRicciCurvature.OllivierRicci.OllivierRicci")
        graph = nx.Graph(edge_index.t().tolist())
        call = partial(_theirs, curvature, graph, edge_index)
        sides.append(Side("GraphRicciCurvature", call))
    except UnavailableError as error:
        sides.append(Side("GraphRicciCurvature", None, str(error)))
    if programs:
        sides.append(Side("linear programs (scipy)", partial(_programs, edge_index)))
    return sides


def _both_ways(graph: nx.Graph) -> Tensor:
    ends = torch.tensor(list(graph.edges)).t()
    return torch.cat([ends, ends.flip(0)], 1)


def _preferential(num_nodes: int, degree: int, programs: bool) -> list[Side]:
    return _sides(_both_ways(nx.barabasi_albert_graph(num_nodes, degree, seed=0)), programs)


def _alone(num_nodes: int, num_edges: int) -> list[Side]:
    return _sides(power_law(num_nodes, num_edges), programs=False)[:1]


def _cora() -> tuple[str, Tensor]:
    """Cora where its files are, or else a graph of its size with hubs."""
    try:
        return "Cora", load("Cora").train.edge_index
    except (OSError, ValueError):
        return "a power law of the size of Cora", power_law(CORA_NODES, CORA_EDGES)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    num_nodes, degree = (30, 3) if quick else (2_000, 5)
    title = f"a Barabasi-Albert graph ({num_nodes}, {degree})"
    # Programs of a large graph take minutes.
    yield Case(title, partial(_preferential, num_nodes, degree, programs=quick))
    if not quick:
        name, edge_index = _cora()
        yield Case(name, partial(_sides, edge_index, programs=False))
    num_nodes, num_edges = (60, 300) if quick else (100_000, 1_000_000)
    title = f"a power law, {num_nodes} nodes, {num_edges} directed edges, ours alone"
    yield Case(title, partial(_alone, num_nodes, num_edges))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    peers = ("GraphRicciCurvature", "scipy")
    return command("rewiring.ollivier_ricci", __doc__, cases, argv, peers=peers, seconds=60)


if __name__ == "__main__":
    raise SystemExit(main())
