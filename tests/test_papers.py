"""The papers' experiments run, keep what is done, and fill their tables."""

import importlib
import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch):
    """Import a script of ``benchmarks.papers``, which is no part of the installed package."""
    pytest.importorskip("rich")
    monkeypatch.syspath_prepend(str(ROOT))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield lambda name: importlib.import_module(f"benchmarks.papers.{name}")
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


SCRIPTS = (
    "second_minimum",
    "pna",
    "any_size",
    "unique_signature",
    "gnp",
    "dir_gnn",
    "digrac",
    "magnet",
    "ring_transfer",
    "rewiring",
)
# How many runs are in a row, where it is not one.
RUNS = {"rewiring": 6}


@pytest.mark.parametrize("name", SCRIPTS)
def test_quick(load, tmp_path, name):
    arguments = [
        "--quick", "--threads", "1", "--out", str(tmp_path / "out"), "--results", str(tmp_path),
    ]  # fmt: skip
    script = load(name)
    assert script.main(arguments) == 0
    (file,) = tmp_path.glob("papers-*.md")
    text = file.read_text()
    assert "torch 2" in text
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == (2 if name == "any_size" else 1)
    for table in tables:
        header, _, *rows = table.splitlines()
        assert len(rows) > 4
        assert len({line.count("|") for line in (header, *rows)}) == 1
        assert "nan" not in table
    # All of it is read back, and the table is the same.
    kept = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(kept) == RUNS.get(name, 1) * sum(len(table.splitlines()) - 2 for table in tables)
    assert script.main(arguments) == 0
    assert file.read_text() == text
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept


@pytest.mark.parametrize("name", SCRIPTS)
def test_quick_keeps_the_results_of_a_full_run(load, tmp_path, monkeypatch, name):
    script = load(name)
    folders = []
    monkeypatch.setattr(script, "kept", lambda *_: FAKE[name])
    monkeypatch.setattr(script, "publish", lambda *arguments: folders.append(arguments[-1]))
    for arguments in (["--quick"], []):
        assert script.main([*arguments, "--threads", "1", "--out", str(tmp_path)]) == 0
    assert folders == [None, script.RESULTS]


TIMES = {"seconds": 1.0, "processor_seconds": 1.0}
FAKE = {
    "second_minimum": {"large": 1.0, "small": 1.0, "parameters": 1, **TIMES},
    "pna": {"log10": [0.0] * 6, "parameters": 1, **TIMES},
    "any_size": {"errors": [0.0] * 5, "parameters": 1, **TIMES},
    "unique_signature": {"accuracy": 1.0, "parameters": 1, **TIMES},
    "digrac": {"ari": 1.0, **TIMES},
    "rewiring": {"accuracy": 1.0, **TIMES},
    "magnet": {"val": 1.0, "test": [1.0, 0.5], **TIMES},
    "dir_gnn": {"accuracy": 1.0, "epochs": 1, "parameters": 1, **TIMES},
    "ring_transfer": {"accuracy": 1.0, "epochs": 1, "parameters": 1, **TIMES},
    "gnp": {"val": 1.0, "test": 1.0, "seconds": 1.0},
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_unknown_names(load, capsys, name):
    with pytest.raises(SystemExit):
        load(name).main(["--only", "median"])
    assert "median" in capsys.readouterr().err


def test_runs_are_made_anew_for_other_settings(load, tmp_path):
    runs = load("_runs")
    path, made = tmp_path / "a" / "run.json", []

    def run():
        made.append(1)
        return {"made": len(made)}

    assert runs.kept(path, {"lr": 1.0}, run)["made"] == 1
    assert runs.kept(path, {"lr": 1.0}, run)["made"] == 1
    assert runs.kept(path, {"lr": 2.0}, run)["made"] == 2
    content = json.loads(path.read_text())
    assert content["settings"] == {"lr": 2.0}
    assert content["result"]["seconds"] >= 0
    assert content["result"]["processor_seconds"] >= 0


def test_sets_are_batched_with_their_numbers(load):
    script = load("second_minimum")
    sets = script.SecondMinimum(num_sets=50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    done = 0
    for x, index, y in script.batches(sets, 8, order):
        for i in range(len(y)):
            data = sets[int(order[done])]
            assert torch.equal(x[index == i], data.x)
            assert torch.equal(y[i : i + 1], data.y)
            done += 1
    assert done == 50


def test_batches_of_graphs_have_one_size(load):
    script = load("pna")
    graphs = script.PNAMultitask("test", torch.ones(6), (5, 7), 5)
    batches = script.batches(graphs, 2)
    assert [batch.num_graphs for batch in batches] == [2, 2, 1] * 3
    assert all(len(batch.batch.bincount().unique()) == 1 for batch in batches)
    perfect = [script.errors((batch.y, batch.graph_y), batch) for batch in batches]
    assert all(torch.equal(error, torch.zeros(6)) for error in perfect)
    off = script.errors((batches[0].y + 2, batches[0].graph_y - 3), batches[0])
    torch.testing.assert_close(off, torch.tensor([4.0, 4, 4, 9, 9, 9]))
