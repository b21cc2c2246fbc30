"""Co-GNN, the whole network of the paper."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINConv,
    SAGEConv,
    global_add_pool,
    global_mean_pool,
)
from torch_geometric.nn.resolver import activation_resolver

from gnnlib.edges import Edges
from gnnlib.layers import ActionNet, CooperativeConv, Temperature
from gnnlib.layers._action_net import ActionConv
from gnnlib.layers._actions import ActionSpace, EvalMode
from gnnlib.lowering import message_edges, run

Environment = Literal["mean", "sum", "gcn", "gin", "gat"]
_POOLS = {"mean": global_mean_pool, "sum": global_add_pool}


def _gin(in_channels: int, out_channels: int) -> GINConv:
    mlp = nn.Sequential(
        nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels)
    )
    return GINConv(mlp, train_eps=True)


_ENVIRONMENTS: dict[str, Callable[[int, int], nn.Module]] = {
    "mean": lambda i, o: SAGEConv(i, o, aggr="mean"),
    "sum": lambda i, o: SAGEConv(i, o, aggr="sum"),
    "gcn": GCNConv,
    "gin": _gin,
    "gat": GATConv,
}


class CoGNN(nn.Module):
    r"""Cooperative graph neural network: an encoder, cooperative layers, and a decoder.

    .. math::
        h^0 &= \sigma(W x), \qquad \tilde h^{\ell} = \mathrm{LN}(h^{\ell}) \\
        h^{\ell+1} &= \tilde h^{\ell} + \sigma\big(\eta_\ell(\tilde h^{\ell}, A^{\ell})\big), \qquad
        A^{\ell} = \text{edges that } \pi(\tilde h^{\ell}, A) \text{ leaves}

    from Finkelshtein et al., 2024, "Cooperative Graph Neural Networks", section 4 and its code: one
    action network :math:`\pi` and one layer norm are shared by all layers. The paper writes
    Co-GNN(:math:`\pi, \eta`), the action network first: its (Σ, µ) is ``CoGNN(..., action="sum",
    conv="mean")``.

    Differs: see :class:`~gnnlib.layers.CooperativeConv` (absence, evaluation); projections of a
    node and of its neighbours are initialised apart, as in PyG's ``SAGEConv``; hidden decoder
    layers do not share weights.

    Args:
        in_channels: width of the node features.
        hidden_channels: width of all layers.
        num_layers: number of cooperative layers, at least 1.
        out_channels: width of the output.
        conv: the environment network's layer: ``"mean"``, ``"sum"``, ``"gcn"``, ``"gin"``,
            ``"gat"``, or a function from ``(in_channels, out_channels)`` to a conv.
        action: the action network's layer: ``"mean"``, ``"sum"``, ``"gcn"``, ``"gin"``, ``"lin"``,
            or ``None`` for the same network without actions, a plain GNN.
        action_channels: width of the action networks' hidden layers.
        action_layers: number of their layers.
        actions: ``"factorised"`` or ``"categorical"``, see :class:`~gnnlib.layers.CooperativeConv`.
        temperature: of the Gumbel noise, when it is not learned.
        learn_temperature: learn one temperature per node instead.
        tau0: inverse of the largest learned temperature.
        eval_mode: ``"argmax"``, ``"sample"`` or ``"expected"``.
        dropout: probability of dropout after each layer.
        act: activation, a name that PyG resolves.
        skip: add a layer's input to its output.
        layer_norm: normalise the input of each layer and of the decoder.
        pool: ``"mean"`` or ``"sum"`` over each graph for graph-level outputs; ``None`` for
            node-level.
        decoder_layers: number of linear layers in the decoder.

    Raises:
        ValueError: an option is unknown or a size not positive.

    Example:
        >>> model = CoGNN(8, 32, num_layers=2, out_channels=3, action="sum", conv="mean")
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
        conv: Environment | Callable[[int, int], nn.Module] = "mean",
        action: ActionConv | None = "mean",
        action_channels: int = 16,
        action_layers: int = 1,
        actions: ActionSpace = "factorised",
        temperature: float = 0.01,
        learn_temperature: bool = False,
        tau0: float = 0.1,
        eval_mode: EvalMode = "argmax",
        dropout: float = 0.0,
        act: str = "relu",
        skip: bool = True,
        layer_norm: bool = True,
        pool: Literal["mean", "sum"] | None = None,
        decoder_layers: int = 1,
    ) -> None:
        super().__init__()
        for name, value in (("num_layers", num_layers), ("decoder_layers", decoder_layers)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if pool is not None and pool not in _POOLS:
            raise ValueError(f"`pool` must be one of {', '.join(_POOLS)} or None, got {pool!r}")
        if isinstance(conv, str):
            if conv not in _ENVIRONMENTS:
                raise ValueError(
                    f"`conv` must be a function or one of {', '.join(_ENVIRONMENTS)}, got {conv!r}"
                )
            conv = _ENVIRONMENTS[conv]
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.out_channels = out_channels
        self.skip = skip
        self.pool = pool

        self.encoder = nn.Linear(in_channels, hidden_channels)
        self.norm = nn.LayerNorm(hidden_channels) if layer_norm else nn.Identity()
        self.act = activation_resolver(act)
        self.dropout = nn.Dropout(dropout)
        convs = [conv(hidden_channels, hidden_channels) for _ in range(num_layers)]
        if action is not None:
            net = ActionNet(
                hidden_channels, action_channels, action_layers, action, dropout=dropout, act=act
            )
            tau = Temperature(hidden_channels, tau0) if learn_temperature else temperature
            convs = [
                CooperativeConv(c, net, actions=actions, temperature=tau, eval_mode=eval_mode)
                for c in convs
            ]
        self.convs = nn.ModuleList(convs)
        hidden: list[nn.Module] = []
        for _ in range(decoder_layers - 1):
            hidden += [nn.Linear(hidden_channels, hidden_channels), activation_resolver(act)]
            hidden += [nn.Dropout(dropout)]
        self.decoder = nn.Sequential(*hidden, nn.Linear(hidden_channels, out_channels))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (self.encoder, self.norm, *self.convs, *self.decoder):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for environments that take it.
            edge_attr: ``[E, D]``, for environments that take it.
            batch: ``[N]`` graph of each node, for pooling; ``None`` for a single graph.
            batch_size: number of graphs; by default one more than the last in ``batch``.
            generator: source of the actions' noise; ``None`` for torch's own.

        Returns:
            ``[N, out_channels]``; with pooling, one row per graph.
        """
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=x.size(0))
        x = self.act(self.dropout(self.encoder(x)))
        for conv in self.convs:
            x = self.norm(x)
            out = self.act(self.dropout(run(conv, x, message_edges(conv, edges), generator)))
            x = x + out if self.skip else out
        x = self.norm(x)
        if self.pool is not None:
            x = _POOLS[self.pool](x, batch, batch_size)
        decoded: Tensor = self.decoder(x)
        return decoded

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, "
            f"num_layers={self.num_layers}, out_channels={self.out_channels}, conv={self.convs[0]})"
        )
