"""The innermost call of every wrapper: a conv on edges, lowered where the table knows how."""

from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.lowering._general import general
from gnnlib.lowering._row import Features, Row
from gnnlib.lowering._table import lowering_of, row_of


def run(
    conv: nn.Module, x: Features, edges: Edges, generator: torch.Generator | None = None
) -> Tensor:
    """Apply a conv to edges, on our kernels where we know how.

    Args:
        conv: a gnnlib layer, a PyG conv, or any module called as ``conv(x, edge_index, ...)``.
        x: ``[N, F]``, or ``(x_src, x_dst)`` for a bipartite graph.
        edges: the edges, in the direction of the messages.
        generator: source of randomness for gnnlib layers; PyG's use torch's own.

    Raises:
        ValueError: the edges carry weights or features that ``conv`` has no argument for.
    """
    if hasattr(conv, "forward_edges"):
        layer: Any = conv
        out: Tensor = layer.forward_edges(x, edges, generator)
        return out
    row, lowered = row_of(conv), lowering_of(conv)
    if row is not None and lowered is not None and serves(row, x, edges):
        return lowered(conv, x, edges)
    return general(conv, x, edges)


def serves(row: Row, x: Features, edges: Edges) -> bool:
    """Whether a lowering takes these features, and all that rides on these edges."""
    return (
        all(
            t is None or (t.dim() == 2 and t.is_floating_point() and t.layout == torch.strided)
            for t in (x if isinstance(x, tuple) else (x,))
        )
        and (row.weight or edges.weight is None)
        and (row.attr or edges.attr is None)
        and (row.gates or not edges.gated)
    )


def message_edges(conv: nn.Module, edges: Edges) -> Edges:
    """A caller's edges in the direction in which ``conv`` sends messages over them."""
    return edges.T if getattr(conv, "flow", None) == "target_to_source" else edges
