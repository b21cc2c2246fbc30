"""MagNet, the whole network of the paper for node classification."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnnlib.edges import Edges
from gnnlib.layers import ComplexReLU, MagNetConv


class MagNet(nn.Module):
    r"""Spectral graph neural network for directed graphs: complex layers, and a linear decoder.

    .. math::
        X^0 = (1 + i) \, x, \qquad X^{\ell+1} = \sigma\big(\mathrm{MagNetConv}(X^\ell, A)\big),
        \qquad y = W \, [\mathrm{Re}\, X^L \,\|\, \mathrm{Im}\, X^L] + b

    from Zhang et al., 2021, "MagNet: A Neural Network for Directed Graphs", section 3, with
    :math:`\sigma` the complex ReLU. Imaginary parts begin as the real ones, as in the authors'
    code.

    Differs: it returns logits; the code returns their logarithmic softmax.

    Args:
        in_channels: width of the node features; ``-1`` to read it from the first call.
        hidden_channels: width of the real and of the imaginary parts.
        num_layers: number of convolutions, at least 1.
        out_channels: width of the output, the number of classes.
        K: order of the layers' polynomials.
        q: strength of the phase, see :class:`~gnnlib.layers.MagNetConv`.
        learn_q: whether every layer learns its own.
        normalization: ``"sym"``, or ``None``, which asks for ``batch`` in every call on a batch,
            see :class:`~gnnlib.layers.MagNetConv`.
        act: whether complex ReLUs follow the layers (the code's ``activation``).
        dropout: probability of dropout before the decoder.

    Raises:
        ValueError: an option is unknown or out of its range.

    Example:
        >>> model = MagNet(8, 16, num_layers=2, out_channels=3, q=0.1)
        >>> model(torch.randn(4, 8), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        *,
        K: int = 1,  # noqa: N803  (as in MagNetConv)
        q: float = 0.25,
        learn_q: bool = False,
        normalization: Literal["sym"] | None = "sym",
        act: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1, got {num_layers}")
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.out_channels = out_channels
        self.convs = nn.ModuleList(
            MagNetConv(width, hidden_channels, K, q, learn_q, normalization)
            for width in (in_channels, *[hidden_channels] * (num_layers - 1))
        )
        self.act = ComplexReLU() if act else None
        self.dropout = nn.Dropout(dropout)
        self.lin = nn.Linear(2 * hidden_channels, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (*self.convs, self.lin):
            module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        *,
        x_imag: Tensor | None = None,
        batch: Tensor | None = None,
        lambda_max: float | Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the directed graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, not negative.
            x_imag: ``[N, in_channels]``; by default ``x`` again.
            batch: ``[N]``, the graph that each node is in, see
                :meth:`gnnlib.layers.MagNetConv.forward`.
            lambda_max: a number or ``[N]``, see there.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ValueError: the parts are no matrices of one shape, or the graph is bipartite.
        """
        if isinstance(x, (tuple, list)):
            raise ValueError(
                "MagNet has no bipartite form, as its matrix is square; got `x` as a pair"
            )
        real, imag = x, x if x_imag is None else x_imag
        edges = Edges.of(edge_index, edge_weight, size=x.size(0))
        for conv in self.convs:
            real, imag = conv(real, imag, edges, batch=batch, lambda_max=lambda_max)
            if self.act is not None:
                real, imag = self.act(real, imag)
        out: Tensor = self.lin(self.dropout(torch.cat([real, imag], dim=1)))
        return out

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, "
            f"num_layers={self.num_layers}, out_channels={self.out_channels}, "
            f"conv={self.convs[0]})"
        )
