"""Random walks along and against the edges of a graph, and what is read off them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array, issparse

from gnnlib import ops
from gnnlib.adjacency import Adjacency

# Up to so many nodes a plain array is quicker than a sparse one.
SMALL = 256
# Entries of a block of rows of a power, where a graph is too large for all of them.
BLOCK = 2**24
# Sources whose restarting walks are followed side by side.
SOURCES = 128
# What is left of a restarting walk's mass when its series ends.
REST = 1e-7


def transition(edge_index: Any, weight: Any, num_nodes: int) -> Any:
    """``[N, N]``: where a walker goes next; it stays where no edge leads on. Dense if small.

    Args:
        edge_index: ``[2, E]``.
        weight: ``[E]``, what an edge attracts, or ``None`` for ones.
        num_nodes: ``N``.
    """
    src, dst = edge_index
    weight = np.ones(len(src)) if weight is None else weight
    total = np.bincount(src, weight, num_nodes)
    stuck = np.flatnonzero(total == 0)
    leads = weight > 0
    src, dst, weight = src[leads], dst[leads], weight[leads]
    share = np.concatenate([weight / total[src], np.ones(len(stuck))])
    row, col = np.concatenate([src, stuck]), np.concatenate([dst, stuck])
    if num_nodes <= SMALL:
        flat = np.bincount(row * num_nodes + col, share, num_nodes**2)
        return flat.reshape(num_nodes, num_nodes)
    return csr_array((share, (row, col)), shape=(num_nodes, num_nodes))


def node_form(
    forward: Any, backward: Any, length: int, restart: float | None, dense_limit: int
) -> Any:
    """``[N, 6 * length + 2]``; see `AddDirectedRandomWalkPE`.

    Args:
        forward: ``[N, N]``, the walk along the edges.
        backward: the one against them.
        length: number of steps.
        restart: probability of a restart, or ``None`` to leave that out.
        dense_limit: the most nodes for which powers are dense.
    """
    size = forward.shape[0]
    out = np.zeros((size, 6 * length + (0 if restart is None else 2)))
    walks = (forward, backward, *(_transposed(walk) for walk in (forward, backward)))
    for rows in _blocks(size, dense_limit):
        powers = (_powers(walk, rows, length, size <= dense_limit) for walk in walks)
        for k, (ahead, back, to_ahead, to_back) in enumerate(zip(*powers, strict=True)):
            out[rows, k] = ahead.diagonal(rows.start)
            out[rows, length + k] = back.diagonal(rows.start)
            out[rows, 2 * length + k] = (ahead * to_back).sum(1)
            out[rows, 3 * length + k] = (back * to_ahead).sum(1)
    for at, walk in enumerate(walks[2:]):
        arrived = np.ones(size)
        for k in range(length):
            arrived = walk @ arrived
            out[:, (4 + at) * length + k] = np.log1p(arrived)
        if restart is not None:
            rank = np.ones(size)
            for _ in range(_terms(restart)):
                rank = restart + (1 - restart) * (walk @ rank)
            out[:, 6 * length + at] = np.log1p(rank)
    return out


def pair_form(forward: Any, backward: Any, length: int, restart: float | None) -> Any:
    """``[N, N, 2 * length + 2]``, dense: powers of both walks, each with its restarting walk."""
    size = forward.shape[0]
    columns = []
    for walk in (forward, backward):
        columns += list(_powers(walk, slice(0, size), length, dense=True))
        columns += [] if restart is None else [_restarting(walk, restart)]
    return np.stack(columns, axis=-1)


def edge_form(
    edge_index: Any,
    forward: Any,
    backward: Any,
    length: int,
    restart: float | None,
    dense_limit: int,
) -> Any:
    """``[E, 2 * length + 2]``: walks along each edge, and against it from its target."""
    src, dst = edge_index
    ahead = _entries_of_walk(forward, src, dst, length, restart, dense_limit)
    back = _entries_of_walk(backward, dst, src, length, restart, dense_limit)
    return np.concatenate([ahead, back], axis=1)


def _entries_of_walk(
    walk: Any, row: Any, col: Any, length: int, restart: float | None, dense_limit: int
) -> Any:
    """``[P, length + 1]``: entries of the powers of a walk, and of its restarting walk."""
    size = walk.shape[0]
    dense = size <= dense_limit
    out = np.zeros((len(row), length + (restart is not None)))
    for rows, at in _by_block(_blocks(size, dense_limit), row):
        for k, power in enumerate(_powers(walk, rows, length, dense)):
            out[at, k] = _entries(power, row[at] - rows.start, col[at])
    if restart is not None:
        if dense:
            out[:, length] = _restarting(walk, restart)[row, col]
        else:
            out[:, length] = _entries_of_restarting(walk, row, col, restart)
    return out


def _blocks(size: int, dense_limit: int) -> list[slice]:
    """Rows to take at a time: all, or as many as a block has room for."""
    step = max(size, 1) if size <= dense_limit else max(1, BLOCK // size)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _by_block(blocks: list[slice], row: Any) -> Iterator[tuple[slice, Any]]:
    """Each block that some of the rows are in, with the positions of those."""
    order = row.argsort(kind="stable")
    grouped = row[order]
    for rows in blocks:
        at = order[np.searchsorted(grouped, rows.start) : np.searchsorted(grouped, rows.stop)]
        if len(at):
            yield rows, at


def _powers(walk: Any, rows: slice, length: int, dense: bool) -> Iterator[Any]:
    """Some rows of the walk's powers 1 to ``length``, dense or sparse."""
    power = _dense(walk[rows]) if dense else walk[rows]
    yield power
    for _ in range(length - 1):
        power = power @ walk
        yield power


def _entries(matrix: Any, row: Any, col: Any) -> Any:
    return _dense(matrix[row, col]).reshape(-1)


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if issparse(matrix) else matrix


def _transposed(matrix: Any) -> Any:
    return csr_array(matrix.T) if issparse(matrix) else np.ascontiguousarray(matrix.T)


def _restarting(walk: Any, restart: float) -> Any:
    """``p (I - (1 - p) T)^-1``, dense."""
    identity = np.eye(walk.shape[0])
    return np.linalg.solve(identity - (1 - restart) * _dense(walk), restart * identity)


def _terms(restart: float) -> int:
    """Steps after which less than `REST` of a restarting walk's mass is still to come."""
    return math.ceil(math.log(REST) / math.log1p(-restart))


def _entries_of_restarting(walk: Any, row: Any, col: Any, restart: float) -> Any:
    """Entries of the same by its series, some sources at a time as columns of one tensor."""
    size = walk.shape[0]
    coo = coo_array(walk)
    adj = Adjacency.of(torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64)), size)
    weight = torch.from_numpy((1 - restart) * coo.data).float()
    blocks = [slice(start, min(start + SOURCES, size)) for start in range(0, size, SOURCES)]
    out = np.zeros(len(row))
    for sources, at in _by_block(blocks, row):
        begin = torch.zeros(size, sources.stop - sources.start)
        begin[sources] = restart * torch.eye(sources.stop - sources.start)
        mass = begin
        for _ in range(_terms(restart)):
            mass = begin + ops.gather_reduce(mass, adj, weight)
        out[at] = mass[col[at], row[at] - sources.start]
    return out
