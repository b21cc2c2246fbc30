"""The benchmarks run and fill their tables. No time is ever asserted."""

import importlib
import json
import os
import shutil
import subprocess
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


MODULES = (
    "kernels.gather_reduce", "kernels.segments", "kernels.neighbours", "kernels.contextual",
    "kernels.k_hop", "kernels.scaling", "layers.cognn", "layers.accelerate", "layers.delayed",
    "layers.directed", "layers.swap", "rewiring.ollivier_ricci", "rewiring.forman",
    "rewiring.sdrf", "rewiring.borf", "rewiring.fosr", "rewiring.laser",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_quick(load, tmp_path, capsys, name):
    assert load(name).main(["--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (file,) = tmp_path.glob("*.json")
    content, text = json.loads(file.read_text()), file.with_suffix(".md").read_text()
    assert file.stem == name.split(".")[1]
    assert "work" in printed
    assert all(part in content["machine"] for part in ("threads", "torch 2", "Python", "gnnlib"))
    for table in text.split("\n\n")[3::2]:
        lines = [line.count("|") for line in table.splitlines() if line.startswith("|")]
        assert len(lines) > 2
        assert len(set(lines)) == 1
    works = {row["work"]: [] for row in content["rows"]}
    for row in content["rows"]:
        works[row["work"]].append(row)
        # A side has times or says why not.
        assert bool(row["times"]) != bool(row["note"])
    assert all(ours["ratio"] == 1 and not ours["note"] for ours, *_ in works.values())
    for case in works:
        assert case.rsplit(", ", 1)[0] in text


def test_a_sweep_shows_the_best_peer_in_a_cell(load):
    harness, table = load("_harness"), load("_table")

    def sides(wait):
        def call():
            time.sleep(wait)
            return torch.ones(1)

        slow = harness.Side("slow", lambda: time.sleep(0.1) or torch.ones(1))
        ours = harness.Side("ours", lambda: time.sleep(0.02) or torch.ones(1))
        return [ours, slow, harness.Side("peer", call), harness.Side("absent", None, "why")]

    cases = [
        harness.Case(f"work, {column}", lambda wait=wait: sides(wait), ("work", column))
        for column, wait in (("F=1", 0.03), ("F=2", 0.01))
    ]
    rows = [row for case in cases for row in harness.measure(case, rounds=3, seconds=0)]
    assert [len(row.times) for row in rows] == [1, 1, 1, 0] * 2
    sweep, absent = table.tables_of(rows)
    assert list(sweep.columns) == ["work", "F=1", "F=2"]
    ((name, faster, slower),) = sweep.lines
    assert name == "work"
    assert faster.startswith("1.")
    assert faster.endswith(" peer")
    assert slower.startswith("**0.")
    assert absent.lines == [("absent", "why", "work, F=1 and 1 more")]


def test_a_slow_side_drops_out(load):
    harness = load("_harness")
    sides = [
        harness.Side("ours", lambda: torch.ones(1)),
        harness.Side("slow", lambda: time.sleep(0.1) or torch.ones(1)),
    ]
    ours, slow = harness.measure(harness.Case("work", lambda: sides), rounds=5, seconds=0.38)
    assert len(ours.times) == 5
    assert len(slow.times) == 2


def test_quick_and_only_keep_the_results_of_a_full_run(load, monkeypatch, capsys):
    module = load("_command")
    asked = {}
    monkeypatch.setattr(module, "run", lambda *_, **options: asked.update(options) or 0)

    def main(argv):
        return module.command("kernels.some", "", lambda _: [], argv)

    for argv, out in (([], module.RESULTS), (["--quick"], None), (["--only", "max"], None)):
        assert main(argv) == 0
        assert asked["out"] == out
    with pytest.raises(SystemExit):
        main(["--threads", "0"])
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
        "", "", "disagrees: greatest absolute difference 1", "fails: no backward",
        "not installed",
    ]  # fmt: skip


def test_rounds_end_with_their_budget_but_not_before_the_first(load):
    harness = load("_harness")
    case = harness.Case("work", lambda: [harness.Side("ours", lambda: torch.ones(1))])
    (row,) = harness.measure(case, rounds=50, seconds=0)
    assert len(row.times) == 1


def test_peak_memory_sees_what_is_freed_again(load):
    memory = load("_memory")
    if memory.peak_extra_memory(lambda: None) is None:
        pytest.skip("the high-water mark of memory cannot be reset here")

    def call():
        for _ in range(3):  # the second and third may reuse the memory of the first
            torch.ones(2**24).sum()

    assert 60 < memory.peak_extra_memory(call) < 80  # 64 MiB each
    assert 60 < memory.peak_extra_memory(call) < 80
    assert memory.peak_extra_memory(lambda: None) < 2


def test_peak_memory_is_not_available_everywhere(load, monkeypatch):
    memory, table = load("_memory"), load("_table")

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(memory.Path, "write_text", refuse)
    assert memory.peak_extra_memory(lambda: None) is None
    row = table.Row("work", "ours", [1.0], 1.0)
    assert row.cells()[table.COLUMNS.index("peak MiB")] == "n/a"


def test_ctrl_c_leaves_earlier_results(load, tmp_path, capsys):
    harness = load("_harness")
    done = harness.Case("done", lambda: [harness.Side("ours", lambda: torch.ones(1))])

    def stop():
        raise KeyboardInterrupt

    cases = [done, harness.Case("cut", stop)]
    harness.write(tmp_path, "name", "machine", [], harness.tables_of)
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


def test_shapes(load):
    graphs = load("_graphs")
    for name, graph in graphs.shapes().items():
        src, dst = graph.edge_index
        assert src.min() >= 0
        assert dst.min() >= 0
        assert src.max() < graph.num_src
        assert dst.max() < graph.num_dst
        assert name == "molecules" or abs(src.numel() / 250_000 - 1) < 0.02
    star = graphs.shapes()["one hub"].edge_index
    assert star[1].bincount().topk(2).values.tolist() == [125_000, 1]
    assert graphs.grid(3).size(1) == 4 * 3 + 4 * 5 + 8


REHEARSAL = ("--device", "cpu", "--quick")


def test_all_that_runs_on_a_gpu_runs_on_a_cpu(load, tmp_path, capsys):
    module = load("gpu.__main__")
    assert module.main([*REHEARSAL, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "gpu.json").read_text())
    table = [line for line in (tmp_path / "gpu.md").read_text().splitlines() if "|" in line]
    roof, *rows = content["rows"]
    assert roof["side"] == "torch copy_"
    assert roof["rate"] > 0
    tasks = [task.case.name for task in module.tasks(torch.device("cpu"), True)]
    assert list(dict.fromkeys(row["work"] for row in rows)) == tasks
    assert len(table) == len(rows) + 3  # the copy, the columns and the rule
    assert len({line.count("|") for line in table}) == 1
    for row in rows:
        # A side has times, or says why not.
        assert row["times"] or row["note"]
        if row["side"].startswith("gnnlib"):
            assert row["ratio"] == 1
            assert not row["note"]
        if row["rate"] is not None:
            assert row["share"] == pytest.approx(row["rate"] / roof["rate"])
    compiled = [row for row in rows if row["side"] == "PyG, torch.compile"]
    assert len(compiled) == 4
    assert not any(row["note"] for row in compiled)
    assert {row["target"] for row in rows} == {
        "",
        "60 % of the copy",
        "ratio 1.3",
        "ratio 3",
        "ratio 30",
    }
    assert "torch-scatter" in content["machine"]
    assert "60 % of the copy" in capsys.readouterr().out


def test_what_time_does_not_reach_is_named(load, tmp_path):
    module = load("gpu.__main__")
    main = [*REHEARSAL, "--seconds", "0", "--only", "large graph: sum", "--out", str(tmp_path)]
    assert module.main(main) == 0
    roof, *rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert roof["times"]
    assert len(rows) == 2 * 3  # passes, dtypes
    assert all(row["note"] == "skipped: the 0 seconds were over" for row in rows)


def test_a_run_that_is_stopped_keeps_what_it_has(load, monkeypatch, tmp_path):
    module = load("gpu.__main__")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "of a full run")
    measured = []

    def measure(task, *_):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(task.case.name)
        return [module.Figure(task.case.name, "gnnlib", [1.0], 1.0, rate=1.0)]

    monkeypatch.setattr(module, "measure", measure)
    assert module.main([*REHEARSAL, "--out", str(tmp_path)]) == 130
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [row["work"] for row in rows] == measured
    measured.clear()
    assert module.main([*REHEARSAL]) == 130
    assert not module.RESULTS.exists()  # a rehearsal only prints


def test_another_process_goes_on_where_a_gpu_was_lost(load, monkeypatch, tmp_path):
    module = load("gpu.__main__")
    measured = []

    def measure(task, *_):
        measured.append(task.case.name)
        return [module.Figure(task.case.name, "gnnlib", [1.0], 1.0, rate=1.0)]

    def rows():
        return json.loads((tmp_path / "gpu.json").read_text())["rows"]

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "is_lost", lambda _: len(measured) == 2)
    main = [*REHEARSAL, "--out", str(tmp_path)]
    assert module.main(main) == 3
    assert [row["work"] for row in rows()] == measured
    assert len(measured) == 2
    monkeypatch.setattr(module, "is_lost", lambda _: False)
    assert module.main([*main, "--resume", "--seconds", "0"]) == 0
    assert len(measured) == 2
    assert rows()[2]["note"].startswith("skipped")
    assert module.main([*main, "--resume"]) == 0
    assert [row["work"] for row in rows()] == measured
    assert len(measured) == len(set(measured)) == len(rows()) > 50
    assert not any(row["note"] for row in rows())


