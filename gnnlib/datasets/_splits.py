"""How the splits of a data set come about: of the nodes of a graph, or of the graphs of a set."""

import torch
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Batch,
    Data,
)

from ._task import Graphs


def fixed_nodes(graphs: list[Data], split: int, _seed: int) -> Graphs:
    """One of the node splits that came with the only graph."""
    (data,) = graphs
    for key in ("train_mask", "val_mask", "test_mask"):
        # A single split has no second dimension.
        data[key] = data[key].view(data.num_nodes, -1)[:, split].contiguous().bool()
    return data, data, data


def random_nodes(graphs: list[Data], _split: int, seed: int) -> Graphs:
    """60 % of the nodes of the only graph to train, 20 % each to validate and to test."""
    (data,) = graphs
    n = data.num_nodes
    train, val, test = _order(n, seed).tensor_split([n * 6 // 10, n * 8 // 10])
    data.train_mask, data.val_mask, data.test_mask = (_mask(n, s) for s in (train, val, test))
    return data, data, data


def held_out_nodes(graphs: list[Data], _split: int, seed: int) -> Graphs:
    """The given training nodes of the only graph; of the rest, 10 to validate, others to test."""
    (data,) = graphs
    rest = (~data.train_mask).nonzero().flatten()
    order = _order(len(rest), seed)
    data.val_mask = _mask(data.num_nodes, rest[order[:10]])
    data.test_mask = _mask(data.num_nodes, rest[order[10:]])
    return data, data, data


def random_graphs(graphs: list[Data], _split: int, seed: int) -> Graphs:
    """80 % of the graphs to train, 10 % each to validate and to test, as a batch each."""
    n = len(graphs)
    train, val, test = (
        Batch.from_data_list([graphs[i] for i in part.tolist()])
        for part in _order(n, seed).tensor_split([n * 8 // 10, n * 9 // 10])
    )
    return train, val, test


def _order(size: int, seed: int) -> Tensor:
    """A permutation that the seed decides."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def _mask(size: int, nodes: Tensor) -> Tensor:
    """A mask that is true at the given nodes."""
    return torch.zeros(size, dtype=torch.bool).index_fill(0, nodes, True)
