"""Directed graphs for the encodings' tests."""

import networkx as nx
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data


def data_of(edges: list[tuple[int, int]], num_nodes: int) -> Data:
    return Data(
        edge_index=torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T, num_nodes=num_nodes
    )


@st.composite
def digraphs(draw: st.DrawFn, most: int = 8) -> Data:
    """Any directed graph: loops, repeated and two-way edges, sinks, sources, no edges, no nodes."""
    size = draw(st.integers(0, most))
    node = st.integers(0, max(size - 1, 0))
    edges = draw(st.lists(st.tuples(node, node), max_size=3 * size)) if size else []
    return data_of(edges, size)


def random_digraph(num_nodes: int, num_edges: int, seed: int = 0) -> Data:
    """A weakly connected one without symmetries, for all that is likely."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator)
    spine = torch.randperm(num_nodes, generator=generator)
    return Data(
        edge_index=torch.cat([edges, torch.stack([spine[:-1], spine[1:]])], dim=1),
        num_nodes=num_nodes,
    )


def random_dag(num_nodes: int, num_edges: int, seed: int = 0) -> Data:
    """The same, every edge from the lower to the higher of its ends."""
    data = random_digraph(num_nodes, num_edges, seed)
    low, high = data.edge_index.amin(0), data.edge_index.amax(0)
    data.edge_index = torch.stack([low, high])[:, low < high].unique(dim=1)
    assert nx.is_directed_acyclic_graph(nx.DiGraph(data.edge_index.T.tolist()))
    return data


def permuted(data: Data, order: Tensor) -> Data:
    """Node ``order[i]`` becomes node ``i``."""
    return Data(edge_index=order.argsort()[data.edge_index], num_nodes=data.num_nodes)


def turned(data: Data) -> Data:
    """All edges the other way."""
    return Data(edge_index=data.edge_index.flip(0), num_nodes=data.num_nodes)
