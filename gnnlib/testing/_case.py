"""What the layer laws work on: fresh layers, small random graphs, and one way to call."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


@dataclass(frozen=True)
class Graph:
    """Features `x [N, F]`, `edge_index [2, E]` and perhaps `edge_attr [E, D]`."""

    x: Any
    edge_index: Tensor
    edge_attr: Tensor | None = None

    def reordered(self, order: Tensor) -> "Graph":
        """The same graph with its edges listed in another order."""
        attr = None if self.edge_attr is None else self.edge_attr[order]
        return replace(self, edge_index=self.edge_index[:, order], edge_attr=attr)


@dataclass(frozen=True)
class Case:
    """A layer factory under test and the data it is tried on."""

    make: Callable[..., torch.nn.Module]
    in_channels: int
    out_channels: int
    edge_dim: int | None
    zero_gradient: Collection[str]
    dtype: torch.dtype
    device: torch.device
    backend: str
    seed: int

    def layer(self, in_channels: int | None = None, shift: int = 0, **kwargs: Any) -> Any:
        """A fresh layer in eval mode; the same weights for the same `shift`.

        The weights are nudged, since biases and gates that start at zero would hide mistakes.
        """
        torch.manual_seed(self.seed + shift)
        layer = self.make(
            self.in_channels if in_channels is None else in_channels, self.out_channels, **kwargs
        )
        layer = layer.to(self.device, self.dtype).eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                if not is_lazy(parameter):
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return layer

    def draw(self, *shape: int, seed: int = 0) -> Tensor:
        """A random normal tensor that depends on the seeds alone."""
        generator = torch.Generator().manual_seed(self.seed + seed)
        return torch.randn(*shape, generator=generator, device="cpu").to(self.device, self.dtype)

    def shuffle(self, count: int) -> Tensor:
        """A random order of `count` things."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(count, generator=generator, device="cpu").to(self.device)

    def on(self, num_nodes: int, edges: Any, seed: int = 0) -> Graph:
        """Random features on given edges, a `[2, E]` tensor or a list of (source, target)."""
        if not isinstance(edges, Tensor):
            edges = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t().contiguous()
        attr = self.draw(edges.size(1), self.edge_dim, seed=seed + 1) if self.edge_dim else None
        return Graph(self.draw(num_nodes, self.in_channels, seed=seed), edges.to(self.device), attr)

    def graph(self, num_nodes: int = 12, num_edges: int = 40, seed: int = 0) -> Graph:
        """A random graph; self loops and multi-edges are as likely as any edge."""
        generator = torch.Generator().manual_seed(self.seed + seed)
        edges = torch.randint(num_nodes, (2, num_edges), generator=generator, device="cpu")
        return self.on(num_nodes, edges, seed)

    def simple_graph(self, num_nodes: int = 12) -> Graph:
        """A graph without self loops or multi-edges, its edges sorted by target, then source."""
        source, target = self.graph(num_nodes, 4 * num_nodes).edge_index
        key = (target * num_nodes + source)[source != target].unique()
        return self.on(num_nodes, torch.stack([key % num_nodes, key // num_nodes]))

    def call(self, layer: Any, graph: Graph, **kwargs: Any) -> Tensor:
        """The layer's output as one real tensor `[N, *]`, whatever its parts."""
        if graph.edge_attr is not None:
            kwargs.setdefault("edge_attr", graph.edge_attr)
        if layer.training and accepts(layer.forward, "generator"):
            generator = torch.Generator(self.device).manual_seed(self.seed)
            kwargs.setdefault("generator", generator)
        out = layer(graph.x, graph.edge_index, **kwargs)
        num_rows = (graph.x[1] if isinstance(graph.x, tuple) else graph.x).size(0)
        columns = []
        for part in tree_leaves(out):
            part = torch.view_as_real(part) if part.is_complex() else part
            if part.dim() == 0 or part.size(0) != num_rows:
                raise AssertionError(
                    f"an output has the shape {list(part.shape)}, not {num_rows} rows"
                )
            columns.append(part.unsqueeze(1).flatten(1))
        return torch.cat(columns, dim=1)

    def backward(self, out: Tensor) -> None:
        """Backpropagate a random loss of the output."""
        if not out.requires_grad:
            raise AssertionError("the output is cut off from the graph of autograd")
        torch.autograd.backward((out * self.draw(*out.shape, seed=7)).sum())


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether the function has a parameter of that name."""
    return name in inspect.signature(function).parameters


def supported(call: Callable[[], T]) -> T | None:
    """The result, or None if the layer refused with a ValueError that says why."""
    try:
        return call()
    except ValueError as error:
        # Python's own complaint about `a, b = x` is an accident, not an answer.
        if not str(error).strip() or "values to unpack" in str(error):
            raise AssertionError(f"refused without a reason: ValueError({str(error)!r})") from error
        return None
