"""Embed the papers of Cora with GraphSAGE, without labels; classify them by logistic regression.

Papers that cite each other become similar, and random pairs dissimilar. Every step sees the whole
graph and draws new pairs, so that no sampler is needed (PyG's needs pyg-lib or torch-sparse).

python examples/graph_sage_unsup.py --aggr lcm --exclude convs.0  # not the layer of 1,433 features
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
import torch_geometric.transforms as T
from _axes import add_axes, axes_of, both
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from torch_geometric import seed_everything
from torch_geometric.datasets import Planetoid
from torch_geometric.nn import GraphSAGE
from torch_geometric.utils import negative_sampling

import gnnlib


def train(model, data, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    positive = data.edge_index
    for _ in track(range(epochs), description=""):
        model.train()
        optimizer.zero_grad()
        h = model(data.x, data.edge_index)
        pairs = torch.cat([positive, negative_sampling(positive, data.num_nodes)], dim=1)
        related = (torch.arange(pairs.size(1)) < positive.size(1)).float()
        score = (h[pairs[0]] * h[pairs[1]]).sum(dim=-1)
        F.binary_cross_entropy_with_logits(score, related).backward()
        optimizer.step()


@torch.no_grad()
def test(model, data):
    """Accuracy of the test nodes, of a regression on the embeddings of the others."""
    h, y = model.eval()(data.x, data.edge_index).numpy(), data.y.numpy()
    seen, unseen = (~data.test_mask).numpy(), data.test_mask.numpy()
    return LogisticRegression(max_iter=1000).fit(h[seen], y[seen]).score(h[unseen], y[unseen])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default="runs/data", help="has planetoid/Cora/raw")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    add_axes(parser)
    args = parser.parse_args()
    dataset = Planetoid(args.root / "planetoid", "Cora", transform=T.NormalizeFeatures())
    for name, axes in both(axes_of(args)).items():
        seed_everything(args.seed)
        model = GraphSAGE(dataset.num_features, args.hidden, args.layers)
        model = gnnlib.swap(model, **axes)
        if axes:
            print(gnnlib.report(model))
        train(model, dataset[0], args.epochs, args.lr)
        print(f"{name}: test accuracy {test(model, dataset[0]):.4f}")


if __name__ == "__main__":
    main()
