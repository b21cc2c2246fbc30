"""Contextualised messages: a node's whole neighbourhood takes part in every message to it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.resolver import activation_resolver

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.layers._edge_blocks import reduce_blocks
from gnnlib.lowering import Features, aggregate, class_of, degrees, hooked, listened, message_edges
from gnnlib.ops._gather_activate import Activation

Reduction = Literal["sum", "mean", "max", "sym"]

# What the kernel evaluates itself: its name, and the argument of its own.
_KERNEL: dict[Any, Callable[[Any], tuple[Activation, float | None]]] = {
    nn.Identity: lambda _: ("identity", None),
    nn.ReLU: lambda _: ("relu", None),
    nn.LeakyReLU: lambda act: ("leaky_relu", act.negative_slope),
    nn.ELU: lambda act: ("elu", act.alpha),
    nn.GELU: lambda act: ("gelu_tanh" if act.approximate == "tanh" else "gelu", None),
    nn.SiLU: lambda _: ("silu", None),
    nn.Tanh: lambda _: ("tanh", None),
    nn.Sigmoid: lambda _: ("sigmoid", None),
}
_MODULES = (
    (torch.relu, nn.ReLU()),
    (functional.relu, nn.ReLU()),
    (functional.leaky_relu, nn.LeakyReLU()),
    (functional.elu, nn.ELU()),
    (functional.gelu, nn.GELU()),
    (functional.silu, nn.SiLU()),
    (torch.tanh, nn.Tanh()),
    (functional.tanh, nn.Tanh()),
    (torch.sigmoid, nn.Sigmoid()),
    (functional.sigmoid, nn.Sigmoid()),
)


class ContextualConv(nn.Module):
    r"""Messages made of the target, the source, and all that the target hears.

    .. math::
        x'_i = \bigoplus_{j \in N(i)} W_R \, \sigma\Big(W_Q x_i + W_K x_j +
        W_N \bigotimes_{w \in N(i)} x_w\Big), \qquad
        \bigoplus, \bigotimes \in \{\textstyle\sum, \mathrm{mean}, \max, \mathrm{sym}\}

    SINC-GCN, from Lim et al., 2025, "Enhancing Graph Representations with
    Neighborhood-Contextualized Message-Passing"; with ``context=None``, SIR-GCN, from Lim et al.,
    2025, "Contextualized Messages Boost Graph Representations". ``sym`` weighs what goes from
    :math:`j` to :math:`i` by :math:`1 / \sqrt{d^{\mathrm{out}}_j d^{\mathrm{in}}_i}`, where degrees
    of 0 count as 1. :math:`W_Q` has the inner bias, :math:`W_R` the outer one.

    For sum, mean and sym, :math:`W_R` is applied to the reduced activations, which are evaluated in
    the registers of a kernel (:func:`gnnlib.ops.gather_activate`): memory is for nodes, forward and
    backward. A maximum does not commute with :math:`W_R`, so there the messages are written down,
    for as many targets at a time as have about as many edges as the graph has nodes, and
    computed again in the backward pass: memory is for nodes too, beyond the edges of the largest
    hub. So it goes for an ``act`` that the kernel does not know.

    Differs: as in the authors' code, the outer bias is added once to a sum, mean or sym and not
    once a message. ``edge_weight`` and gates, which the paper does not have, multiply what is
    reduced, messages and context alike.

    Args:
        in_channels: width of the features; ``-1`` to read it from the first call; a pair for the
            sources and the targets of a bipartite graph.
        out_channels: width of the output.
        hidden_channels: width of the activations; default ``out_channels``.
        aggr: :math:`\bigoplus`: ``"sum"``, ``"mean"``, ``"max"`` or ``"sym"``.
        context: :math:`\bigotimes`, one of the same, or ``None`` for messages without context.
        act: :math:`\sigma`, a name that PyG resolves, a module or a function. Identity, ReLU,
            LeakyReLU, ELU, GELU, SiLU, Tanh and Sigmoid run in the kernel; any other is called on
            ``[B, hidden_channels]``, a block of edges at a time, and must work row by row.
        dropout: probability of dropout of the three inner projections, in training.
        inner_bias: whether :math:`W_Q` has a bias.
        outer_bias: whether :math:`W_R` has a bias.
        flow: ``"source_to_target"`` or ``"target_to_source"``, as in PyG.

    Raises:
        ValueError: an option is unknown, or a size is not positive.

    Example:
        >>> conv = ContextualConv(8, 16, aggr="mean", context="max", act="gelu")
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> conv(x, edge_index).shape
        torch.Size([3, 16])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        hidden_channels: int | None = None,
        *,
        aggr: Reduction = "sum",
        context: Reduction | None = "sum",
        act: str | Callable[[Tensor], Tensor] = "relu",
        dropout: float = 0.0,
        inner_bias: bool = True,
        outer_bias: bool = True,
        flow: str = "source_to_target",
    ) -> None:
        super().__init__()
        hidden_channels = out_channels if hidden_channels is None else hidden_channels
        src, dst = (in_channels,) * 2 if isinstance(in_channels, int) else in_channels
        _check_choice("aggr", aggr, get_args(Reduction))
        _check_choice("context", context, (*get_args(Reduction), None))
        _check_choice("flow", flow, ("source_to_target", "target_to_source"))
        for name, value in (("hidden_channels", hidden_channels), ("out_channels", out_channels)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if any(value < 1 and value != -1 for value in (src, dst)):
            raise ValueError(f"`in_channels` must be at least 1, or -1, got {in_channels}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}")
        if not isinstance(act, str) and not callable(act):
            raise ValueError(f"`act` must be a name, a module or a function, got {act!r}")
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.aggr = aggr
        self.context = context
        self.act: Callable[[Tensor], Tensor] = activation_resolver(act)
        self.dropout = dropout
        self.flow = flow
        self.lin_query = Linear(dst, hidden_channels, bias=inner_bias)
        self.lin_key = Linear(src, hidden_channels, bias=False)
        if context is not None:
            self.lin_context = Linear(src, hidden_channels, bias=False)
        self.lin_relation = Linear(hidden_channels, out_channels, bias=outer_bias)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.children():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Features,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Pass contextualised messages.

        Args:
            x: ``[N, in_channels]``, or a pair ``([N_src, in_channels[0]], [N_dst,
                in_channels[1]])``, of which the targets ask and the sources answer and make the
                context.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, multiplies messages and the context's features.
            edge_attr: must be ``None``.
            generator: source of dropout's noise; ``None`` for torch's own.

        Returns:
            ``[N_dst, out_channels]``. A node without neighbours gets the outer bias; for a maximum,
            whose messages hold it, 0.

        Raises:
            ValueError: there are edge features, or ``x`` has another width or no targets.
        """
        x_src, x_dst = self._ends(x)
        size = (x_src.size(0), x_dst.size(0))
        turned = self.flow == "target_to_source"
        edges = Edges.of(edge_index, edge_weight, edge_attr, size[::-1] if turned else size)
        return self.forward_edges(x, message_edges(self, edges), generator)

    def forward_edges(
        self, x: Features, edges: Edges, generator: torch.Generator | None = None
    ) -> Tensor:
        """As :meth:`forward`, on edges in the direction of the messages."""
        if edges.attr is not None:
            raise ValueError(
                "ContextualConv has no use for edge features, so `edge_attr` would be ignored; "
                "leave it out, or make weights of it (`edge_weight`)"
            )
        x_src, x_dst = self._ends(x)
        query = self._dropped(self.lin_query(x_dst), generator)
        key = self._dropped(self.lin_key(x_src), generator)
        if self.context is not None:
            heard = aggregate(x_src, *_weighed(edges, self.context, x_src))
            query = query + self._dropped(self.lin_context(heard), generator)
        edges, reduce = _weighed(edges, self.aggr, key)
        if reduce == "max":
            return reduce_blocks((self.act, self.lin_relation), key, query, edges, reduce)
        out: Tensor = self.lin_relation(self._activated(key, query, edges, reduce))
        return out

    def _ends(self, x: Features) -> tuple[Tensor, Tensor]:
        x_src, x_dst = x if isinstance(x, (tuple, list)) else (x, x)
        if x_dst is None:
            raise ValueError("ContextualConv needs the targets' features, got `x` as (x_src, None)")
        widths = (self.lin_key.in_channels, self.lin_query.in_channels)
        for t, width in zip((x_src, x_dst), widths, strict=True):
            if t.dim() != 2 or (width != -1 and t.size(1) != width):
                raise ValueError(
                    f"`x` must be [N, {'in_channels' if width == -1 else width}], got "
                    f"{list(t.shape)}"
                )
        return x_src, x_dst

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        keep = 1 - self.dropout
        return x * torch.empty_like(x).bernoulli_(keep, generator=generator) / keep

    def _activated(self, key: Tensor, query: Tensor, edges: Edges, reduce: str) -> Tensor:
        known = _in_kernel(self.act)
        if known is None:
            return reduce_blocks((self.act,), key, query, edges, reduce)
        name, alpha = known
        signals = (edges.weight, edges.broadcast)
        out = ops.gather_activate(key, query, edges.adj, name, *signals, alpha=alpha)
        if reduce == "mean":
            out = (out / _count(edges, out.dtype)).to(out.dtype)
        return listened(out, edges)

    def __repr__(self) -> str:
        act = self.act if isinstance(self.act, nn.Module) else getattr(self.act, "__name__", "...")
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"hidden_channels={self.hidden_channels}, aggr={self.aggr!r}, "
            f"context={self.context!r}, act={act})"
        )


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, choices))}, got {value!r}")


def _in_kernel(act: Callable[[Tensor], Tensor]) -> tuple[Activation, float | None] | None:
    """What the kernel calls an activation, if it knows it."""
    module: Any = next((module for function, module in _MODULES if function is act), act)
    known = _KERNEL.get(class_of(module))  # no subclass, whose forward may be another
    return None if known is None or hooked(module) else known(module)


def _weighed(edges: Edges, reduce: Reduction, x: Tensor) -> tuple[Edges, str]:
    """The edges, and how the kernels reduce over them: sym is a sum between two gates."""
    if reduce != "sym":
        return edges, reduce
    dtype = torch.promote_types(x.dtype, torch.float32)
    broadcast, listen = (degrees(e, dtype).clamp(min=1).rsqrt() for e in (edges.T, edges))
    return edges.masked(broadcast, listen), "sum"


def _count(edges: Edges, dtype: torch.dtype) -> Tensor:
    """``[N_dst, 1]``, what a mean divides by: the sum of the gates, or the number of edges."""
    wide = torch.promote_types(dtype, torch.float32)
    ones = torch.ones(edges.adj.num_src, 1, dtype=wide, device=edges.adj.device)
    count = aggregate(ones, replace(edges, weight=None, listen=None), "sum")
    return torch.where(count == 0, 1, count)
