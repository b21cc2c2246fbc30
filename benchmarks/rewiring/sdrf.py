"""SDRF: on Cora, step by step in graphs of every size, and against dense matrices.

    GNNLIB_DATA=<folder> python -m benchmarks.rewiring.sdrf

The folder holds PyG's ``planetoid/Cora``; without it a random graph of Cora's size and largest
degree stands in. The dense side finds every curvature anew in every step, from a matrix [N, N], as
the paper's code does; here with numpy and by the paper's formula. Graphs of other sizes are random,
of ten neighbours a node, and there as rewirings see them: what is timed is the curvature of all
edges, and the steps, of which there is one for every hundred edges.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from benchmarks._command import command
from benchmarks._graphs import power_law
from benchmarks._harness import Case, Side
from gnnlib.datasets import load
from gnnlib.rewiring import SDRF
from gnnlib.rewiring._simple_graph import SimpleGraph

BOUND, GREEDY = 0.5, float("inf")


def _ends(edge_index: Tensor, num_nodes: int) -> Tensor:
    return SimpleGraph.of_edges(edge_index, num_nodes).ends


def _ours(edge_index: Tensor, num_nodes: int, steps: int) -> Tensor:
    data = Data(edge_index=edge_index, num_nodes=num_nodes)
    out = SDRF(steps, tau=GREEDY, removal_bound=BOUND)(data)
    return _ends(out.edge_index, num_nodes)


def _steps(graph: SimpleGraph, steps: int) -> Tensor:
    """Without what a data set takes to become a graph, and back."""
    edit = SDRF(steps, tau=GREEDY, removal_bound=BOUND).edit(graph, None)
    return torch.cat([graph.ends[:, ~edit.removed], edit.added], 1)


# -- the dense side -----------------------------------------------------------------------------


def _curvature(adj: Any, i: int, j: int) -> float:
    low, high = sorted((int(adj[i].sum()), int(adj[j].sum())))
    if low == 1:
        return 0.0
    boxes = [np.zeros(1, dtype=int)]
    for a, b in ((i, j), (j, i)):
        near, far = adj[a] & ~adj[b], adj[b] & ~adj[a]
        near[b] = far[a] = False
        boxes.append(adj[near][:, far].sum(1))
    found, shared = np.concatenate(boxes), int((adj[i] & adj[j]).sum())
    squares = int((found > 0).sum()) / (max(int(found.max()), 1) * high)
    return round(2 / low + 2 / high - 2 + 2 * shared / high + shared / low + squares, 9)


def _all(adj: Any) -> tuple[Any, Any]:
    """Edges and their curvatures."""
    edges = np.argwhere(np.triu(adj))
    return edges, np.array([_curvature(adj, i, j) for i, j in edges])


def _toggle(adj: Any, k: int, m: int) -> None:
    adj[k, m] = adj[m, k] = not adj[k, m]


def _gain(adj: Any, edge: tuple[int, int], pair: tuple[int, int]) -> float:
    before = _curvature(adj, *edge)
    _toggle(adj, *pair)
    after = _curvature(adj, *edge)
    _toggle(adj, *pair)
    return round(after - before, 9)


def _dense(edge_index: Tensor, num_nodes: int, steps: int) -> Tensor:
    adj = np.zeros((num_nodes, num_nodes), dtype=bool)
    adj[tuple(edge_index.numpy())] = True
    for _ in range(steps):
        edges, values = _all(adj)
        i, j = edges[values.argmin()]
        balls = ([x, *adj[x].nonzero()[0]] for x in (i, j))
        pairs = {(min(pair), max(pair)) for pair in itertools.product(*balls)}
        gains = {p: _gain(adj, (i, j), p) for p in sorted(pairs) if p[0] != p[1] and not adj[p]}
        if gains:
            _toggle(adj, *max(gains, key=lambda pair: gains[pair]))
        edges, values = _all(adj)
        if values.max() > BOUND:
            _toggle(adj, *edges[values.argmax()])
    return torch.from_numpy(np.argwhere(np.triu(adj)).T.copy())


# -- the cases ----------------------------------------------------------------------------------


def _cora() -> tuple[str, Tensor, int]:
    try:
        data: Any = load("Cora").train
    except (FileNotFoundError, ValueError):
        return "a graph of Cora's size", power_law(2708, 10_556, tail=0.61), 2708
    return "Cora", data.edge_index, data.num_nodes


def _sized(size: int, steps: int) -> list[Side]:
    graph = SimpleGraph.of_edges(power_law(size, 10 * size, tail=0.0), size)
    return [Side("gnnlib SDRF", partial(_steps, graph, steps))]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, tiny ones."""
    name, *graph = ("a small graph", power_law(60, 240), 60) if quick else _cora()
    yield Case(f"{name}, 100 steps", lambda: [Side("gnnlib SDRF", partial(_ours, *graph, 100))])
    yield Case(
        f"{name}, one step",
        lambda: [
            Side("gnnlib SDRF", partial(_ours, *graph, 1)),
            Side("dense matrices", partial(_dense, *graph, 1)),
        ],
    )
    for size in (100, 200) if quick else (10**3, 10**4, 10**5):
        for steps in (0, size // 20):
            yield Case(f"{size:,} nodes, {steps:,} steps", partial(_sized, size, steps))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("rewiring.sdrf", __doc__, cases, argv, seconds=20)


if __name__ == "__main__":
    raise SystemExit(main())
