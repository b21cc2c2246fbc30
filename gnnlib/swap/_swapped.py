"""What stands in the place of a PyG conv: a composed layer, called as the conv was."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.history import History
from gnnlib.layers import DelayedConv
from gnnlib.swap._memory import Memory
from gnnlib.swap._recall import keep, recall, stretch

# What a layer of ours understands of a conv's arguments.
SIGNALS = ("x", "edge_index", "edge_weight", "edge_attr")


class SwappedConv(nn.Module):
    """A composed layer in the place of a PyG conv: its ``forward`` takes the conv's arguments.

    Made by :func:`gnnlib.swap`. Numbers and names that the conv keeps, such as ``heads``, are its
    attributes too.

    Args:
        layer: the composed layer.
        was: the name of the conv's class.
        arguments: the names of the arguments of the conv's ``forward``, in their order.
    """

    def __init__(self, layer: nn.Module, was: str, arguments: tuple[str, ...]) -> None:
        super().__init__()
        self.layer = layer
        self.was = was
        self.arguments = arguments
        delayed = [part for part in layer.modules() if isinstance(part, DelayedConv)]
        self.hops = max((part.hops for part in delayed), default=1)
        self.memory = max((part.memory for part in delayed), default=0)
        self.delayed = bool(delayed)
        # Of states that are projected, how wide they are, by how many layers ago they were.
        self.projected = {
            int(age): linear.in_channels
            for part in delayed
            for age, linear in part.projections.items()
        }

    def __getattr__(self, name: str) -> Any:
        # A model's forward may ask a conv for a number, as in `x.view(-1, conv.heads, 8)`.
        try:
            return super().__getattr__(name)
        except AttributeError:
            told = vars(_innermost(self._modules["layer"])).get(name) if name[0] != "_" else None
            if not isinstance(told, (bool, int, float, str)):
                raise
            return told

    @property
    def in_channels(self) -> Any:
        """Width of the input features, where the conv tells."""
        return getattr(self.layer, "in_channels", None)

    @property
    def out_channels(self) -> Any:
        """Width of the output features, where the conv tells."""
        return getattr(self.layer, "out_channels", None)

    @property
    def flow(self) -> str:
        """Direction of the messages."""
        return str(self.layer.flow)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self, *args: Any, generator: torch.Generator | None = None, **kwargs: Any
    ) -> Tensor:
        """Pass messages.

        Args:
            args: ``x [N, in_channels]``, the graph, and what else the conv's ``forward`` takes, of
                which ``edge_weight`` and ``edge_attr`` may be given.
            generator: source of randomness for gnnlib layers; PyG's use torch's own.
            kwargs: the same by name.

        Returns:
            ``[N, out_channels]``.

        Raises:
            RuntimeError: it hears earlier layers, and is called outside of its model.
            TypeError: an argument is unknown, missing, or given twice.
            ValueError: an argument has no meaning here, or the features are a pair.
        """
        x, graph, weight, attr = self._bind(args, kwargs)
        if isinstance(x, (tuple, list)) and len(x) == 2 and x[0] is x[1]:
            x = x[0]  # every node hears every node, as with `x` alone
        if not self.delayed or not isinstance(x, Tensor):
            out: Tensor = self.layer(x, graph, weight, attr, generator=generator)
            return out
        memory, history = Memory.present(), History()
        edges = Edges.of(graph, weight, attr, size=x.size(0))
        pairs = edges.k_hop
        if memory is not None:
            history = memory.history(x)
            if self.hops > 1:
                pairs = memory.k_hop(graph, edges.adj)
        elif self.memory > 0:
            history = recall(self, x)
        self._check_widths(x, history)
        if memory is not None and self.memory > 0 and stretch() is not memory.stretch:
            keep(self, x, history)
        edges = replace(edges, k_hop=pairs, history=history)
        out = self.layer(x, edges, generator=generator)
        if memory is not None:
            memory.push(x)
        return out

    def _check_widths(self, x: Tensor, history: History) -> None:
        """Each projection is made for a state of the width that the model's order tells."""
        for age, state in enumerate(history.states[: self.memory], start=1):
            width = self.projected.get(age, x.size(-1))
            if state.size(-1) != width:
                raise ValueError(
                    f"a delayed layer must hear nodes that had {width} features {age} layers "
                    f"ago, by the order of the model's layers, got {state.size(-1)} of them "
                    "(where nodes are pooled, or layers called in another order, give all "
                    "layers inputs of one width, or leave some out with exclude=...)"
                )

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        names = self.arguments
        if len(args) > len(names):
            raise TypeError(
                f"{self.was}.forward takes {len(names)} arguments, {', '.join(names)}, got "
                f"{len(args)}"
            )
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in given:
                what = "twice" if name in given else "which it does not know"
                raise TypeError(f"{self.was}.forward takes {', '.join(names)}, got `{name}` {what}")
            given[name] = value
        for name in SIGNALS[:2]:
            if name not in given:
                raise TypeError(f"{self.was}.forward needs `{name}`")
        for name, value in given.items():
            if name in SIGNALS or value is None or value is False:
                continue
            if name == "size" and _is_square(value, given["x"]):
                continue
            raise ValueError(
                f"`{name}` of {self.was}.forward has no meaning in a layer of several axes, got "
                f"{type(value).__name__} (leave it out, or this layer out of the swap with "
                "exclude=...)"
            )
        return [given.get(name) for name in SIGNALS]


def _innermost(layer: Any) -> Any:
    """The conv that is used first inside of layers of ours."""
    if isinstance(layer, DelayedConv):
        return layer.convs[0]
    inside = [getattr(layer, name) for name in getattr(layer, "wraps", ())]
    return next((_innermost(part) for part in inside if part is not None), layer)


def _is_square(size: Any, x: Any) -> bool:
    first = x[0] if isinstance(x, (tuple, list)) else x
    return all(part is None or part == first.size(0) for part in size)
