"""What encodings ask of a PyG graph: its parts, and a place for what they found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData


@dataclass(frozen=True)
class Graph:
    """One graph of a batch, on its own.

    Attributes:
        edge_index: ``[2, E]`` int64, nodes counted from 0.
        weight: ``[E]`` float64, or ``None``.
        nodes: where its nodes are in the batch.
        edges: ``[E]`` where its edges are in the batch.
    """

    edge_index: Any
    weight: Any
    nodes: slice
    edges: Any

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return int(self.nodes.stop - self.nodes.start)


def graphs_of(data: Any, asker: str, weighted: bool = False) -> list[Graph]:
    """The graphs of a ``Data`` or a ``Batch``, one after the other.

    Raises:
        IndexError: an edge has an end that is no node.
        ValueError: there is no ``edge_index``, an edge joins two graphs, ``batch`` is not sorted,
            or an edge weight is no finite number from 0 on.
    """
    if isinstance(data, HeteroData):
        raise ValueError(f"{asker} needs one kind of nodes and edges (use data.to_homogeneous())")
    if data.edge_index is None:
        raise ValueError(
            f"{asker} needs `edge_index`, got {data} (for `adj_t`, encode before ToSparseTensor)"
        )
    edge_index = np.asarray(data.edge_index.detach().cpu(), dtype=np.int64)
    ptr = ptr_of(data, asker)
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < ptr[-1]:
        raise IndexError(
            f"`edge_index` must be in [0, {ptr[-1]}), got {edge_index.min()} to "
            f"{edge_index.max()} (is `num_nodes` right?)"
        )
    weight = _weight(data, asker) if weighted else None
    owner = np.searchsorted(ptr, edge_index, side="right") - 1
    if (owner[0] != owner[1]).any():
        raise ValueError(f"{asker} found an edge between two graphs of the batch")
    order = owner[0].argsort(kind="stable")
    bounds = np.searchsorted(owner[0][order], np.arange(len(ptr)))
    graphs = []
    for start, stop, first, last in zip(ptr, ptr[1:], bounds, bounds[1:], strict=False):
        edges, nodes = order[first:last], slice(int(start), int(stop))
        own = None if weight is None else weight[edges]
        graphs.append(Graph(edge_index[:, edges] - start, own, nodes, edges))
    return graphs


def ptr_of(data: Any, asker: str) -> Any:
    """Where each graph's nodes begin, and where the last one's end."""
    if "ptr" in data:
        return np.asarray(data.ptr.cpu())
    if "batch" not in data or data.batch is None:
        return np.array([0, data.num_nodes])
    batch = np.asarray(data.batch.cpu())
    if (np.diff(batch) < 0).any():
        raise ValueError(f"{asker} needs the nodes of a graph side by side: `batch` is not sorted")
    return np.concatenate([[0], np.bincount(batch).cumsum()])


def _weight(data: Any, asker: str) -> Any:
    if "edge_weight" not in data or data.edge_weight is None:
        return None
    weight = np.asarray(data.edge_weight.detach().cpu(), dtype=np.float64)
    if weight.size != data.edge_index.size(1):
        raise ValueError(f"`edge_weight` must be [E], got {list(weight.shape)}")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(f"{asker} needs edge weights that are finite and not negative")
    return weight.reshape(-1)


def check_name(name: str) -> None:
    """Whether PyG will collate what is stored under a name as it is.

    Raises:
        ValueError: it would add numbers of nodes to it.
    """
    if not name or "index" in name or "batch" in name:
        raise ValueError(
            f"`attr_name` must be a name without 'index' and 'batch' in it, which PyG would take "
            f"for node ids and shift, got {name!r}"
        )


def store(
    data: Any, name: str, value: Tensor, sizes: list[int], shift: list[int] | None = None
) -> None:
    """Put an attribute where ``value`` has ``sizes`` rows of each graph.

    A batch learns where its parts are, so that ``to_data_list`` gives them back.

    Args:
        data: the graph or batch.
        name: of the attribute.
        value: what to store.
        sizes: rows of each graph.
        shift: what batching has added to each graph's part; default nothing.
    """
    data[name] = value if data.edge_index is None else value.to(data.edge_index.device)
    if hasattr(data, "_slice_dict"):
        slices = torch.tensor([0, *sizes]).cumsum(0)
        shifts = torch.zeros(len(sizes), dtype=torch.int64) if shift is None else shift
        data._slice_dict = {**data._slice_dict, name: slices}
        data._inc_dict = {**data._inc_dict, name: torch.as_tensor(shifts)}
