"""DIGRAC, the whole network of the paper: clusters of a directed graph, without labels."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense import Linear

from gnnlib.edges import Edges
from gnnlib.layers import DIMPAConv


class DIGRAC(nn.Module):
    r"""Cluster the nodes of a directed graph by how much flows between the clusters.

    .. math::
        X_s = \mathrm{MLP}_s(x), \quad X_t = \mathrm{MLP}_t(x), \quad
        Z = \mathrm{DIMPA}(X_s, X_t, A), \quad P = \mathrm{softmax}(Z W + b)

    from He et al., 2022, "DIGRAC: Digraph Clustering Based on Flow Imbalance", with MLPs of two
    layers. It is trained on :func:`flow_imbalance_loss`, which asks for no labels.

    Args:
        in_channels: width of the node features; ``-1`` to read it from the first call.
        hidden_channels: width of both MLPs.
        num_clusters: number of clusters, at least 2.
        hop: longest path of :class:`~gnnlib.layers.DIMPAConv`.
        tau: weight of a node in its own average.
        dropout: probability of dropout between the layers of the MLPs.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> model = DIGRAC(8, 32, num_clusters=3)
        >>> prob = model(torch.randn(4, 8), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> prob.shape, bool(prob.sum(1).allclose(torch.ones(4)))
        (torch.Size([4, 3]), True)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_clusters: int,
        hop: int = 2,
        tau: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if num_clusters < 2:
            raise ValueError(f"`num_clusters` must be at least 2, got {num_clusters}")
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.num_clusters = num_clusters
        self.mlp_source, self.mlp_target = (
            nn.Sequential(
                Linear(in_channels, hidden_channels),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_channels, hidden_channels),
            )
            for _ in range(2)
        )
        self.conv = DIMPAConv(hop, tau)
        self.lin = nn.Linear(2 * hidden_channels, num_clusters)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (*self.mlp_source, *self.mlp_target, self.conv, self.lin):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(self, x: Tensor, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        """Run the network.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the directed graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, not negative.

        Returns:
            ``[N, num_clusters]``, the probability that a node is in a cluster.

        Raises:
            ValueError: ``x`` is a pair or no matrix, or the graph is bipartite.
        """
        if isinstance(x, (tuple, list)) or x.dim() != 2:
            got = "a pair" if isinstance(x, (tuple, list)) else list(x.shape)
            raise ValueError(
                "`x` must be [N, in_channels], as every node is both a source and a target, got "
                f"{got}"
            )
        edges = Edges.of(edge_index, edge_weight, size=x.size(0))
        z = self.conv(self.mlp_source(x), self.mlp_target(x), edges)
        return torch.softmax(self.lin(z), dim=1)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, "
            f"num_clusters={self.num_clusters}, conv={self.conv})"
        )
