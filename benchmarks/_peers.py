"""Peers that may not be installed, and a graph in the form each of them wants."""

import functools
import importlib
import warnings
from typing import Any

import torch
from torch import Tensor

from benchmarks._graphs import Graph

DISTRIBUTIONS = ("torch-scatter", "torch-sparse", "dgl")
NOT_INSTALLED = "not installed"


class UnavailableError(Exception):
    """A peer that is not installed."""


def find(path: str) -> Any:
    """What a dotted path names, e.g. ``torch_scatter.scatter``.

    Raises:
        UnavailableError: its module cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(module), name)
    except (ImportError, OSError) as error:  # OSError: built for another torch
        raise UnavailableError(NOT_INSTALLED) from error


# What a user of each peer prepares once and keeps between calls.


@functools.lru_cache(maxsize=8)
def csr(graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    """``rowptr, col, perm`` of the edges by target."""
    src, dst = graph.edge_index
    # By source within a target, which torch.sparse relies on.
    perm = (dst * graph.num_src + src).argsort()
    rowptr = dst.new_zeros(graph.num_dst + 1)
    rowptr[1:] = dst.bincount(minlength=graph.num_dst).cumsum(0)
    return rowptr, src[perm], perm


def torch_csr(
    graph: Graph, values: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The adjacency matrix ``[num_dst, num_src]`` of torch, with ``values`` in the order of CSR."""
    rowptr, col, _ = csr(graph)
    values = torch.ones_like(col, dtype=dtype) if values is None else values
    return torch.sparse_csr_tensor(rowptr, col, values, (graph.num_dst, graph.num_src))


@functools.lru_cache(maxsize=8)
def sparse_tensor(graph: Graph) -> Any:
    """The adjacency matrix of torch_sparse, with all that its backward pass reads."""
    rowptr, col, _ = csr(graph)
    size = (graph.num_dst, graph.num_src)
    matrix = find("torch_sparse.SparseTensor")(
        rowptr=rowptr, col=col, sparse_sizes=size, is_sorted=True, trust_data=True
    )
    return matrix.fill_cache_()


@functools.lru_cache(maxsize=8)
def dgl_graph(graph: Graph) -> Any:
    """The graph of DGL, edges in the caller's order, in all its formats."""
    src, dst = graph.edge_index
    made = find("dgl.heterograph")(
        {("source", "to", "target"): (src, dst)},
        {"source": graph.num_src, "target": graph.num_dst},
    )
    made.create_formats_()
    return made
