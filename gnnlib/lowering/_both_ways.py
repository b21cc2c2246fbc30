"""Linear aggregations along the edges and against them, in as few passes over the nodes as it goes.

What several directions hear of the same features, and the sum of what several directions make of
features of their own, are each other's derivative. Written so, scalings work in place, and what the
directions give is added up as it comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import aggregate
from gnnlib.lowering._propagation import weighted_degrees


@dataclass(frozen=True)
class Way:
    """One direction of a graph as a linear operator from ``[N, F]`` to ``[N, F]``.

    Args:
        edges: the edges; their gates scale the sources and the targets.
        mean: whether to average over the neighbours, or else to sum.
    """

    edges: Edges
    mean: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """What every target hears; differentiable by all that rides on the edges, too."""
        return aggregate(x, self.edges, self._reduce)

    def unscaled(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What every target hears, in a tensor nobody else has seen, and what to scale it by."""
        scale = self.edges.listen
        # Sums before they are scaled down pass the range of float16.
        x = x if scale is None else x.to(scale.dtype)
        heard = ops.gather_reduce(
            x, self.edges.adj, self.edges.weight, self._reduce, self.edges.broadcast
        )
        return heard, None if scale is None else scale.unsqueeze(-1)

    @property
    def T(self) -> "Way":  # noqa: N802  (as on a tensor)
        """The transposed operator."""
        if not self.mean:
            return Way(self.edges.T)
        share = 1 / self.edges.adj.degree.clamp(min=1).double()
        return Way(self.edges.T.masked(broadcast=share))

    @property
    def _reduce(self) -> Any:
        return "mean" if self.mean else "sum"


def heard_both_ways(x: Tensor, ways: Sequence[Way], edges: Edges) -> tuple[Tensor, ...]:
    """What each way makes of the same features.

    Args:
        x: ``[N, F]``.
        ways: the directions of ``edges``, with gates for scales.
        edges: the edges as the caller has them.
    """
    if _are_constant(edges):
        heard: tuple[Tensor, ...] = _Spread.apply(x, tuple(ways))  # type: ignore[no-untyped-call]
        return heard
    return tuple(way(x) for way in ways)


def sum_of_both_ways(xs: Sequence[Tensor], ways: Sequence[Way], edges: Edges) -> Tensor:
    """The sum of what each way makes of its own features; arguments as above."""
    if _are_constant(edges):
        total: Tensor = _Gather.apply(tuple(ways), *xs)  # type: ignore[no-untyped-call]
        return total
    first, *others = (way(x) for way, x in zip(ways, xs, strict=True))
    for other in others:
        first = first + other
    return first


def scales(edges: Edges, norm: str | None, dtype: torch.dtype) -> tuple[Tensor | None, ...]:
    r"""The factors of the sources and of the targets that normalise a sum over the edges.

    Degrees are sums of the weights of present edges, :math:`d^-` over the edges that come in and
    :math:`d^+` over those that go out; a factor is 0 for degree 0. A closed node's own gate does
    not count, as its factor is what it would be if it were open: so the gate can learn.

    Args:
        edges: the edges, on as many targets as sources.
        norm: ``"dir"`` for :math:`(d^+_j)^{-1/2}, (d^-_i)^{-1/2}`, ``"row"`` for
            :math:`1, 1 / d^-_i`, ``"sym"`` for :math:`d_j^{-1/2}, d_i^{-1/2}` with
            :math:`d = (d^- + d^+) / 2`, ``None`` for ones.
        dtype: of the factors.

    Returns:
        Two tensors ``[N]``, ``None`` for ones.
    """
    if norm is None:
        return None, None
    comes_in = weighted_degrees(replace(edges, listen=None), dtype)
    if norm == "row":
        return None, _power(comes_in, -1)
    goes_out = weighted_degrees(replace(edges.T, listen=None), dtype)
    if norm == "dir":
        return _power(goes_out, -0.5), _power(comes_in, -0.5)
    # The gate of a node's other role counts.
    heard = comes_in if edges.listen is None else comes_in * edges.listen
    sent = goes_out if edges.broadcast is None else goes_out * edges.broadcast
    return _power((heard + goes_out) / 2, -0.5), _power((comes_in + sent) / 2, -0.5)


def _power(degree: Tensor, exponent: float) -> Tensor:
    # Of 1 where there is 0, whose power has no derivative.
    none = degree == 0
    return torch.where(none, 1, degree).pow(exponent).masked_fill(none, 0)


def _are_constant(edges: Edges) -> bool:
    """Whether nothing but the features has a derivative, and no gate says that a node is absent."""
    learned = edges.gated or (edges.weight is not None and edges.weight.requires_grad)
    return not learned and not torch.compiler.is_compiling()


class _Spread(torch.autograd.Function):
    """From ``x`` to what each way makes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ways: tuple[Way, ...]) -> tuple[Tensor, ...]:
        ctx.ways = ways
        return tuple(_total([way], [x]) for way in ways)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ways = tuple(way.T for way in ctx.ways)
        return _Gather.apply(ways, *grads), None  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """From features for each way to the sum of what the ways make of them."""

    @staticmethod
    def forward(ctx: Any, ways: tuple[Way, ...], *xs: Tensor) -> Tensor:
        ctx.ways = ways
        return _total(ways, xs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ways = tuple(way.T for way in ctx.ways)
        return None, *_Spread.apply(grads[0], ways)  # type: ignore[no-untyped-call]


def _total(ways: Sequence[Way], xs: Sequence[Tensor]) -> Tensor:
    total, scale = ways[0].unscaled(xs[0])
    # In place: a fresh matrix of nodes costs as much as the sum that is in it.
    if scale is not None:
        total = total.mul_(scale)
    for way, x in zip(ways[1:], xs[1:], strict=True):
        heard, scale = way.unscaled(x)
        total = total.add_(heard) if scale is None else total.addcmul_(heard, scale)
    return total.to(xs[0].dtype)
