"""What an example takes from OGB, where OGB is not installed: its calls, its files."""

import gzip
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch_geometric.data import Data, InMemoryDataset


def install(monkeypatch):
    """Have ``import ogb`` find what is here."""
    graphs, encoders = ModuleType("ogb.graphproppred"), ModuleType("ogb.graphproppred.mol_encoder")
    graphs.Evaluator, graphs.PygGraphPropPredDataset = Evaluator, PygGraphPropPredDataset
    encoders.AtomEncoder, encoders.BondEncoder = AtomEncoder, BondEncoder
    for module in (ModuleType("ogb"), graphs, encoders):
        monkeypatch.setitem(sys.modules, module.__name__, module)


class Evaluator:
    num_tasks = 1

    def __init__(self, name):
        self.name = name

    def eval(self, scores):
        y_true, y_pred = scores["y_true"].numpy(), scores["y_pred"].numpy()
        assert y_true.shape == y_pred.shape == (len(y_true), self.num_tasks)
        return {"rocauc": roc_auc_score(y_true, y_pred)}


class PygGraphPropPredDataset(InMemoryDataset):
    raw_file_names = ("edge.csv.gz", "node-feat.csv.gz", "edge-feat.csv.gz")
    processed_file_names = "geometric_data_processed.pt"

    def __init__(self, name, root):
        super().__init__(str(Path(root) / name.replace("-", "_")))
        self.load(self.processed_paths[0])

    def download(self):
        raise AssertionError("nothing may be downloaded")

    def process(self):
        edges, x, edge_attr, labels, num_nodes, num_edges = (
            read(Path(self.raw_dir) / f"{part}.csv.gz")
            for part in (
                "edge", "node-feat", "edge-feat", "graph-label", "num-node-list", "num-edge-list"
            )
        )  # fmt: skip
        x = x.split(num_nodes.flatten().tolist())
        edges, edge_attr = (rows.split(num_edges.flatten().tolist()) for rows in (edges, edge_attr))
        graphs = [
            Data(
                x=x[i],
                # Every bond is in the file once.
                edge_index=torch.stack([edges[i], edges[i].flip(1)], dim=1).view(-1, 2).T,
                edge_attr=edge_attr[i].repeat_interleave(2, dim=0),
                y=labels[i].view(1, -1),
            )
            for i in range(len(labels))
        ]
        self.save(graphs, self.processed_paths[0])

    def get_idx_split(self):
        folder = Path(self.root) / "split" / "scaffold"
        return {part: read(folder / f"{part}.csv.gz")[:, 0] for part in ("train", "valid", "test")}


def read(file):
    with gzip.open(file, "rt") as lines:
        return torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.int64, ndmin=2))


class _Encoder(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.columns = nn.ModuleList(nn.Embedding(128, emb_dim) for _ in range(self.num_columns))

    def forward(self, x):
        return sum(column(x[:, i]) for i, column in enumerate(self.columns))


class AtomEncoder(_Encoder):
    num_columns = 9


class BondEncoder(_Encoder):
    num_columns = 3
