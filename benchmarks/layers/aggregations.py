"""Learned aggregations on ragged groups against PyG's, which pad every group to the largest.

    python -m benchmarks.layers.aggregations

All sides hold the same weights. PyG's results are others, as the padding is folded in (see
docs/aggr.rst), so that the sides are not held to each other's numbers here; the tests do that on
groups of one size, where nothing is padded.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg

from benchmarks._command import command
from benchmarks._graphs import Graph, large, power_law
from benchmarks._harness import Case, Side
from benchmarks._works import features
from gnnlib import aggr

WIDTH = 64
# Nodes, directed edges, and the tail that gives a largest degree of about 170.
SMALL = (2_000, 20_000, 0.52)

Make = Callable[[], nn.Module]
MODULES: dict[str, tuple[Make, Make]] = {
    "LCM": (
        lambda: aggr.LCMAggregation(WIDTH, WIDTH, shuffle=False),
        lambda: pyg.LCMAggregation(WIDTH, WIDTH),
    ),
    "GRU": (
        lambda: aggr.GRUAggregation(WIDTH, WIDTH),
        lambda: pyg.GRUAggregation(WIDTH, WIDTH),
    ),
    "LSTM": (
        lambda: aggr.LSTMAggregation(WIDTH, WIDTH),
        lambda: pyg.LSTMAggregation(WIDTH, WIDTH),
    ),
}


def _call(module: nn.Module, backward: bool, x: Tensor, index: Tensor, size: int) -> Any:
    if not backward:
        with torch.no_grad():
            return module(x, index, dim_size=size)
    leaf = x.detach().requires_grad_()
    out = module(leaf, index, dim_size=size)
    return out.detach(), *torch.autograd.grad(out.sum(), [leaf, *module.parameters()])


def sides(name: str, graph: Graph, backward: bool, with_pyg: bool) -> list[Side]:
    """An aggregation of ours and PyG's, where the graph is."""
    device = graph.edge_index.device
    ours, theirs = (make().to(device) for make in MODULES[name])
    ours.load_state_dict(theirs.state_dict())
    index = graph.edge_index[1].sort().values
    x = features(index.numel(), WIDTH).to(device)
    call = partial(_call, backward=backward, x=x, index=index, size=graph.num_dst)
    made = [Side("gnnlib", partial(call, ours))]
    if with_pyg:
        return [*made, Side("PyG", partial(call, theirs))]
    padded = graph.num_dst * int(index.bincount().max()) * WIDTH * 4
    note = f"not run: the padded messages alone, without gates, are {padded / 2**30:,.0f} GiB"
    return [*made, Side("PyG", None, note)]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, on tiny graphs."""
    num_nodes, num_edges, tail = (50, 300, 0.5) if quick else SMALL
    small = Graph(power_law(num_nodes, num_edges, tail), num_nodes, num_nodes)
    most = int(small.edge_index[1].bincount().max())
    for name in MODULES:
        for backward, passes in ((False, "forward"), (True, "forward+backward")):
            yield Case(
                f"{name}, N={num_nodes:,}, E={num_edges:,}, largest degree {most}, {passes}",
                partial(sides, name, small, backward, True),
                tolerance=float("inf"),
            )
    graph = large(quick)
    for backward, passes in ((False, "forward"), (True, "forward+backward")):
        yield Case(
            f"LCM, N={graph.num_dst:,}, E={graph.edge_index.size(1):,}, {passes}",
            partial(sides, "LCM", graph, backward, False),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.aggregations", __doc__, cases, argv)


if __name__ == "__main__":
    raise SystemExit(main())
