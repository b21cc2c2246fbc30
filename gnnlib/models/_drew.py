"""DRew, the whole network of the paper."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, normalize
from torch_geometric.nn import GCNConv, GINConv, global_add_pool, global_max_pool, global_mean_pool
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.resolver import activation_resolver, normalization_resolver

from gnnlib.edges import Edges
from gnnlib.history import History
from gnnlib.layers import DelayedConv, GatedGCNConv
from gnnlib.ops import KHop, k_hop

Variant = Literal["gcn", "gin", "gatedgcn"]
_POOLS = {"mean": global_mean_pool, "sum": global_add_pool, "max": global_max_pool}


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())


# A variant's layer for one hop, and what it adds of the node itself.
_VARIANTS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module] | None]] = {
    "gcn": (lambda width: GCNConv(width, width, add_self_loops=False), None),
    "gin": (lambda width: GINConv(_mlp(width), eps=-1.0), _mlp),
    "gatedgcn": (
        lambda width: GatedGCNConv(width, width, root_weight=False),
        lambda width: nn.Linear(width, width),
    ),
}


class DRew(nn.Module):
    r"""Dynamically rewired message passing with delay: layer :math:`\ell` hears one hop more.

    .. math::
        x_i^{\ell+1} = x_i^{\ell} + \sigma\Big(\mathrm{own}(x_i^{\ell}) + \sum_{k=1}^{\ell+1}
        \mathrm{conv}_k^{\ell}\big(\{\!\{ x_j^{\ell - \max(0, k - \nu)} : d(j, i) = k \}\!\}\big)
        \Big), \qquad \ell = 0, 1, \ldots

    from Gutteridge et al., 2023, "DRew: Dynamically Rewired Message Passing with Delay", eqs. 5 to
    8. The variants are DRew-GCN (:math:`\gamma_{ij}^k W_k^\ell x_j`, no own term), DRew-GIN (a
    perceptron of the sum of each hop, and one of the node) and DRew-GatedGCN (gated averages of
    each hop, and a linear map of the node).

    Differs: the sum over hops is normalised and activated once, as in the paper; its code does so
    within each hop of GCN before it sums, and adds a self loop to each. Edge weights, which the
    paper does not have, count in the first hop.

    Args:
        in_channels: width of the node features; ``-1`` to read it from the first call.
        hidden_channels: width of all layers.
        num_layers: number of layers, at least 1.
        out_channels: width of the output.
        conv: ``"gcn"``, ``"gin"``, ``"gatedgcn"``, or a function from ``(in_channels,
            out_channels)`` to a conv.
        delay: :math:`\nu`, a whole number of at least 1, or ``math.inf`` for none.
        max_hops: the farthest hop that any layer hears, default ``num_layers``.
        share_weights: whether the hops of a layer share their weights.
        learn_hop_weights: whether every layer weighs its hops.
        norm: normalisation of a layer's output, a name that PyG resolves, or ``None``.
        l2_norm: whether every layer scales its rows to length one, as the paper's code does.
        dropout: probability of dropout after each layer.
        act: activation, a name that PyG resolves.
        skip: whether a layer's input is added to its output.
        pool: ``"mean"``, ``"sum"`` or ``"max"`` over each graph for graph-level outputs; ``None``
            for node-level.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        >>> model = DRew(8, 32, num_layers=3, out_channels=2)
        >>> model(torch.randn(4, 8), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int,
        *,
        conv: Variant | Callable[[int, int], nn.Module] = "gcn",
        delay: float = 1,
        max_hops: int | None = None,
        share_weights: bool = False,
        learn_hop_weights: bool = False,
        norm: str | None = "batch_norm",
        l2_norm: bool = False,
        dropout: float = 0.0,
        act: str = "relu",
        skip: bool = True,
        pool: Literal["mean", "sum", "max"] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("hidden_channels", hidden_channels),
            ("num_layers", num_layers),
            ("out_channels", out_channels),
        ):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if max_hops is not None and max_hops < 1:
            raise ValueError(f"`max_hops` must be at least 1, got {max_hops}")
        if pool is not None and pool not in _POOLS:
            raise ValueError(f"`pool` must be one of {', '.join(_POOLS)} or None, got {pool!r}")
        if isinstance(conv, str) and conv not in _VARIANTS:
            raise ValueError(
                f"`conv` must be a function or one of {', '.join(_VARIANTS)}, got {conv!r}"
            )
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.out_channels = out_channels
        self.dropout = dropout
        self.skip = skip
        self.l2_norm = l2_norm
        self.pool = pool
        width = hidden_channels
        if isinstance(conv, str):
            make, own = _VARIANTS[conv]
        else:
            chosen = conv
            make, own = (lambda width: chosen(width, width)), None
        self.encoder = Linear(in_channels, width)
        convs = [
            DelayedConv(
                make(width),
                min(k + 1, max_hops or num_layers),
                delay,
                share_weights=share_weights,
                learn_hop_weights=learn_hop_weights,
            )
            for k in range(num_layers)
        ]
        self.num_hops = convs[-1].hops
        self.depth = convs[-1].memory
        self.convs = nn.ModuleList(convs)
        self.owns = None if own is None else nn.ModuleList(own(width) for _ in range(num_layers))
        self.norms = None
        if norm is not None:
            self.norms = nn.ModuleList(
                normalization_resolver(norm, width) for _ in range(num_layers)
            )
        # As PyG's BasicGNN: some normalise over each graph, and must be told which.
        self._norm_by_graph = self.norms is not None and (
            "batch_size" in inspect.signature(self.norms[0].forward).parameters
        )
        self.act = activation_resolver(act)
        self.decoder = nn.Linear(width, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        *,
        k_hop: KHop | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Pass messages over one hop more in every layer.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for convs that take it; of the first hop.
            edge_attr: ``[E, D]``, for convs that take it; of the first hop.
            batch: ``[N]`` graph of each node, for pooling and for normalisations over graphs;
                ``None`` for a single graph.
            batch_size: number of graphs; by default one more than the last in ``batch``.
            k_hop: the pairs up to ``num_hops`` hops, as :class:`~gnnlib.encodings.AddKHop` prepares
                them; by default they are found, once a graph.
            generator: source of randomness for gnnlib layers; PyG's use torch's own.

        Returns:
            ``[N, out_channels]``; with pooling, one row per graph.

        Raises:
            ValueError: ``x`` is a pair, or ``k_hop`` does not fit.
        """
        if isinstance(x, (tuple, list)):
            raise ValueError("DRew has no bipartite form, nor have its layers; got `x` as a pair")
        if self.pool is not None and batch is None:
            batch = torch.zeros(x.size(0), dtype=torch.int64, device=x.device)
            batch_size = 1
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=x.size(0))
        if self.num_hops > 1:
            edges = self._with_pairs(edges, k_hop)
        h, history = self.encoder(x), History(self.depth)
        for k in range(self.num_layers):
            heard = self.convs[k](h, edges, history=history, generator=generator)
            history = history.push(h)
            h = self._updated(k, h, heard, batch, batch_size)
        if self.pool is not None:
            h = _POOLS[self.pool](h, batch, batch_size)
        out: Tensor = self.decoder(h)
        return out

    def _with_pairs(self, edges: Edges, pairs: KHop | None) -> Edges:
        if pairs is None:
            pairs = k_hop(edges.adj, self.num_hops) if edges.k_hop is None else edges.k_hop
        return replace(edges, k_hop=pairs)

    def _updated(
        self, k: int, h: Tensor, heard: Tensor, batch: Tensor | None, batch_size: int | None
    ) -> Tensor:
        if self.owns is not None:
            heard = heard + self.owns[k](h)
        if self.norms is not None:
            norm = self.norms[k]
            heard = norm(heard, batch, batch_size) if self._norm_by_graph else norm(heard)
        heard = dropout(self.act(heard), self.dropout, self.training)
        out = h + heard if self.skip else heard
        return normalize(out, dim=-1) if self.l2_norm else out

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, "
            f"{self.num_layers}, {self.out_channels}, conv={self.convs[-1]})"
        )
