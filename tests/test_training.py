"""Training: what a run leaves, and that a stop at any moment costs nothing."""

import csv
import errno
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch_geometric.data import Data

from gnnlib import _files
from gnnlib.datasets import Task
from gnnlib.models import ModelConfig
from gnnlib.training import DataConfig, NodeProblem, TrainConfig, _loop, _train, read_result, train

MODEL = ModelConfig(name="gcn", hidden_channels=8, num_layers=2, dropout=0.5)


def config(out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig(
        DataConfig("KarateClub"),
        MODEL,
        epochs=6,
        lr=1e-2,
        accelerator="cpu",
        checkpoint_every=1,
        out=out,
    )
    return replace(base, **changes)


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv as text, without the column that a clock wrote."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)["model"]


def assert_same_run(a: Path, b: Path) -> None:
    assert rows(a) == rows(b)
    for name in ("last.ckpt", "best.ckpt"):
        one, other = weights(a, name), weights(b, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_leaves_its_files_and_reads_back(tmp_path):
    result = train(config(tmp_path / "run"))
    assert {path.name for path in result.folder.iterdir()} == {
        "config.json",
        "metrics.csv",
        "last.ckpt",
        "best.ckpt",
        "curves.png",
        "result.json",
    }
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    best = max(result.history, key=lambda row: row["val"])
    assert (result.best_epoch, result.val, result.test) == (
        best["epoch"],
        best["val"],
        best["test"],
    )
    assert result.metric == "accuracy"
    assert result.parameters == sum(w.numel() for w in weights(result.folder).values())
    kept, read = read_result(result.folder)
    assert read == result
    assert kept == json.loads((result.folder / "config.json").read_text())
    assert kept["model"]["dropout"] == 0.5


def test_the_seed_decides(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(tmp_path / name, seed=seed))
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert rows(tmp_path / "a") != rows(tmp_path / "c")


@pytest.mark.parametrize("stopped_at", [1, 3])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path, stopped_at):
    train(config(tmp_path / "whole"))
    train(config(tmp_path / "parts", epochs=stopped_at))
    torch.rand(7)  # What the process drew in between does not count.
    train(config(tmp_path / "parts", resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


KILLED = """
import os, signal, sys
from pathlib import Path
from gnnlib.models import ModelConfig
from gnnlib.training import DataConfig, TrainConfig, train

sync, out = os.fsync, Path(sys.argv[1])

def kill_in_the_middle_of_a_checkpoint(file):
    # The disk holds a part of the checkpoint of epoch 5, and epoch 4 in metrics.csv.
    if (out / ".last.ckpt.tmp").exists() and (out / "metrics.csv").exists():
        if len((out / "metrics.csv").read_text().splitlines()) == 1 + 4:
            os.kill(os.getpid(), signal.SIGKILL)
    sync(file)

os.fsync = kill_in_the_middle_of_a_checkpoint
model = ModelConfig(name="gcn", hidden_channels=8, num_layers=2, dropout=0.5)
train(TrainConfig(DataConfig("KarateClub"), model, epochs=6, lr=1e-2, accelerator="cpu",
                  checkpoint_every=1, out=out))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_resumes(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(tmp_path / "killed")) == 4
    assert (tmp_path / "killed" / ".last.ckpt.tmp").exists()
    train(config(tmp_path / "killed", resume=True))
    train(config(tmp_path / "whole"))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed" / ".last.ckpt.tmp").exists()


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    folder = train(config(tmp_path / "parts", epochs=3)).folder
    with open(folder / "metrics.csv", "a") as file:
        file.write("4,0.1,1.0,1.0,0.1\n5,0.")
    train(config(folder, epochs=4, resume=True))
    train(config(tmp_path / "whole", epochs=4))
    assert_same_run(tmp_path / "whole", folder)


def test_ctrl_c_finishes_the_epoch_and_saves_it(tmp_path, monkeypatch):
    loss = NodeProblem.loss

    def interrupted(self, model, batch):
        # Once only: a second Ctrl-C stops at once.
        if not stopped and (tmp_path / "run" / "best.ckpt").exists():
            stopped.append(True)
            signal.raise_signal(signal.SIGINT)
        return loss(self, model, batch)

    stopped: list[bool] = []
    monkeypatch.setattr(NodeProblem, "loss", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after epoch 2, saved in"):
        train(config(tmp_path / "run", checkpoint_every=100))
    assert signal.getsignal(signal.SIGINT) is before
    train(config(tmp_path / "run", checkpoint_every=100, resume=True))
    train(config(tmp_path / "whole"))
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_resuming_another_config_names_the_differences(tmp_path):
    train(config(tmp_path / "run", epochs=1))
    changed = config(
        tmp_path / "run", lr=0.5, model=replace(MODEL, hidden_channels=16), epochs=2, resume=True
    )
    with pytest.raises(ValueError, match="another config") as error:
        train(changed)
    assert "lr: 0.01 -> 0.5" in str(error.value)
    assert "model.hidden_channels: 8 -> 16" in str(error.value)
    assert "epochs" not in str(error.value)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing to resume.*without --resume"):
        train(config(tmp_path / "run", resume=True))


def test_a_run_is_never_overwritten(tmp_path):
    train(config(tmp_path / "run", epochs=1))
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    with pytest.raises(FileExistsError, match="add --resume"):
        train(config(tmp_path / "run", epochs=1))
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    sync = os.fsync

    def full(file):
        if len(rows(tmp_path / "run")) == 3 and (tmp_path / "run" / ".last.ckpt.tmp").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        (tmp_path / "run").mkdir()
        train(config(tmp_path / "run", epochs=1))
        patch.setattr(_files.os, "fsync", full)
        with pytest.raises(OSError, match=r"last good last.ckpt.*kept") as error:
            train(config(tmp_path / "run", resume=True))
    assert error.value.errno == errno.ENOSPC
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert len(torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["history"]) == 3
    train(config(tmp_path / "run", resume=True))
    train(config(tmp_path / "whole"))
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("metric", "values", "best_epoch", "epochs_run"),
    [
        ("accuracy", [0.1, 0.5, 0.4, 0.5, 0.9, 0.9], 2, 4),
        ("auroc", [0.1, 0.5, 0.6, 0.7, 0.8, 0.9], 6, 6),
        ("mae", [0.9, 0.5, 0.6, 0.7, 0.1, 0.1], 2, 4),
    ],
)
def test_early_stopping_follows_the_direction_of_the_metric(
    tmp_path, monkeypatch, metric, values, best_epoch, epochs_run
):
    monkeypatch.setattr(
        _loop.Run, "evaluate", lambda self: (values[self.epoch], 10 * values[self.epoch])
    )
    # Only the name of the metric matters: nothing is measured.
    load = _train.load
    monkeypatch.setattr(_train, "load", lambda **data: replace(load(**data), metric=metric))
    monkeypatch.setattr(NodeProblem, "metric", lambda _: None)
    result = train(config(tmp_path / "run", patience=2))
    assert (result.best_epoch, len(result.history)) == (best_epoch, epochs_run)
    assert result.test == 10 * values[best_epoch - 1]
    assert torch.load(result.folder / "best.ckpt", weights_only=True)["best"]["epoch"] == best_epoch


def test_a_stopped_run_stays_stopped(tmp_path):
    first = train(config(tmp_path / "run", epochs=50, patience=2))
    assert len(first.history) < 50
    again = train(config(tmp_path / "run", epochs=50, patience=2, resume=True))
    assert again == first


def test_evaluation_at_intervals(tmp_path):
    result = train(config(tmp_path / "run", eval_every=3))
    assert [row["val"] is not None for row in result.history] == [False, False, True] * 2
    assert result.best_epoch in (3, 6)
    assert read_result(result.folder)[1] == result


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    loss = NodeProblem.loss

    def diverging(self, model, batch):
        good = loss(self, model, batch)
        return good * float("nan") if len(rows(tmp_path / "run")) == 2 else good

    monkeypatch.setattr(NodeProblem, "loss", diverging)
    with pytest.raises(FloatingPointError, match="training loss is nan in epoch 3: lower --lr"):
        train(config(tmp_path / "run", grad_clip=1.0))
    assert all(w.isfinite().all() for w in weights(tmp_path / "run").values())


class Scores(torch.nn.Module):
    """Gives each node its feature as its score, and counts how often it was asked."""

    calls = 0

    def forward(self, x, *_):
        self.calls += 1
        return x


def binary_task(metric="auroc"):
    # All four scores are 1 after a float32 sigmoid; their order is right.
    graph = Data(x=torch.tensor([[20.0], [25.0], [30.0], [35.0]]), y=torch.tensor([0, 0, 1, 1]))
    graph.edge_index = torch.tensor([[0, 1], [1, 0]])
    graph.train_mask = graph.val_mask = graph.test_mask = torch.ones(4, dtype=torch.bool)
    return Task("Binary", "node", "binary", metric, 1, 1, graph, graph, graph)


def test_one_forward_pass_serves_all_splits_of_a_graph_and_large_logits_keep_their_order():
    problem, model = NodeProblem(binary_task(), Fabric(accelerator="cpu")), Scores()
    for _, prediction, target in problem.predictions(model, ("val", "test")):
        metric = problem.metric()
        metric.update(prediction, target)
        assert metric.compute() == 1
    assert model.calls == 1
    (batch,) = problem.batches()
    assert problem.loss(model, batch).item() == pytest.approx((20 + 25) / 4)


def test_a_metric_that_does_not_measure_the_task():
    with pytest.raises(ValueError, match="Binary is a binary task, which mae does not measure"):
        NodeProblem(binary_task("mae"), Fabric(accelerator="cpu")).metric()


def test_a_graph_level_set_is_refused_before_the_run_begins(tmp_path, monkeypatch):
    task = replace(binary_task(), name="MUTAG", level="graph")
    monkeypatch.setattr(_train, "load", lambda **_: task)
    with pytest.raises(ValueError, match=r"MUTAG is a graph-level data set, .* node-level tasks"):
        train(config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": -1.0}, "lr must be above 0 and finite, got -1.0"),
        ({"lr": float("nan")}, "lr must be above 0 and finite, got nan"),
        ({"grad_clip": 0.0}, "grad_clip must be above 0"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"seed": -1}, "seed must lie in"),
        ({"eval_every": 7}, "eval_every must be at most epochs"),
    ],
)
def test_settings_out_of_range(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes)


def test_a_regression_task_and_a_model_whose_nodes_choose(tmp_path):
    result = train(
        config(
            tmp_path / "regression", data=DataConfig("RootNeighbors"), epochs=2, weight_decay=1e-4
        )
    )
    assert result.metric == "mae"
    assert result.val > 0
    result = train(config(tmp_path / "actions", model=replace(MODEL, cooperative=True), epochs=2))
    assert (result.folder / "actions.png").read_bytes().startswith(b"\x89PNG")


def test_the_train_extra_is_named_where_it_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gnnlib.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(ImportError, match=r"lightning_fabric.*pip install gnnlib\[train\]"):
        importlib.import_module("gnnlib.training")


def test_what_a_kill_in_the_first_save_leaves_is_no_run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".last.ckpt.tmp").touch()
    assert train(config(folder, epochs=1)).folder == folder


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    train(config(tmp_path / "run", epochs=1))
    (tmp_path / "run" / "last.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
        train(config(tmp_path / "run", epochs=2, resume=True))


def test_a_resumed_run_only_grows(tmp_path):
    train(config(tmp_path / "run", epochs=3))
    with pytest.raises(ValueError, match="epochs was 3, got 2"):
        train(config(tmp_path / "run", epochs=2, resume=True))


def test_double_precision_with_a_picture_of_actions(tmp_path):
    model = replace(MODEL, cooperative=True)
    result = train(config(tmp_path / "run", model=model, epochs=1, precision="64-true"))
    assert (result.folder / "actions.png").exists()


def test_a_device_that_is_not_there(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(ValueError, match="accelerator=cuda"):
        train(config(tmp_path / "run", accelerator="cuda"))
