"""From a caller's edges to those of the simple graph and back, for everything that is per edge."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from gnnlib._check import check_tensor
from gnnlib.rewiring._simple_graph import SimpleGraph

Part = TypeVar("Part")


def per_edge(
    edge_index: Tensor,
    num_nodes: int | None,
    *,
    undirected: bool | None,
    edges: Tensor | None,
    progress: bool,
    asker: str,
    compute: Callable[[SimpleGraph, Tensor], Tensor],
    at_once: int = 2**15,
) -> Tensor:
    """One value for each of the caller's edges, every edge of the simple graph computed once.

    Args:
        edge_index: ``[2, E]``.
        num_nodes: by default one more than the largest node id.
        undirected: see :meth:`SimpleGraph.of_edges`.
        edges: which of the E edges, ``[K]`` positions or ``[E]`` bool; all by default.
        progress: whether a bar is shown.
        asker: the name of the caller's function, for messages.
        compute: gets the graph and which of its edges, ``[M']`` in ascending order, and returns
            their values ``[M']``, or several of each, ``[..., M']``.
        at_once: how many edges ``compute`` gets, between which a bar moves and Ctrl-C is heard.

    Returns:
        ``[..., E]`` or ``[..., K]`` float64 on the device of ``edge_index``; NaN for self loops.
    """
    graph = SimpleGraph.of_edges(edge_index, num_nodes, undirected=undirected, asker=asker)
    of = graph.of if edges is None else graph.of[chosen(edges, graph.of.numel())]
    ids, back = torch.unique(of[of >= 0], return_inverse=True)
    parts = ids.split(at_once)
    found = torch.cat([compute(graph, part) for part in tracked(parts, progress, asker)], -1)
    values = torch.full((*found.shape[:-1], *of.shape), float("nan"), dtype=torch.float64)
    values[..., of >= 0] = found[..., back]
    return values.to(edge_index.device)


def chosen(edges: Tensor, num_edges: int) -> Tensor:
    """Positions of edges, from positions or a mask.

    Raises:
        IndexError: a position is outside ``[0, num_edges)``.
        TypeError: they are no tensor.
        ValueError: a mask has another length.
    """
    check_tensor(f"of positions [K] or a mask [{num_edges}]", edges=edges)
    edges = edges.detach().cpu()
    if edges.dtype == torch.bool:
        if edges.shape != (num_edges,):
            raise ValueError(
                f"`edges` as a mask must be [{num_edges}], as `edge_index` has that many edges, "
                f"got {list(edges.shape)}"
            )
        return edges.nonzero().flatten()
    if edges.dim() != 1 or edges.is_floating_point():
        raise ValueError(
            f"`edges` must be positions [K] or a mask [{num_edges}], got {edges.dtype} "
            f"{list(edges.shape)}"
        )
    if edges.numel() and not 0 <= edges.min() <= edges.max() < num_edges:
        raise IndexError(
            f"`edges` must be in [0, {num_edges}), got {int(edges.min())} to {int(edges.max())}"
        )
    return edges.long()


def tracked(parts: Iterable[Part], progress: bool, description: str) -> Iterable[Part]:
    """The parts, with a bar on the terminal if that is wanted."""
    if not progress:
        return parts
    try:
        from rich.console import Console
        from rich.progress import track
    except ModuleNotFoundError as error:
        raise ImportError("progress=True needs rich: pip install gnnlib[train]") from error
    return track(list(parts), description=description, console=Console(stderr=True))
