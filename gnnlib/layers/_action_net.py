"""The two action networks of a cooperative layer, run as one."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.resolver import activation_resolver

from gnnlib.edges import Edges
from gnnlib.lowering import aggregate, gcn_aggregate

ActionConv = Literal["mean", "sum", "gcn", "gin", "lin"]
_CONVS = ("mean", "sum", "gcn", "gin", "lin")


class _TwinLinear(nn.Module):
    """Two linear maps side by side: ``[N, in]``, shared, or ``[N, 2, in]`` to ``[N, 2, out]``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, in_channels, out_channels))
        if bias:
            self.bias = nn.Parameter(torch.empty(2, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.weight.size(1))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            weight = self.weight.transpose(0, 1).flatten(1)
            return (x @ weight).view(-1, 2, self.weight.size(2))
        return torch.einsum("nti,tio->nto", x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x) + self.bias


class _TwinConv(nn.Module):
    """One layer of both networks; messages of both travel as one."""

    def __init__(self, in_channels: int, out_channels: int, conv: ActionConv) -> None:
        super().__init__()
        self.conv = conv
        self.lin = _TwinLinear(in_channels, out_channels)
        if conv in ("mean", "sum"):
            self.lin_neighbor = _TwinLinear(in_channels, out_channels, bias=False)
        if conv == "gin":
            self.eps = nn.Parameter(torch.zeros(2, 1))
            self.lin_out = _TwinLinear(out_channels, out_channels)

    def reset_parameters(self) -> None:
        for module in self.children():
            module.reset_parameters()  # type: ignore[operator]
        if self.conv == "gin":
            nn.init.zeros_(self.eps)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        if self.conv == "lin":
            out: Tensor = self.lin(x)
        elif self.conv == "gcn":
            out = _over(gcn_aggregate, self.lin.project(x), edges) + self.lin.bias
        elif self.conv == "gin":
            heard = _over(aggregate, x, edges, "sum")
            if x.dim() == 2:
                x, heard = x.unsqueeze(1), heard.unsqueeze(1)
            out = self.lin_out(self.lin((1 + self.eps) * x + heard).relu())
        else:
            # Averaging and projecting commute, and two logits are narrower than the features.
            heard = _over(aggregate, self.lin_neighbor.project(x), edges, self.conv)
            out = self.lin(x) + heard
        return out


def _over(function: Any, x: Tensor, edges: Edges, *args: str) -> Tensor:
    out: Tensor = function(x.flatten(1), edges, *args)
    return out.view(x.shape)


class ActionNet(nn.Module):
    r"""The two action networks of Co-GNN, one for listening and one for broadcasting, in one pass.

    .. math::
        \ell^{\mathrm{in}} = \pi_{\mathrm{in}}(x, A), \qquad
        \ell^{\mathrm{out}} = \pi_{\mathrm{out}}(x, A)

    Two networks with weights of their own (Finkelshtein et al., 2024, "Cooperative Graph Neural
    Networks", section 4), whose messages share one aggregation a layer. They see the whole graph,
    without edge weights.

    Args:
        in_channels: width of the node features.
        hidden_channels: width of each network's hidden layers.
        num_layers: number of layers, at least 1.
        conv: ``"mean"``, ``"sum"``, ``"gcn"``, ``"gin"``, or ``"lin"`` for networks that see their
            own node only. The paper's names are µ, Σ, ∗ and ε.
        dropout: probability of dropout between layers.
        act: activation between layers, a name that PyG resolves.

    Raises:
        ValueError: ``conv`` is unknown, or a size is not positive.

    Example:
        >>> net = ActionNet(8, hidden_channels=16, num_layers=2, conv="sum")
        >>> net(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 16,
        num_layers: int = 1,
        conv: ActionConv = "mean",
        *,
        dropout: float = 0.0,
        act: str = "relu",
    ) -> None:
        super().__init__()
        if conv not in _CONVS:
            raise ValueError(f"`conv` must be one of {', '.join(_CONVS)}, got {conv!r}")
        for name, value in (
            ("in_channels", in_channels),
            ("hidden_channels", hidden_channels),
            ("num_layers", num_layers),
        ):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.conv = conv
        sizes = [in_channels, *[hidden_channels] * (num_layers - 1), 2]
        self.convs = nn.ModuleList(_TwinConv(i, o, conv) for i, o in pairwise(sizes))
        self.act = activation_resolver(act)
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for conv in self.convs:
            conv.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, edge_index: Any) -> Tensor:
        """Compute the logits of both decisions.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.

        Returns:
            ``[N, 4]``: keep and drop for listening, keep and drop for broadcasting.

        Raises:
            ValueError: ``x`` is a pair, or of another width.
        """
        if not isinstance(x, Tensor):
            raise ValueError(
                "ActionNet has no bipartite form, as every node decides on both roles; "
                "got `x` as a pair"
            )
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(f"`x` must be [N, {self.in_channels}], got {list(x.shape)}")
        return self.forward_edges(x, Edges.of(edge_index, size=x.size(0)))

    def forward_edges(
        self, x: Tensor, edges: Edges, generator: torch.Generator | None = None
    ) -> Tensor:
        """As :meth:`forward`, on edges in the direction of the messages; nothing here is random."""
        del generator
        edges = replace(edges, weight=None, attr=None)
        for k, conv in enumerate(self.convs):
            if k > 0:
                x = self.dropout(self.act(x))
            x = conv(x, edges)
        return x.flatten(1)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, hidden_channels={self.hidden_channels}, "
            f"num_layers={self.num_layers}, conv={self.conv!r})"
        )
