"""Tell the mutagenic molecules of MUTAG from the others with a GIN and a sum over each molecule.

python examples/mutag_gin.py --delay 1
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from _axes import add_axes, axes_of, both
from rich.progress import track
from torch_geometric import seed_everything
from torch_geometric.datasets import TUDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MLP, GINConv, global_add_pool

import gnnlib


class GIN(torch.nn.Module):
    def __init__(self, in_channels, hidden_channels, out_channels, num_layers):
        super().__init__()
        self.convs = torch.nn.ModuleList()
        for layer in range(num_layers):
            width = hidden_channels if layer else in_channels
            self.convs.append(GINConv(MLP([width, hidden_channels, hidden_channels])))
        self.mlp = MLP([hidden_channels, hidden_channels, out_channels], norm=None, dropout=0.5)

    def forward(self, x, edge_index, batch):
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.mlp(global_add_pool(x, batch))


def train(model, loader, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in track(range(epochs), description=""):
        model.train()
        for data in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(data.x, data.edge_index, data.batch), data.y).backward()
            optimizer.step()


@torch.no_grad()
def test(model, loader):
    model.eval()
    right = [model(d.x, d.edge_index, d.batch).argmax(dim=-1) == d.y for d in loader]
    return torch.cat(right).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default="runs/data", help="has tu/MUTAG/raw")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    add_axes(parser)
    args = parser.parse_args()
    dataset = TUDataset(args.root / "tu", "MUTAG")
    for name, axes in both(axes_of(args)).items():
        seed_everything(args.seed)
        graphs = dataset.shuffle()
        held_out = len(graphs) // 10
        model = GIN(dataset.num_features, args.hidden, dataset.num_classes, args.layers)
        model = gnnlib.swap(model, **axes)
        if axes:
            print(gnnlib.report(model))
        loader = DataLoader(graphs[held_out:], args.batch_size, shuffle=True)
        train(model, loader, args.epochs, args.lr)
        accuracy = test(model, DataLoader(graphs[:held_out], args.batch_size))
        print(f"{name}: test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
