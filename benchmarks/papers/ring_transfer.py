"""RingTransfer, which a label must cross half a ring to solve: DRew against GCN, by ring size.

    python -m benchmarks.papers.ring_transfer [--sizes 10 20 30 40] [--epochs 50] [--seeds 3]

The experiment of Gutteridge et al., "DRew: Dynamically Rewired Message Passing with Delay", 2023,
section 5.3: a node of a ring must tell the class that the node opposite holds, so a network needs
half as many layers as the ring has nodes. All networks have about as many weights as a GCN 256
wide. Runs are kept in --out, and finished ones read back.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from benchmarks._harness import RESULTS
from benchmarks.papers._runs import annealed, kept, publish
from gnnlib.datasets import RingTransfer
from gnnlib.models import DRew

CLASSES, WIDTH = 5, 256
# Name; what the paper's figure, without numbers, shows; how far and how late hops are.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "drew": ("DRew-GCN, delay 1", "solves all", {"delay": 1}),
    "drew-inf": ("DRew-GCN, no delay", "solves all", {"delay": math.inf}),
    "drew-gin": ("DRew-GIN, delay 1", "solves all", {"conv": "gin", "delay": 1}),
    "gcn": ("GCN", "fails from about 20", {"max_hops": 1, "skip": False}),
    "gcn-skip": ("GCN with skips", "", {"max_hops": 1}),
}


@dataclass(frozen=True)
class Settings:
    """All that a run depends on."""

    model: str
    size: int
    epochs: int
    seed: int
    graphs: int = 2000
    batch_size: int = 32
    lr: float = 0.01


def make(settings: Settings) -> DRew:
    """A network of half as many layers as the ring has nodes, and of about as many weights."""
    options, layers = MODELS[settings.model][2], settings.size // 2
    # A weight matrix for every hop of every layer, or one a layer.
    matrices = layers if options.get("max_hops") == 1 else layers * (layers + 1) / 2
    width = round(math.sqrt(WIDTH**2 * layers / matrices))
    return DRew(CLASSES, width, layers, CLASSES, act="prelu", l2_norm=True, **options)


class Rings:
    """All rings of a data set: every batch has the same edges, and other features."""

    def __init__(self, settings: Settings) -> None:
        data = RingTransfer(settings.size, settings.graphs, num_classes=CLASSES, seed=settings.seed)
        draw = torch.Generator().manual_seed(settings.seed)
        order = torch.randperm(settings.graphs, generator=draw)
        graphs = [data[k] for k in order.tolist()]
        self.x = torch.stack([graph.x for graph in graphs])
        self.y = torch.cat([graph.y for graph in graphs])
        self.asked = int(graphs[0].mask.nonzero())
        self.edge_index = graphs[0].edge_index
        self._joined: dict[int, Tensor] = {}
        parts = [int(share * settings.graphs) for share in (0.8, 0.9)]
        self.train, self.val, self.test = torch.arange(settings.graphs).tensor_split(parts)

    def logits(self, model: nn.Module, chosen: Tensor) -> Tensor:
        """What a network says of the nodes that are asked."""
        size, count = self.x.size(1), chosen.numel()
        if count not in self._joined:
            offset = size * torch.arange(count).repeat_interleave(self.edge_index.size(1))
            self._joined[count] = self.edge_index.repeat(1, count) + offset
        out: Tensor = model(self.x[chosen].flatten(0, 1), self._joined[count])
        return out.view(count, size, -1)[:, self.asked]

    @torch.no_grad()
    def accuracy(self, model: nn.Module, chosen: Tensor) -> float:
        """The share of rings whose class is told."""
        model.eval()
        told = self.logits(model, chosen).argmax(-1) == self.y[chosen]
        model.train()
        return told.double().mean().item()


def train(settings: Settings) -> dict[str, Any]:
    """One run: the accuracy on the test rings, with the weights that served validation best."""
    torch.manual_seed(settings.seed)
    rings, model = Rings(settings), make(settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    batches = len(rings.train.split(settings.batch_size))
    schedule = annealed(optimizer, settings.epochs * batches)
    best, found, epochs = -1.0, 0.0, 0
    name = f"{settings.model}, ring of {settings.size}"
    for _ in track(range(settings.epochs), description=name):
        epochs += 1
        order = rings.train[torch.randperm(rings.train.numel())]
        for chosen in order.split(settings.batch_size):
            loss = nn.functional.cross_entropy(rings.logits(model, chosen), rings.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        known = rings.accuracy(model, rings.val)
        if known > best:
            best, found = known, rings.accuracy(model, rings.test)
        if known == 1.0:
            break
    parameters = sum(p.numel() for p in model.parameters())
    return {"accuracy": found, "epochs": epochs, "parameters": parameters}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiments; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers.ring_transfer", description=__doc__
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 30, 40])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each model and size")
    parser.add_argument("--only", default=",".join(MODELS), help="models, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/papers-ring-transfer"))
    parser.add_argument("--results", type=Path, help="where the table goes")
    parser.add_argument("--quick", action="store_true", help="few rings, one epoch: does it run?")
    options = parser.parse_args(argv)
    unknown = set(options.only.split(",")) - set(MODELS)
    if unknown:
        parser.error(f"--only knows {', '.join(MODELS)}, not {', '.join(sorted(unknown))}")
    torch.set_num_threads(options.threads)
    small = {"epochs": 1, "graphs": 20} if options.quick else {}
    rows = []
    for name in options.only.split(","):
        cells = []
        for size in options.sizes[:1] if options.quick else options.sizes:
            runs = []
            for seed in range(options.seeds):
                given = {"epochs": options.epochs, **small}
                settings = Settings(name, size, seed=seed, **given)
                file = options.out / f"{name}-{size}-{seed}{'-quick' * options.quick}.json"
                runs.append(kept(file, asdict(settings), lambda s=settings: train(s)))
            mean = sum(run["accuracy"] for run in runs) / len(runs)
            epochs = max(run["epochs"] for run in runs)
            cells.append(f"{100 * mean:.1f} % ({epochs} epochs)")
        label, paper, _ = MODELS[name]
        rows.append((label, paper, *cells))
    sizes = options.sizes[:1] if options.quick else options.sizes
    note = (
        f"Accuracy on 200 of 2,000 rings, {CLASSES} classes, so that chance is "
        f"{100 / CLASSES:.0f} %; mean of {options.seeds} seed(s), at the best validation accuracy "
        f"of at most {options.epochs} epochs, ended where that is 100 %. Adam at 0.01, warmed up "
        "and annealed; batch norm, PReLU, rows of length one. The paper has a figure without "
        "numbers."
    )
    columns = ("network", "paper", *(f"ring of {size}" for size in sizes))
    folder = options.results or (None if options.quick else RESULTS)
    publish("ring-transfer", "RingTransfer", [(columns, rows)], note, folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
