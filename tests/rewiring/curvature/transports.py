"""Graphs, and what curvature and plans must be on them by the definition."""

import networkx as nx
import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

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


def walk(graph: nx.Graph, node: int, alpha: float) -> np.ndarray:
    """Where a lazy walk goes from a node, by the attribute ``weight`` of edges if there is one."""
    mass = np.zeros(len(graph))
    total = sum(edge.get("weight", 1.0) for edge in graph[node].values())
    for near, edge in graph[node].items():
        mass[near] += (1 - alpha) * edge.get("weight", 1.0) / total
    mass[node] += alpha
    return mass


def curvature(graph: nx.Graph, alpha: float = 0.0) -> list[float]:
    """1 less the optimum of the whole linear program, all pairs of supports, for every edge."""
    distance = dict(nx.all_pairs_shortest_path_length(graph))
    found = []
    for u, v in graph.edges:
        give, take = walk(graph, u, alpha), walk(graph, v, alpha)
        p, q = give.nonzero()[0], take.nonzero()[0]
        cost = np.array([[distance[int(a)][int(b)] for b in q] for a in p])
        leaves = np.kron(np.eye(len(p)), np.ones(len(q)))
        arrives = np.kron(np.ones(len(p)), np.eye(len(q)))
        mass = np.concatenate([give[p], take[q]])
        solved = linprog(cost.ravel(), A_eq=np.vstack([leaves, arrives]), b_eq=mass)
        found.append(1 - solved.fun)
    return found


@st.composite
def graphs(draw: st.DrawFn, at_most: int = 10) -> nx.Graph:
    """Any simple graph of few nodes."""
    size = draw(st.integers(1, at_most))
    pairs = [(u, v) for u in range(size) for v in range(u + 1, size)]
    kept = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    graph = nx.empty_graph(size)
    graph.add_edges_from(pair for pair, keep in zip(pairs, kept, strict=True) if keep)
    return graph
