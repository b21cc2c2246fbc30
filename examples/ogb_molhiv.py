"""Train a PyG GNN, or what gnnlib.swap makes of it, on ogbg-molhiv, as its leaderboard asks.

Ten seeds; the mean and unbiased standard deviation of ROC-AUC on the test molecules, at the epoch
that is best on those for validation; the number of parameters; the hardware. Data and metric are
OGB's own (pip install ogb). Every finished seed is kept: the same command goes on where it stopped.

python examples/ogb_molhiv.py --conv gin --cooperative
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from _axes import add_axes, axes_of
from ogb.graphproppred import Evaluator, PygGraphPropPredDataset
from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder
from rich.progress import track
from torch_geometric import __version__ as pyg_version
from torch_geometric import nn as pyg
from torch_geometric import seed_everything
from torch_geometric.loader import DataLoader

import gnnlib


def mlp(width):
    return pyg.MLP([width, 2 * width, width])


# Those in the second table hear the bonds.
ATOM_CONVS = {
    "gcn": lambda width: pyg.GCNConv(width, width),
    "sage": lambda width: pyg.SAGEConv(width, width),
    "graph": lambda width: pyg.GraphConv(width, width),
    "gin": lambda width: pyg.GINConv(mlp(width), train_eps=True),
    "gat": lambda width: pyg.GATConv(width, width, heads=4, concat=False),
}
BOND_CONVS = {
    "gine": lambda width: pyg.GINEConv(mlp(width), train_eps=True),
    "gatv2": lambda width: pyg.GATv2Conv(width, width, heads=4, concat=False, edge_dim=width),
    "transformer": lambda width: pyg.TransformerConv(
        width, width, heads=4, concat=False, edge_dim=width
    ),
}


class MoleculeGNN(torch.nn.Module):
    def __init__(self, conv, width, num_layers, num_tasks, dropout):
        super().__init__()
        make, hears_bonds = (ATOM_CONVS | BOND_CONVS)[conv], conv in BOND_CONVS
        layers = range(num_layers)
        self.dropout = dropout
        self.atoms = AtomEncoder(width)
        self.bonds = torch.nn.ModuleList(BondEncoder(width) for _ in layers if hears_bonds)
        self.convs = torch.nn.ModuleList(make(width) for _ in layers)
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm1d(width) for _ in layers)
        self.head = torch.nn.Linear(width, num_tasks)

    def forward(self, data):
        x = self.atoms(data.x)
        for layer, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            bonds = {"edge_attr": self.bonds[layer](data.edge_attr)} if self.bonds else {}
            x = norm(conv(x, data.edge_index, **bonds))
            if layer < len(self.convs) - 1:
                x = x.relu()
            x = F.dropout(x, self.dropout, self.training)
        return self.head(pyg.global_mean_pool(x, data.batch))


def make_model(args):
    model = MoleculeGNN(args.conv, args.hidden, args.layers, args.num_tasks, args.dropout)
    return gnnlib.swap(model, **axes_of(args))


def train_epoch(model, loader, optimizer, device):
    model.train()
    for data in loader:
        data = data.to(device)
        known = data.y == data.y  # a molecule without a label has NaN
        optimizer.zero_grad()
        out = model(data)
        F.binary_cross_entropy_with_logits(out[known], data.y[known].float()).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, loader, evaluator, device):
    model.eval()
    y_true, y_pred = zip(*((data.y, model(data.to(device)).cpu()) for data in loader), strict=True)
    scores = evaluator.eval({"y_true": torch.cat(y_true), "y_pred": torch.cat(y_pred)})
    return scores["rocauc"]


def run(seed, args, splits, evaluator, device):
    """Train with one seed; the scores at the epoch that is best for validation."""
    seed_everything(seed)
    model = make_model(args).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    loader = DataLoader(splits["train"], args.batch_size, shuffle=True)
    others = {name: DataLoader(splits[name], args.batch_size) for name in ("valid", "test")}
    start, best = time.perf_counter(), {"valid": -1.0}
    for epoch in track(range(1, args.epochs + 1), description=f"seed {seed}"):
        train_epoch(model, loader, optimizer, device)
        scores = {name: evaluate(model, others[name], evaluator, device) for name in others}
        if scores["valid"] > best["valid"]:
            best = {**scores, "epoch": epoch}
    seconds = round(time.perf_counter() - start, 1)
    return {**best, "seconds": seconds, "hardware": hardware(device)}


def load(args):
    """The splits, of a copy of what is in --root, as OGB deletes a folder that lacks a file."""
    folder = args.dataset.replace("-", "_")
    copy = args.out / "data" / folder
    if args.root is not None and not copy.exists():
        part = copy.with_name(f"{folder}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(args.root / folder, part, ignore=shutil.ignore_patterns("processed"))
        part.rename(copy)
    # OGB reads its own files with torch.load, whose default torch 2.6 changed.
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    dataset = PygGraphPropPredDataset(args.dataset, root=str(copy.parent))
    return {name: dataset[index] for name, index in dataset.get_idx_split().items()}


def read_kept(path, settings):
    """The seeds that were finished before."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if found["settings"] != settings:
        sys.exit(f"{path} holds other settings, {found['settings']}: give another --out")
    return found["seeds"]


