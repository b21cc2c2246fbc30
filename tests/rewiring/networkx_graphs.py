"""Graphs of networkx, and the way to PyG and back."""

import networkx as nx
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data

Edges = set[tuple[int, int]]

# Any simple graph of few nodes.
small = st.builds(nx.gnm_random_graph, st.integers(0, 10), st.integers(0, 20), st.integers(0, 99))


def data_of(graph: nx.Graph) -> Data:
    """Both directions of every edge, the second after all first ones."""
    pairs = torch.tensor(list(graph.edges), dtype=torch.long).reshape(-1, 2).t()
    return Data(edge_index=torch.cat([pairs, pairs.flip(0)], 1), num_nodes=len(graph))


def edges_of(data: Data) -> Edges:
    """The smaller and the larger end of every edge; all must go both ways, and none be a loop."""
    assert data.is_undirected()
    assert not data.has_self_loops()
    return {(u, v) for u, v in data.edge_index.t().tolist() if u < v}
