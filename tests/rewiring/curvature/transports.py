"""Graphs, and what curvature and plans must be on them by the definition."""

import networkx as nx
import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import block_diag
from torch import Tensor

from gnnlib.rewiring._simple_graph import SimpleGraph

NAMED = {
    "complete": nx.complete_graph(6),
    "triangle": nx.cycle_graph(3),
    "square": nx.cycle_graph(4),
    "pentagon": nx.cycle_graph(5),
    "hexagon": nx.cycle_graph(6),
    "path": nx.path_graph(6),
    "star": nx.star_graph(5),
    "tree": nx.balanced_tree(2, 3),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4)),
    "barbell": nx.barbell_graph(5, 0),
    "hypercube": nx.convert_node_labels_to_integers(nx.hypercube_graph(3)),
    "petersen": nx.petersen_graph(),
    "bipartite": nx.complete_bipartite_graph(3, 5),
    "karate": nx.karate_club_graph(),
    "hubs": nx.barabasi_albert_graph(30, 3, seed=1),
    "dense": nx.gnp_random_graph(14, 0.5, seed=2),
}


def edges_of(graph: nx.Graph) -> Tensor:
    """Both directions of every edge, the second after all first ones."""
    ends = torch.tensor(list(graph.edges), dtype=torch.long).reshape(-1, 2).t()
    return torch.cat([ends, ends.flip(0)], 1)


def some_ends(graph: SimpleGraph) -> Tensor:
    """The ends of all edges, or of 6 to 12 from all over a graph with more than 12."""
    return graph.ends[:, :: -(-graph.num_edges // 12)].contiguous()


def walk(graph: nx.Graph, node: int, alpha: float) -> np.ndarray:
    """Where a lazy walk goes from a node, by the attribute ``weight`` of edges if there is one."""
    mass = np.zeros(len(graph))
    total = sum(edge.get("weight", 1.0) for edge in graph[node].values())
    for near, edge in graph[node].items():
        mass[near] += (1 - alpha) * edge.get("weight", 1.0) / total
    mass[node] += alpha
    return mass


def curvature(graph: nx.Graph, alpha: float = 0.0) -> list[float]:
    """1 less the optimum of the whole linear program, all pairs of supports, for every edge.

    The programs of all edges are solved side by side, as one.
    """
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    costs, sums, masses = [np.zeros(0)], [], [np.zeros(0)]
    for u, v in graph.edges:
        give, take = walk(graph, u, alpha), walk(graph, v, alpha)
        p, q = give.nonzero()[0], take.nonzero()[0]
        costs.append(np.array([distance[int(a)][int(b)] for a in p for b in q], dtype=float))
        leaves = np.kron(np.eye(len(p)), np.ones(len(q)))
        arrives = np.kron(np.ones(len(p)), np.eye(len(q)))
        sums.append(np.vstack([leaves, arrives]))
        masses += [give[p], take[q]]
    if not sums:
        return []
    cost = np.concatenate(costs)
    plan = linprog(cost, A_eq=block_diag(sums), b_eq=np.concatenate(masses)).x
    ends = np.cumsum([part.size for part in costs])[:-1]
    return [float(1 - work.sum()) for work in np.split(cost * plan, ends)[1:]]


@st.composite
def graphs(draw: st.DrawFn, at_most: int = 10) -> nx.Graph:
    """Any simple graph of few nodes."""
    size = draw(st.integers(1, at_most))
    pairs = [(u, v) for u in range(size) for v in range(u + 1, size)]
    kept = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    graph = nx.empty_graph(size)
    graph.add_edges_from(pair for pair, keep in zip(pairs, kept, strict=True) if keep)
    return graph