def write(path, content):
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def hardware(device):
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        info = Path("/proc/cpuinfo")
        named = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
        name = named[1] if named else platform.processor() or platform.machine()
        name = f"{name}, {torch.get_num_threads()} threads"
    return f"{name}; torch {torch.__version__}, PyG {pyg_version}, gnnlib {gnnlib.__version__}"


def summary(runs):
    spread = (lambda values: f" ± {stdev(values):.4f}") if len(runs) > 1 else lambda _: ""
    return ", ".join(
        f"{name} {mean(values):.4f}{spread(values)}"
        for name in ("valid", "test")
        for values in [[run[name] for run in runs]]
    )


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conv", choices=[*ATOM_CONVS, *BOND_CONVS], default="gin")
    parser.add_argument("--dataset", default="ogbg-molhiv", help="one of OGB's with ROC-AUC")
    parser.add_argument("--root", type=Path, help="has ogbg_molhiv/raw; else OGB downloads it")
    parser.add_argument("--out", type=Path, default="runs/ogb", help="results, and OGB's copy")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=300)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_axes(parser)
    return parser.parse_args()


def main():
    args = parse()
    evaluator, device = Evaluator(args.dataset), torch.device(args.device)
    args.num_tasks = evaluator.num_tasks
    seed_everything(0)
    try:
        model = make_model(args)
    except (TypeError, ValueError) as error:
        sys.exit(f"{args.conv} with {axes_of(args)} cannot be: {error}")
    print(gnnlib.report(model))
    names = ("dataset", "epochs", "hidden", "layers", "dropout", "batch_size", "lr")
    settings = {"conv": args.conv, "axes": axes_of(args), **{n: getattr(args, n) for n in names}}
    args.out.mkdir(parents=True, exist_ok=True)
    asked = [f"{n}-{'-'.join(v) if isinstance(v, list) else v}" for n, v in axes_of(args).items()]
    path = args.out / f"{'_'.join([args.dataset, args.conv, *asked])}.json"
    done = read_kept(path, settings)
    content = {
        "settings": settings,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seeds": done,
    }
    splits = load(args)
    for seed in map(str, range(args.seeds)):
        if seed not in done:
            done[seed] = run(int(seed), args, splits, evaluator, device)
            write(path, content)
        print(f"seed {seed}: valid {done[seed]['valid']:.4f}, test {done[seed]['test']:.4f}")
    runs = [done[str(seed)] for seed in range(args.seeds)]
    print(f"ROC-AUC of {args.seeds} seeds: {summary(runs)}\nparameters: {content['parameters']:,}")
    print(f"hardware: {' | '.join(dict.fromkeys(run['hardware'] for run in runs))}\nkept in {path}")


if __name__ == "__main__":
    main()
