"""Classify the papers of Cora with a GCN of two layers.

python examples/gcn.py --cooperative --directed
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
import torch_geometric.transforms as T
from _axes import add_axes, axes_of, both
from rich.progress import track
from torch_geometric import seed_everything
from torch_geometric.datasets import Planetoid
from torch_geometric.nn import GCNConv

import gnnlib


class GCN(torch.nn.Module):
    def __init__(self, in_channels, hidden_channels, out_channels):
        super().__init__()
        self.conv1 = GCNConv(in_channels, hidden_channels, cached=True)
        self.conv2 = GCNConv(hidden_channels, out_channels, cached=True)

    def forward(self, x, edge_index):
        x = F.dropout(x, p=0.5, training=self.training)
        x = self.conv1(x, edge_index).relu()
        x = F.dropout(x, p=0.5, training=self.training)
        return self.conv2(x, edge_index)


def train(model, data, epochs, lr):
    """Train, and return the accuracy of the test nodes where the validation nodes' is best."""
    groups = [
        {"params": model.conv1.parameters(), "weight_decay": 5e-4},
        {"params": model.conv2.parameters(), "weight_decay": 0},
    ]
    optimizer = torch.optim.Adam(groups, lr=lr)
    best = (0.0, 0.0)
    for _ in track(range(epochs), description=""):
        model.train()
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)
        F.cross_entropy(out[data.train_mask], data.y[data.train_mask]).backward()
        optimizer.step()
        best = max(best, test(model, data), key=lambda accuracy: accuracy[0])
    return best[1]


@torch.no_grad()
def test(model, data):
    right = model.eval()(data.x, data.edge_index).argmax(dim=-1) == data.y
    return tuple(right[mask].float().mean().item() for mask in (data.val_mask, data.test_mask))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default="runs/data", help="has planetoid/Cora/raw")
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    add_axes(parser)
    args = parser.parse_args()
    dataset = Planetoid(args.root / "planetoid", "Cora", transform=T.NormalizeFeatures())
    for name, axes in both(axes_of(args)).items():
        seed_everything(args.seed)
        model = GCN(dataset.num_features, args.hidden, dataset.num_classes)
        model = gnnlib.swap(model, **axes)
        if axes:
            print(gnnlib.report(model))
        print(f"{name}: test accuracy {train(model, dataset[0], args.epochs, args.lr):.4f}")


if __name__ == "__main__":
    main()
