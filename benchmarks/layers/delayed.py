"""A delayed layer against a plain PyG loop over hops.

    python -m benchmarks.layers.delayed

The layer is the tenth of DRew-GCN with full delay on a batch of graphs as large as peptides: ten
hops, the farthest heard as it was nine layers ago. PyG's side has the same weights, and runs a
GCNConv a hop on those pairs of the hop, which it masks out of all; the pairs are there for both.
A new batch is one whose pairs are met for the first time, as in training.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from benchmarks._command import command
from benchmarks._graphs import molecules
from benchmarks._harness import Case, Side
from benchmarks._works import features
from gnnlib import History
from gnnlib.layers import DelayedConv
from gnnlib.ops import KHop, k_hop

WIDTH, HOPS = 72, 10


def _ours(layer: DelayedConv, edge_index: Tensor, pairs: KHop, states: Sequence[Tensor]) -> Tensor:
    history = History(states=tuple(states[1:]))
    out: Tensor = layer(states[0], edge_index, history=history, k_hop=pairs)
    return out


def _ours_anew(
    layer: DelayedConv, edge_index: Tensor, index: Tensor, distance: Tensor,
    states: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    # Other tensors, so that nothing that was kept for them is found.
    pairs = KHop.of(index.clone(), distance.clone(), HOPS, states[0].size(0))
    return _ours(layer, edge_index.clone(), pairs, states)


def _pyg(
    convs: Sequence[nn.Module], index: Tensor, distance: Tensor, states: Sequence[Tensor]
) -> Tensor:
    heard = [conv(states[k], index[:, distance == k + 1]) for k, conv in enumerate(convs)]
    return torch.stack(heard).sum(0)


def _step(
    forward: Callable[[Sequence[Tensor]], Tensor],
    parameters: Sequence[Tensor],
    states: Sequence[Tensor],
    backward: bool,
) -> Any:
    if not backward:
        with torch.no_grad():
            return forward(states)
    leaves = [state.detach().requires_grad_() for state in states]
    out = forward(leaves)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [*leaves, *parameters])


def _sides(num_graphs: int, backward: bool, anew: bool) -> list[Side]:
    torch.manual_seed(0)
    edge_index, num_nodes = molecules(num_graphs, mean_nodes=150)
    layer = DelayedConv(GCNConv(WIDTH, WIDTH), HOPS)
    states = [features(num_nodes, WIDTH) for _ in range(HOPS)]
    pairs = k_hop(edge_index, HOPS)
    index, distance = pairs.pairs, pairs.distance
    ours = partial(_ours, layer, edge_index, pairs)
    if anew:
        ours = partial(_ours_anew, layer, edge_index, index, distance)
    step = partial(_step, parameters=list(layer.parameters()), states=states, backward=backward)
    theirs = partial(_pyg, layer.convs, index, distance)
    return [Side("gnnlib", partial(step, ours)), Side("PyG", partial(step, theirs))]


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, on two graphs."""
    for num_graphs in (2,) if quick else (8, 128):
        for anew in (False, True):
            for backward, passes in ((False, "forward"), (True, "forward+backward")):
                batch = f"{'new ' * anew}batch of {num_graphs}"
                yield Case(
                    f"DRew-GCN layer, {HOPS} hops, F={WIDTH}, {batch}, {passes}",
                    partial(_sides, num_graphs, backward, anew),
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.delayed", __doc__, cases, argv)


if __name__ == "__main__":
    raise SystemExit(main())
