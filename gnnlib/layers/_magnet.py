"""MagNet's convolution: the direction of an edge is the phase of a complex weight."""

import math
import weakref
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense import Linear

from gnnlib import ops
from gnnlib._warning import warn
from gnnlib.adjacency import Adjacency
from gnnlib.edges import Edges
from gnnlib.layers._pairs import Pairs

_LARGEST_Q = 0.25
# A learned q begins this far inside its range at least, as a sigmoid has no slope at its ends.
_MARGIN = 0.02
_told: "weakref.WeakSet[Adjacency]" = weakref.WeakSet()


class MagNetConv(nn.Module):
    r"""Chebyshev convolution with the magnetic Laplacian of a directed graph.

    .. math::
        A_s = \tfrac{1}{2}(A + A^\top), \qquad
        H = D_s^{-1/2} A_s D_s^{-1/2} \odot e^{i 2 \pi q (A - A^\top)}, \qquad
        \tilde L = \tfrac{2}{\lambda_{\max}} (I - H) - I

    .. math::
        X' = \sum_{k=0}^{K} T_k(\tilde L) \, X \, W_k + (1 + i) \, b, \qquad X \in \mathbb{C}^{N
        \times F}, \; W_k \in \mathbb{R}^{F \times F'}

    from Zhang et al., 2021, "MagNet: A Neural Network for Directed Graphs", sections 2 and 3, where
    :math:`A_{uv}` is the sum of the weights of the edges from :math:`u` to :math:`v`, and
    :math:`D_s` the diagonal matrix of the row sums of :math:`A_s`. Without normalisation :math:`L =
    D_s - A_s \odot e^{i 2 \pi q (A - A^\top)}`. With :math:`q = 0` it is PyG's
    :class:`~torch_geometric.nn.conv.ChebConv` with ``K + 1`` filters and ``lambda_max=2`` on
    :math:`A_s`, on real and imaginary parts alike (self loops, which that drops, count here).

    Both parts of a row travel together, in one pass over the pairs of neighbours (see
    :func:`gnnlib.ops.gather_complex`). The pairs are grouped once for a graph and found again; the
    phases are computed in every call, so that :math:`q` learns.

    Differs: the product is that of complex numbers, as in the paper and its code; the port in
    PyTorch Geometric Signed Directed mixes the parts. A learned :math:`q` is 0.25 times the sigmoid
    of a parameter, so that it stays in range; it begins at ``q``, or 0.005 inside.

    Args:
        in_channels: width of the real and of the imaginary features; ``-1`` to read it from the
            first call.
        out_channels: width of each part of the output.
        K: :math:`K \geq 1`, the order of the polynomial, how many hops it reaches.
        q: :math:`q \in [0, 0.25]`: 0 ignores directions, 0.25 makes one-way edges imaginary.
        learn_q: whether :math:`q` is a parameter.
        normalization: ``"sym"``, or ``None`` for the unnormalised Laplacian, whose largest
            eigenvalue depends on the graph: of a batch, :meth:`forward` must know ``batch``.
        bias: whether to add :math:`b`.

    Raises:
        ValueError: an option is unknown or out of its range.

    Example:
        >>> conv = MagNetConv(8, 16, K=2, q=0.1)
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> real, imag = conv(x, x, edge_index)
        >>> real.shape, imag.shape
        (torch.Size([3, 16]), torch.Size([3, 16]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int,  # noqa: N803  (as in PyG's ChebConv)
        q: float = 0.25,
        learn_q: bool = False,
        normalization: Literal["sym"] | None = "sym",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if out_channels < 1 or (in_channels < 1 and in_channels != -1):
            raise ValueError(
                "`in_channels` and `out_channels` must be at least 1, or `in_channels` -1, got "
                f"{in_channels} and {out_channels}"
            )
        if K < 1:
            raise ValueError(f"`K` must be at least 1, got {K}")
        if not 0 <= q <= _LARGEST_Q:
            raise ValueError(f"`q` must be in [0, {_LARGEST_Q}], got {q}")
        if normalization not in ("sym", None):
            raise ValueError(f"`normalization` must be 'sym' or None, got {normalization!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.K = K
        self.learn_q = learn_q
        self.normalization = normalization
        self._first_q = q
        self.lins = nn.ModuleList(
            Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
            for _ in range(K + 1)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.q_logit = nn.Parameter(torch.empty(())) if learn_q else None
        self.reset_parameters()

    @property
    def q(self) -> Tensor | float:
        """The strength of the phase: a number, or what the parameter stands for."""
        return self._first_q if self.q_logit is None else _LARGEST_Q * self.q_logit.sigmoid()

    def reset_parameters(self) -> None:
        """Draw the weights anew; a learned ``q`` starts over."""
        for lin in self.lins:
            lin.reset_parameters()  # type: ignore[operator]
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.q_logit is not None:
            share = min(max(self._first_q / _LARGEST_Q, _MARGIN), 1 - _MARGIN)
            nn.init.constant_(self.q_logit, math.log(share / (1 - share)))

    def forward(
        self,
        x_real: Tensor,
        x_imag: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        *,
        batch: Tensor | None = None,
        lambda_max: float | Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Convolve complex features.

        Args:
            x_real: ``[N, in_channels]``.
            x_imag: ``[N, in_channels]``.
            edge_index: the directed graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, not negative.
            batch: ``[N]``, the graph in ``[0, N)`` that each node is in; default one graph. Only
                the default of ``lambda_max`` without normalisation asks for it.
            lambda_max: :math:`\lambda_{\max}`, a number, or ``[N]``, for each node that of its
                graph. By default 2, which no eigenvalue passes, and without normalisation twice
                the largest entry of :math:`D_s` in a graph, which none passes either.

        Returns:
            ``[N, out_channels]``, real and imaginary.

        Raises:
            ValueError: the parts are no matrices of one shape, or the graph is bipartite.

        Warns:
            UserWarning: the graph is undirected, so that there is no phase; once for a graph.
        """
        for x in (x_real, x_imag):
            if not isinstance(x, Tensor) or x.dim() != 2 or x.shape != x_real.shape:
                got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(
                    "`x_real` and `x_imag` must both be [N, in_channels], got one "
                    f"{got} (a magnetic Laplacian has no bipartite form)"
                )
        edges = Edges.of(edge_index, edge_weight, size=x_real.size(0))
        terms = []
        for lin in self.lins:
            real = lin(x_real)
            terms.append(torch.stack([real, real if x_imag is x_real else lin(x_imag)], 1))
        out = self._convolved(terms, edges, batch, lambda_max)
        return out[:, 0], out[:, 1]

    def forward_edges(
        self,
        x: Tensor,
        edges: Edges,
        generator: torch.Generator | None = None,  # noqa: ARG002  (as in all layers)
        *,
        batch: Tensor | None = None,
        lambda_max: float | Tensor | None = None,
    ) -> Tensor:
        """As :meth:`forward`, on ``[N, 2, in_channels]``, real and imaginary."""
        return self._convolved([lin(x) for lin in self.lins], edges, batch, lambda_max)

    def _convolved(
        self,
        terms: list[Tensor],
        edges: Edges,
        batch: Tensor | None,
        lambda_max: float | Tensor | None,
    ) -> Tensor:
        """The polynomial of the Laplacian whose terms multiply ``[N, 2, out_channels]`` each."""
        laplacian = self._scaled_laplacian(terms[0].dtype, edges, batch, lambda_max)
        # Clenshaw's recurrence: as many products as the other way, but as wide as the output.
        ahead: Tensor = terms[-1]
        later: Tensor | None = None
        for k in range(self.K - 1, -1, -1):
            now = torch.add(terms[k], laplacian(ahead), alpha=2 if k else 1)
            ahead, later = now if later is None else now - later, ahead
        return ahead if self.bias is None else ahead + self.bias

    def _scaled_laplacian(
        self,
        dtype: torch.dtype,
        edges: Edges,
        batch: Tensor | None,
        lambda_max: float | Tensor | None,
    ) -> Callable[[Tensor], Tensor]:
        wide = torch.promote_types(dtype, torch.float32)
        pairs = Pairs.of(edges.adj)
        total, balance = pairs.sums(edges, wide)
        self._warn(edges, pairs, total, balance)
        angle = 2 * math.pi * self.q * balance
        size = total / 2
        ones = torch.ones(edges.adj.num_dst, 1, dtype=wide, device=edges.adj.device)
        degree = ops.gather_reduce(ones, pairs.both, torch.cat([size, size]))
        scale = _inverse_root(degree) if self.normalization == "sym" else ones
        factor = 2 / self._largest(degree, batch, lambda_max)
        diagonal = None
        if lambda_max is not None or self.normalization is None:
            diagonal = factor * (1 if self.normalization == "sym" else degree) - 1
        # The Laplacian's entries off the diagonal, of every pair there and back.
        norm = ops.edge_dot(scale, -factor * scale, pairs.both)
        real, imag = size * angle.cos(), size * angle.sin()
        parts = torch.stack([torch.cat([real, real]), torch.cat([imag, -imag])], 1)
        weight = parts * norm.unsqueeze(-1)

        def apply(h: Tensor) -> Tensor:
            h = h.to(wide)
            out = ops.gather_complex(h, pairs.both, weight)
            if diagonal is not None:
                out = torch.addcmul(out, diagonal.unsqueeze(-1), h)
            return out.to(dtype)

        return apply

    def _largest(
        self, degree: Tensor, batch: Tensor | None, lambda_max: float | Tensor | None
    ) -> Tensor:
        """``[N, 1]`` or ``[1, 1]``, what no eigenvalue passes."""
        if lambda_max is not None:
            given: Tensor = torch.as_tensor(lambda_max, dtype=degree.dtype, device=degree.device)
            return given.view(-1, 1)
        if self.normalization == "sym":
            return degree.new_full((1, 1), 2.0)
        if batch is None:
            bound = 2 * torch.cat([degree, degree.new_zeros(1, 1)]).amax().reshape(1, 1)
        else:  # as many places as nodes: how many graphs there are would be data
            bound = 2 * ops.scatter(degree, batch, 0, dim_size=len(degree), reduce="max")[batch]
        return torch.where(bound > 0, bound, 1)

    def _warn(self, edges: Edges, pairs: Pairs, total: Tensor, balance: Tensor) -> None:
        ignored = self.q_logit is None and self._first_q == 0
        if not pairs.undirected or ignored or edges.adj in _told:
            return
        if bool((balance.abs() > 1e-6 * total).any()):  # it is the weights that have a direction
            return
        _told.add(edges.adj)
        warn(
            "the graph is undirected (every edge has its reverse, of the same weight), so the "
            "phase of the magnetic Laplacian is zero everywhere: MagNetConv is then ChebConv on "
            "real and imaginary parts alike, and `q` changes nothing and learns nothing. If the "
            "data is directed, load it without making it undirected."
        )

    def __repr__(self) -> str:
        q = float(self.q.detach()) if isinstance(self.q, Tensor) else self.q
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, K={self.K}, "
            f"q={q:g}, learn_q={self.learn_q}, normalization={self.normalization!r})"
        )


class ComplexReLU(nn.Module):
    r"""Keep the complex numbers whose real part is not negative.

    .. math::
        \sigma(z) = z \text{ if } \mathrm{Re}\, z \geq 0 \text{, else } 0

    from Zhang et al., 2021, "MagNet: A Neural Network for Directed Graphs", section 3: those whose
    phase is in :math:`[-\pi/2, \pi/2]`; the paper leaves out the upper end.

    Example:
        >>> ComplexReLU()(torch.tensor([1.0, -1.0]), torch.tensor([-2.0, 3.0]))
        (tensor([1., 0.]), tensor([-2.,  0.]))
    """

    def forward(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """Map real and imaginary parts of one shape to those of the numbers that are kept."""
        dropped = real < 0
        return real.masked_fill(dropped, 0), imag.masked_fill(dropped, 0)


def _inverse_root(degree: Tensor) -> Tensor:
    """One over the root, 0 for 0, where the derivative is 0 too."""
    linked = degree > 0
    return torch.where(linked, degree, 1).rsqrt().masked_fill(~linked, 0)
