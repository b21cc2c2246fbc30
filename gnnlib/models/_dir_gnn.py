"""Dir-GNN, the whole network of the paper."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from gnnlib.edges import Edges
from gnnlib.layers import Alpha, DirectedConv
from gnnlib.layers._degree_norm import Norm
from gnnlib.lowering import message_edges, run

DirectedBase = Literal["gcn", "sage", "gat"]
_CONVS: dict[str, Callable[[int, int], nn.Module]] = {
    "gcn": GCNConv,
    "sage": SAGEConv,
    "gat": GATConv,
}


class DirGNN(nn.Module):
    r"""Directed graph neural network: directed layers, and the knowledge of all of them at the end.

    .. math::
        h^{\ell+1} = \mathrm{dropout}\big(\mathrm{ReLU}(\mathrm{conv}_\ell(h^\ell, A))\big), \qquad
        y = W \, \mathrm{JK}(h^1, \dots, h^L)

    from Rossi et al., 2023, "Edge Directionality Improves Learning on Heterophilic Graphs", and its
    code. ``normalize`` divides each node's :math:`h^\ell` by its Euclidean norm. The last layer is
    like the others where there is jumping knowledge (Xu et al., 2018), and the output without.

    Differs: see :class:`~gnnlib.layers.DirectedConv`; the output are logits, of which the code
    takes the logarithm of their softmax.

    Args:
        in_channels: width of the node features; ``-1`` to read it from the first call.
        hidden_channels: width of all layers.
        num_layers: number of directed layers, at least 1.
        out_channels: width of the output.
        conv: ``"gcn"``, ``"sage"``, ``"gat"``, or a function from ``(in_channels, out_channels)``
            to a conv, which each layer makes directed.
        alpha: share of the out-neighbours, see :class:`~gnnlib.layers.DirectedConv`.
        learn_alpha: learn one for all layers, beginning at ``alpha``.
        norm: see :class:`~gnnlib.layers.DirectedConv`.
        root_weight: see :class:`~gnnlib.layers.DirectedConv`.
        jk: ``"max"`` over the layers, ``"cat"`` them, or ``None``.
        normalize: whether to normalise each node after each layer.
        dropout: probability of dropout after each layer.

    Raises:
        ValueError: an option is unknown or a size not positive.

    Example:
        >>> model = DirGNN(8, 32, num_layers=2, out_channels=3, conv="sage", jk="cat")
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
        conv: DirectedBase | Callable[[int, int], nn.Module] = "gcn",
        alpha: float = 0.5,
        learn_alpha: bool = False,
        norm: Norm | Literal["auto"] | None = "auto",
        root_weight: bool = True,
        jk: Literal["max", "cat"] | None = "max",
        normalize: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("hidden_channels", hidden_channels),
            ("num_layers", num_layers),
            ("out_channels", out_channels),
        ):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if jk not in ("max", "cat", None):
            raise ValueError(f"`jk` must be one of max, cat or None, got {jk!r}")
        if isinstance(conv, str):
            if conv not in _CONVS:
                raise ValueError(
                    f"`conv` must be a function or one of {', '.join(_CONVS)}, got {conv!r}"
                )
            conv = _CONVS[conv]
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.out_channels = out_channels
        self.jk = jk
        self.normalize = normalize
        shared = Alpha(alpha) if learn_alpha else alpha
        widths = [in_channels, *[hidden_channels] * num_layers]
        if jk is None:
            widths[-1] = out_channels
        self.convs = nn.ModuleList(
            DirectedConv(conv(i, o), shared, root_weight=root_weight, norm=norm)
            for i, o in pairwise(widths)
        )
        self.dropout = nn.Dropout(dropout)
        if jk is not None:
            known = hidden_channels * (num_layers if jk == "cat" else 1)
            self.lin = nn.Linear(known, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (*self.convs, *([] if self.jk is None else [self.lin])):
            module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for convs that take it.
            edge_attr: ``[E, D]``, for convs that take it.
            generator: source of randomness for gnnlib layers; PyG's use torch's own.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ValueError: ``x`` is a pair.
        """
        if isinstance(x, (tuple, list)):
            raise ValueError("DirGNN has no bipartite form, nor have its layers; got `x` as a pair")
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=x.size(0))
        layers = []
        for k, conv in enumerate(self.convs):
            x = run(conv, x, message_edges(conv, edges), generator)
            if self.jk is None and k == self.num_layers - 1:
                return x
            x = self.dropout(x.relu())
            if self.normalize:
                x = normalize(x, p=2.0, dim=-1)
            layers.append(x)
        out: Tensor = self.lin(
            torch.cat(layers, -1) if self.jk == "cat" else torch.stack(layers).amax(0)
        )
        return out

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, "
            f"num_layers={self.num_layers}, out_channels={self.out_channels}, "
            f"conv={self.convs[0]}, jk={self.jk!r}, normalize={self.normalize})"
        )