def test_a_side_that_fails_on_a_gpu_is_a_row(load):
    harness, gpu = load("_harness"), load("gpu._measure")

    def broken():
        raise RuntimeError("out of | memory\nand more")

    def measured(*calls):
        sides = [harness.Side(name, call) for name, call in zip("abcd", calls, strict=False)]
        task = gpu.Task(harness.Case("work", lambda: sides), lambda: 10**6, {"b": "ratio 2"})
        return gpu.measure(task, torch.device("cpu"), gpu.Limits(2, 0), 100.0)

    rows = measured(broken, lambda: torch.ones(1), lambda: torch.zeros(1), lambda: torch.ones(2))
    assert [row.note for row in rows] == [
        "fails: RuntimeError: out of / memory", "", "disagrees: greatest absolute difference 1",
        "disagrees: shape [2] instead of [1]",
    ]  # fmt: skip
    assert [len(row.times) for row in rows] == [0, 1, 1, 1]
    assert [row.ratio for row in rows] == [None] * 4  # there is nothing of ours to compare with
    assert rows[1].rate == pytest.approx(1 / rows[1].times[0])
    assert rows[1].share == pytest.approx(rows[1].rate / 100)
    assert [row.target for row in rows] == ["", "ratio 2", "", ""]
    assert not any(row.is_failure_of_ours for row in rows)

    def unmade():
        raise RuntimeError("no memory for the graph")

    calls = []

    def fails_later():
        calls.append("")
        if len(calls) > 1:
            raise RuntimeError("lost")
        return torch.ones(1)

    rows = measured(lambda: torch.ones(1), fails_later)
    assert [row.note for row in rows] == ["fails: RuntimeError: lost"] * 2
    assert not any(row.times for row in rows)

    task = gpu.Task(harness.Case("work", unmade))
    (row,) = gpu.measure(task, torch.device("cpu"), gpu.Limits(2, 0), None)
    assert row.cells()[-1] == "fails: RuntimeError: no memory for the graph"
    assert row.is_failure_of_ours


