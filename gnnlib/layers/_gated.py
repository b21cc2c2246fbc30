"""Gated graph convolution: every feature of a neighbour passes a gate of its own."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import Linear
from torch_geometric.nn.conv import MessagePassing

from gnnlib.lowering import Features


class GatedGCNConv(MessagePassing):  # type: ignore[misc, unused-ignore]
    r"""The gated graph convolution without edge features.

    .. math::
        x'_i = A x_i + \frac{\sum_{j \to i} \sigma(D x_i + E x_j) \odot B x_j}
        {\sum_{j \to i} \sigma(D x_i + E x_j) + 10^{-6}}

    from Bresson and Laurent, 2018, "Residual Gated Graph ConvNets", eq. 11, with its gates
    normalised as by Dwivedi et al., 2020, "Benchmarking Graph Neural Networks", section B.1: every
    feature of a node averages over the neighbours that its gates let through.

    Args:
        in_channels: width of the node features, ``-1`` to learn it from the first input, or a pair
            of those of sources and targets.
        out_channels: width of the output.
        root_weight: whether to add :math:`A x_i`.
        bias: whether :math:`A, B, D, E` have biases.
        **kwargs: of PyG's ``MessagePassing``, such as ``flow``.

    Example:
        >>> conv = GatedGCNConv(8, 16)
        >>> conv(torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 16])
    """

    _FLOOR = 1e-6  # of what a node without neighbours divides by

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        root_weight: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(aggr="add", **kwargs)
        source, target = in_channels if isinstance(in_channels, tuple) else (in_channels,) * 2
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.root_weight = root_weight
        self.lin_value = Linear(source, out_channels, bias=bias)
        self.lin_source = Linear(source, out_channels, bias=bias)
        self.lin_target = Linear(target, out_channels, bias=False)
        self.lin_skip = Linear(target, out_channels, bias=bias) if root_weight else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        super().reset_parameters()
        for lin in (self.lin_value, self.lin_source, self.lin_target, self.lin_skip):
            if lin is not None:
                lin.reset_parameters()

    def forward(self, x: Features, edge_index: Any) -> Tensor:
        """Average the neighbours of every node, feature by feature.

        Args:
            x: ``[N, in_channels]``, or a pair of those of sources and targets.
            edge_index: ``[2, E]`` or a sparse matrix, as PyG's convs take.

        Returns:
            ``[N, out_channels]``.
        """
        source, target = x if isinstance(x, (tuple, list)) else (x, x)
        if target is None:
            raise ValueError(
                "GatedGCNConv needs features of the targets, which open the gates, got `x` with "
                "None for them"
            )
        sent = torch.cat([self.lin_source(source), self.lin_value(source)], dim=-1)
        heard = self.propagate(edge_index, x=(sent, self.lin_target(target)), size=None)
        value, gate = heard.chunk(2, dim=-1)
        out: Tensor = value / (gate + self._FLOOR)
        return out if self.lin_skip is None else out + self.lin_skip(target)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Gated values, and the gates."""
        gate, value = x_j.chunk(2, dim=-1)
        gate = (x_i + gate).sigmoid()
        return torch.cat([gate * value, gate], dim=-1)
