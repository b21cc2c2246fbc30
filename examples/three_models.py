"""A GCN, a GIN with pooling and a GATv2 that hears edge features: plain, and swapped in four ways.

Prints the accuracy on the test nodes or graphs after the last epoch, and the seconds it took.

python examples/three_models.py --root DATA --out three-models.md
"""

import argparse
import os
import time
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from torch_geometric import seed_everything
from torch_geometric.nn import GAT, GCN, GIN, global_add_pool
from torch_geometric.utils import degree

import gnnlib
from gnnlib.datasets import load


class PooledGIN(GIN):
    def forward(self, x, edge_index, batch, **_):
        return global_add_pool(super().forward(x, edge_index), batch)


MODELS = {
    "Cora": lambda features, classes: GCN(features, 64, 2, classes, dropout=0.5),
    "MUTAG": lambda features, classes: PooledGIN(features, 32, 3, classes),
    "Chameleon": lambda features, classes: GAT(features, 64, 2, classes, v2=True, edge_dim=2),
}
WAYS = [{}, {"cooperative": True}, {"directed": True}, {"delay": 1}, {"aggr": "lcm"}]


def predict(model, data, split):
    degrees = degree(data.edge_index[1], data.num_nodes)[data.edge_index].T.log1p()  # of both ends
    out = model(data.x, data.edge_index, edge_attr=degrees, batch=data.batch)
    part = data.get(f"{split}_mask", ...)  # some nodes of the graph, or all graphs
    return out[part], data.y[part]


def train(task, way, epochs):
    seed_everything(0)
    model = MODELS[task.name](task.in_channels, task.out_channels)
    model = gnnlib.swap(model, **way)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in track(range(epochs), description=f"{task.name} {way}"):
        optimizer.zero_grad()
        F.cross_entropy(*predict(model, task.train, "train")).backward()
        optimizer.step()
    out, y = predict(model.eval(), task.test, "test")
    return (out.argmax(dim=-1) == y).float().mean().item()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--root", help="folder of the data, as of gnnlib.datasets.load")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--out", type=Path, default=os.devnull, help="a file for the table")
args = parser.parse_args()
rows = ["| data | asked for | test accuracy | seconds |", "|---|---|---|---|"]
for task, way in product([load(name, args.root) for name in MODELS], WAYS):
    start = time.perf_counter()
    try:
        told = f"{train(task, way, args.epochs):.3f}"
    except ValueError as refusal:
        told = f"refused: {refusal}"
    rows.append(f"| {task.name} | {way or 'plain'} | {told} | {time.perf_counter() - start:.1f} |")
print("\n".join(rows))
args.out.write_text("\n".join(rows) + "\n")
