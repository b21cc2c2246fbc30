"""The benchmarks run and fill their tables. No time is ever asserted."""

import importlib
import json
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch):
    """Import a module of ``benchmarks``, which is no part of the installed package."""
    pytest.importorskip("rich")
    monkeypatch.syspath_prepend(str(ROOT))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def test_gather_reduce_quick(load, tmp_path, capsys):
    harness = load("_harness")
    assert load("kernels.gather_reduce").main(["--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "gather_reduce.json").read_text())
    table = (tmp_path / "gather_reduce.md").read_text()
    assert all(column in printed for column in ("work", "side", "ratio", "note"))
    assert f"| {' | '.join(harness.COLUMNS)} |" in table
    assert all(part in content["machine"] for part in ("threads", "torch 2", "Python", "gnnlib"))
    cells = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    assert all(len(row) == len(harness.COLUMNS) for row in cells)
    ours = [row for row in content["rows"] if row["side"] == "gnnlib"]
    assert len(ours) == len({row["work"] for row in content["rows"]})
    assert all(row["ratio"] == 1 and row["times"] and not row["note"] for row in ours)
    # A side has times or says why not.
    assert all(bool(row["times"]) != bool(row["note"]) for row in content["rows"])


def test_quick_and_only_keep_the_results_of_a_full_run(load, monkeypatch, capsys):
    module = load("kernels.gather_reduce")
    asked = {}
    monkeypatch.setattr(module, "run", lambda *_, **options: asked.update(options) or 0)
    monkeypatch.setattr(module, "cases", lambda _: [])
    for argv, out in (([], module.RESULTS), (["--quick"], None), (["--only", "max"], None)):
        assert module.main(argv) == 0
        assert asked["out"] == out
    with pytest.raises(SystemExit):
        module.main(["--threads", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_sides_take_turns_and_say_why_not(load):
    harness = load("_harness")
    calls = []

    def side(name, value):
        def call():
            calls.append(name)
            time.sleep(harness._SHORTEST_SAMPLE / 1e3)
            return torch.tensor([value])

        return harness.Side(name, call)

    def broken():
        raise NotImplementedError("no backward\nmore")

    sides = [
        side("ours", 1.0), side("peer", 1.0), side("wrong", 2.0),
        harness.Side("broken", broken), harness.Side("absent", None, "not installed"),
    ]  # fmt: skip
    rows = harness.measure(harness.Case("work", lambda: sides), rounds=4, seconds=60)
    assert calls[-8:] == ["ours", "peer"] * 4
    assert [len(row.times) for row in rows] == [4, 4, 0, 0, 0]
    assert [row.note for row in rows] == [
        "", "", "disagrees: Greatest absolute difference: 1.0", "fails: no backward",
        "not installed",
    ]  # fmt: skip


def test_rounds_end_with_their_budget_but_not_before_three(load):
    harness = load("_harness")
    case = harness.Case("work", lambda: [harness.Side("ours", lambda: torch.ones(1))])
    (row,) = harness.measure(case, rounds=50, seconds=0)
    assert len(row.times) == 3


def test_peak_memory_sees_what_is_freed_again(load):
    harness = load("_harness")
    if harness.peak_extra_memory(lambda: None) is None:
        pytest.skip("the high-water mark of memory cannot be reset here")

    def call():
        for _ in range(3):  # the second and third may reuse the memory of the first
            torch.ones(2**24).sum()

    assert 60 < harness.peak_extra_memory(call) < 80  # 64 MiB each
    assert 60 < harness.peak_extra_memory(call) < 80
    assert harness.peak_extra_memory(lambda: None) < 2


def test_peak_memory_is_not_available_everywhere(load, monkeypatch):
    harness = load("_harness")

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(harness.Path, "write_text", refuse)
    assert harness.peak_extra_memory(lambda: None) is None
    row = harness.Row("work", "ours", [1.0], 1.0)
    assert row.cells()[harness.COLUMNS.index("peak MiB")] == "n/a"


def test_ctrl_c_leaves_earlier_results(load, tmp_path, capsys):
    harness = load("_harness")
    done = harness.Case("done", lambda: [harness.Side("ours", lambda: torch.ones(1))])

    def stop():
        raise KeyboardInterrupt

    cases = [done, harness.Case("cut", stop)]
    harness.write(tmp_path, "name", "machine", [])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert harness.run("name", cases, rounds=1, seconds=1, out=tmp_path) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "done" in capsys.readouterr().out


def test_a_disagreement_is_an_error(load, tmp_path, capsys):
    harness = load("_harness")
    sides = [
        harness.Side(str(value), lambda value=value: torch.full((1,), value))
        for value in (1.0, 2.0)
    ]
    case = harness.Case("work", lambda: sides)
    assert harness.run("name", [case], rounds=1, seconds=1, out=tmp_path) == 1
    assert "disagrees" in capsys.readouterr().out


def test_power_law_graph(load):
    graphs = load("_graphs")
    edge_index = graphs.power_law(1_000, 10_000)
    src, dst = edge_index
    keys = src * 1_000 + dst
    assert edge_index.shape == (2, 10_000)
    assert len(keys.unique()) == 10_000
    assert (src != dst).all()
    assert torch.equal(keys.sort().values, (dst * 1_000 + src).sort().values)
    assert not (dst.diff() >= 0).all()
    assert dst.bincount().max() > 10 * 10  # ten times the mean degree
    assert torch.equal(edge_index, graphs.power_law(1_000, 10_000))
    assert not torch.equal(edge_index, graphs.power_law(1_000, 10_000, seed=1))
    with pytest.raises(ValueError, match="even"):
        graphs.power_law(10, 11)


def test_molecules(load):
    edge_index, num_nodes = load("_graphs").molecules()
    src, dst = edge_index
    keys = src * num_nodes + dst
    assert abs(num_nodes / 128 - 25) < 2
    assert 2.0 < edge_index.size(1) / num_nodes < 2.2
    assert torch.equal(keys.sort().values, (dst * num_nodes + src).sort().values)
    assert len(keys.unique()) == edge_index.size(1)
    assert dst.bincount(minlength=num_nodes).min() > 0
    assert dst.bincount().max() <= 8