def test_time_and_memory_of_a_gpu(load, monkeypatch):
    meter, gpu = load("gpu._meter"), torch.device("cuda")
    clock, memory = [0.0], [3 * 2**20, 0]  # ms; bytes now, and at the peak

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = clock[0]

        def synchronize(self):
            pass

        def elapsed_time(self, other):
            return other.at - self.at

    fakes = {
        "Event": Event,
        "synchronize": lambda *_: None,
        "reset_peak_memory_stats": lambda: memory.__setitem__(1, memory[0]),
        "memory_allocated": lambda: memory[0],
        "max_memory_allocated": lambda: memory[1],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def call():
        clock[0] += 2.0
        memory[1] = max(memory[1], memory[0] + 5 * 2**20)

    assert meter.timer(gpu)(call, 7) == 2.0
    assert clock[0] == 14.0
    assert meter.peak(gpu, call) == 5.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(load, capsys):
    assert load("gpu.__main__").main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "no GPU" in line


def test_graph_drawn_on_a_device(load):
    graphs = load("gpu._graphs")
    problem = graphs.huge(torch.device("cpu"), quick=True)
    graph = problem.graph()
    assert problem.graph() is graph
    assert graph.edge_index.shape == (2, 20_000)
    assert graph.num_src == graph.num_dst == 2_000
    assert graph.edge_index.min() >= 0
    assert graph.edge_index.max() < 2_000
    assert graph.edge_index[1].bincount().max() > 10 * 10  # ten times the mean degree
    assert not torch.equal(*graph.edge_index)


@pytest.fixture
def make(tmp_path):
    """Run make as if these commands were installed, and give its exit code and what it says."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")

    def run(target, **commands):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, script in commands.items():
            file = folder / name.replace("_", "-")
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": ""}
        environment.pop("MAKEFLAGS", None)
        command = ["make", "--silent", target, f"PYTHON={folder / 'python'}"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    return run


# What make asks of PYTHON: -c, whether its torch has CUDA; the rest it reports.
PYTHON = 'test "$1" = -c && exit; echo "$@"; case "$*" in *pytest*) exit 1; esac'


@pytest.mark.parametrize("target", ["gpu", "gpu-sanitize"])
def test_make_gpu_without_one_says_so(make, target):
    code, lines = make(target, nvidia_smi="exit 9", python="exit 1")
    assert code == 0
    assert lines == [f"make {target}: nvidia-smi finds no GPU here, so nothing was done"]


def test_make_gpu_builds_tests_and_measures_whatever_fails(make):
    code, lines = make("gpu", nvidia_smi="echo GPU 0: one", python=PYTHON)
    assert code != 0
    build, tests, benchmarks, failed = lines
    assert build.startswith("setup.py")
    assert tests.endswith("--device cuda -q")
    assert benchmarks.startswith("-m benchmarks.gpu --seconds 4")
    assert failed == "failed: tests"


def test_make_gpu_goes_on_where_the_gpu_was_lost(make, tmp_path):
    lost = f"test -e {tmp_path}/lost && exit 0; touch {tmp_path}/lost; exit 3"
    python = f'test "$1" = -c || echo "$@"; case "$*" in *benchmarks.gpu*) {lost};; esac'
    code, lines = make("gpu", nvidia_smi="echo GPU 0: one", python=python)
    assert code == 0
    assert ["--resume" in line for line in lines] == [False, False, False, True]


def test_make_gpu_sanitize_runs_both_checks(make):
    sanitizer = 'echo "$2"; test "$2" = memcheck'
    code, lines = make(
        "gpu-sanitize", nvidia_smi="echo GPU 0: one", python=PYTHON, compute_sanitizer=sanitizer
    )
    assert code != 0
    assert lines[1:] == ["memcheck", "racecheck", "failed: racecheck"]
