"""A training epoch of Co-GNN against the same model written with PyG alone.

    python -m benchmarks.layers.cognn

The graph is Minesweeper's: a grid of 100 x 100 nodes, each joined to its eight neighbours. Both
sides hold the same weights and draw the same noise, and are checked to give the same loss and
gradients.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.nn.conv import MessagePassing

from benchmarks._command import command
from benchmarks._graphs import grid
from benchmarks._harness import Case, Side
from gnnlib.models import CoGNN

FEATURES = 7


class _Conv(MessagePassing):
    """``W x + V (listen * mean(x)) + b``, the mean over the neighbours that broadcast."""

    def __init__(self, root: Tensor, neighbor: Tensor, bias: Tensor) -> None:
        super().__init__(aggr="sum")
        self.root = nn.Parameter(root.detach().clone())
        self.neighbor = nn.Parameter(neighbor.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor, edge_index: Tensor, listen: Tensor, broadcast: Tensor) -> Tensor:
        gate = broadcast[edge_index[0]]
        total = self.propagate(edge_index, x=x, gate=gate)
        count = x.new_zeros(x.size(0)).index_add(0, edge_index[1], gate)
        heard = listen / torch.where(count == 0, 1, count)
        return x @ self.root + (heard.unsqueeze(-1) * total) @ self.neighbor + self.bias

    def message(self, x_j: Tensor, gate: Tensor) -> Tensor:
        return x_j * gate.unsqueeze(-1)


class _PlainCoGNN(nn.Module):
    """Co-GNN(mean, mean) on PyG's message passing, with the weights of ``model``."""

    def __init__(self, model: CoGNN) -> None:
        super().__init__()
        layer = model.convs[0]
        net = layer.action_net.convs[0]
        self.temperature = layer.temperature
        self.encoder, self.norm = copy.deepcopy(model.encoder), copy.deepcopy(model.norm)
        self.act, self.decoder = copy.deepcopy(model.act), copy.deepcopy(model.decoder)
        self.action_nets = nn.ModuleList(
            _Conv(net.lin.weight[k], net.lin_neighbor.weight[k], net.lin.bias[k]) for k in range(2)
        )
        self.convs = nn.ModuleList(
            _Conv(c.conv.lin_r.weight.T, c.conv.lin_l.weight.T, c.conv.lin_l.bias)
            for c in model.convs
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        always = x.new_ones(x.size(0))
        x = self.act(self.encoder(x))
        for conv in self.convs:
            x = self.norm(x)
            logits = torch.cat([net(x, edge_index, always, always) for net in self.action_nets], -1)
            noise = -torch.empty_like(logits).exponential_().log()
            soft = ((logits + noise).view(-1, 2, 2) / self.temperature).softmax(-1)[..., 0]
            hard = (soft >= 0.5).to(soft.dtype) + (soft - soft.detach())
            listen, broadcast = hard.unbind(1)
            x = x + self.act(conv(x, edge_index, listen, broadcast))
        return self.decoder(self.norm(x))


def _epoch(name: str, model: nn.Module, x: Tensor, edge_index: Tensor, y: Tensor) -> Side:
    # At a learning rate of zero the optimizer does all its work, and the sides stay equal.
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)

    def call() -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(model(x, edge_index).squeeze(-1), y)
        loss.backward()
        optimizer.step()
        return loss.detach(), model.encoder.weight.grad.clone()

    return Side(name, call)


def _case(side: int, hidden_channels: int, num_layers: int) -> Case:
    def sides() -> list[Side]:
        torch.manual_seed(0)
        edge_index = grid(side)
        x = torch.rand(side * side, FEATURES)
        y = (torch.rand(side * side) < 0.2).float()
        # A high temperature: at the paper's 0.01 gradients amplify rounding, and none would agree.
        ours = CoGNN(FEATURES, hidden_channels, num_layers, 1, act="gelu", temperature=1.0)
        plain = _PlainCoGNN(ours)
        return [
            _epoch("gnnlib", ours, x, edge_index, y),
            _epoch("PyG", plain, x, edge_index, y),
        ]

    name = f"epoch, {side * side} nodes, {num_layers} layers of {hidden_channels}"
    return Case(name, sides)


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one on a tiny graph."""
    if quick:
        yield _case(8, 8, 2)
        return
    for width in (32, 64, 128):
        yield _case(100, width, 8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("layers.cognn", __doc__, cases, argv, seconds=20)


if __name__ == "__main__":
    raise SystemExit(main())
