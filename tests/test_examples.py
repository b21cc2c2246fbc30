"""The examples run, on small data and for an epoch or two."""

import argparse
import gzip
import json
import os
import random
import re
import runpy
import shutil
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
DATA = Path(os.environ.get("GNNLIB_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run an example as a script; what it prints."""
    pytest.importorskip("rich")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    environment = dict(os.environ)

    def call(name, *options):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    yield call
    os.environ.clear()
    os.environ.update(environment)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of data that PyG may write to."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("planetoid/Cora", "tu/MUTAG"):
        if not (DATA / name / "raw").is_dir():
            pytest.skip(f"no {name}/raw in {DATA}; set GNNLIB_DATA to a folder that has it")
        shutil.copytree(DATA / name / "raw", folder / name / "raw")
    return folder


# Plain and swapped --------------------------------------------------------------------------------

# Of every script: options of a short run, axes, and what they make of a layer.
SCRIPTS = {
    "gcn": (
        ("--epochs", 8, "--lr", 0.1),
        ("--directed", "--delay", 1),
        "DirectedConv(DelayedConv(GCNConv, hops=2))",
    ),
    "graph_sage_unsup": (
        ("--epochs", 2, "--hidden", 8),
        ("--aggr", "mean", "max", "--exclude", "convs.0"),
        "SAGEConv(aggr=ProjectedAggregation)",
    ),
    "mutag_gin": (
        ("--epochs", 2, "--hidden", 16, "--layers", 3),
        ("--delay", 1, "--cooperative", "gin"),
        "CooperativeConv(DelayedConv(GINConv, hops=3))",
    ),
}


def accuracies(printed):
    found = re.findall(r"(\w+): test accuracy ([01]\.\d{4})$", printed, re.MULTILINE)
    return {name: float(accuracy) for name, accuracy in found}


@pytest.mark.parametrize("name", SCRIPTS)
def test_plain_and_swapped(run, root, name):
    options, axes, layer = SCRIPTS[name]
    printed = run(name, "--root", root, *options, *axes)
    both = accuracies(printed)
    assert layer in printed
    assert list(both) == ["plain", "swapped"]
    assert name != "gcn" or min(both.values()) > 0.5  # it learns: 0.3 are of the largest class
    alone = run(name, "--root", root, *options)
    assert accuracies(alone) == {"plain": both["plain"]}  # all is seeded
    assert "Conv" not in alone


@pytest.mark.parametrize(
    ("options", "axes"),
    [
        ((), {}),
        (("--cooperative", "--directed"), {"cooperative": True, "directed": True}),
        (("--cooperative", "sum", "--directed", "1"), {"cooperative": "sum", "directed": 1.0}),
        (("--delay", "inf", "--hops", "2"), {"delay": float("inf"), "hops": 2}),
        (("--aggr", "lcm", "--exclude", "a", "b"), {"aggr": "lcm", "exclude": ["a", "b"]}),
        (("--aggr", "mean", "max"), {"aggr": ["mean", "max"]}),
    ],
)
def test_axes(options, axes):
    shared = runpy.run_path(str(EXAMPLES / "_axes.py"))
    parser = argparse.ArgumentParser()
    shared["add_axes"](parser)
    assert shared["axes_of"](parser.parse_args(options)) == axes


def test_three_models(run, monkeypatch, tmp_path):
    if not (DATA / "wikipedia" / "chameleon").is_dir():
        pytest.skip(f"no wikipedia/chameleon in {DATA}; set GNNLIB_DATA to a folder that has it")
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    before = sorted(DATA.rglob("*"))
    printed = run("three_models", "--root", DATA, "--epochs", 1, "--out", tmp_path / "out.md")
    assert sorted(DATA.rglob("*")) == before
    table = (tmp_path / "out.md").read_text()
    assert table.strip() in printed
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert {row[0] for row in rows[2:]} == {"Cora", "MUTAG", "Chameleon"}
    assert len(rows) == 2 + 3 * 5
    refused = [row for row in rows[2:] if not re.fullmatch(r"[01]\.\d{3}", row[2])]
    assert [row[:2] for row in refused] == [["Chameleon", "{'delay': 1}"]]
    assert re.match("refused: GATv2Conv at convs.1 .* edge features", refused[0][2])


# The leaderboard's script -------------------------------------------------------------------------


@pytest.fixture
def ogb(tmp_path):
    """A set of small molecules in OGB's files; options of a short run."""
    pytest.importorskip("ogb")
    draw = torch.Generator().manual_seed(0)
    sizes = [3 + i % 4 for i in range(24)]  # atoms in a row, with a bond between neighbours
    bonds = [[j, j + 1] for size in sizes for j in range(size - 1)]
    files = {
        "raw/num-node-list": [[size] for size in sizes],
        "raw/num-edge-list": [[size - 1] for size in sizes],
        "raw/edge": bonds,
        "raw/node-feat": torch.randint(2, (sum(sizes), 9), generator=draw).tolist(),
        "raw/edge-feat": torch.randint(2, (len(bonds), 3), generator=draw).tolist(),
        "raw/graph-label": [[i % 2] for i in range(24)],
        "split/scaffold/train": [[i] for i in range(16)],
        "split/scaffold/valid": [[i] for i in range(16, 20)],
        "split/scaffold/test": [[i] for i in range(20, 24)],
    }
    folder = tmp_path / "data" / "ogbg_molbace"
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    (folder / "RELEASE_v1.txt").touch()
    options = ("--dataset", "ogbg-molbace", "--root", folder.parent, "--out", tmp_path / "out")
    return *options, "--epochs", 1, "--hidden", 8, "--layers", 2, "--device", "cpu"


def only(folder):
    (file,) = folder.glob("*.json")
    return json.loads(file.read_text())


@pytest.mark.filterwarnings("ignore")  # those of OGB itself
def test_ogb_goes_on_where_it_stopped(run, ogb, tmp_path):
    options = (*ogb, "--conv", "gatv2", "--directed")
    before = sorted((tmp_path / "data").rglob("*"))
    run("ogb_molhiv", *options, "--seeds", 1)
    first = only(tmp_path / "out")
    printed = run("ogb_molhiv", *options, "--seeds", 2)
    kept = only(tmp_path / "out")
    assert kept["seeds"]["0"] == first["seeds"]["0"]
    assert sorted((tmp_path / "data").rglob("*")) == before

    for part in ("valid", "test"):
        scores = [seed[part] for seed in kept["seeds"].values()]
        assert f"{part} {mean(scores):.4f} ± {stdev(scores):.4f}" in printed
    assert f"parameters: {kept['parameters']:,}" in printed
    assert f"hardware: {kept['seeds']['1']['hardware']}\n" in printed

    shutil.rmtree(tmp_path / "out")
    run("ogb_molhiv", *options, "--seeds", 2)
    at_once = only(tmp_path / "out")
    for seed in ("0", "1"):
        for name in ("valid", "test", "epoch"):
            assert at_once["seeds"][seed][name] == kept["seeds"][seed][name]


@pytest.mark.filterwarnings("ignore")
def test_ogb_keeps_other_settings_apart(run, ogb, tmp_path):
    run("ogb_molhiv", *ogb, "--seeds", 1)
    before = only(tmp_path / "out")
    with pytest.raises(SystemExit, match=r"other settings.*give another --out"):
        run("ogb_molhiv", *ogb, "--seeds", 1, "--lr", 0.1)
    assert only(tmp_path / "out") == before
    run("ogb_molhiv", *ogb, "--seeds", 1, "--aggr", "mean", "max")
    assert len(list((tmp_path / "out").glob("*.json"))) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conv", ["gcn", "sage", "graph", "gin", "gat", "gine", "transformer"])
def test_ogb_convs(run, ogb, conv):
    printed = run("ogb_molhiv", *ogb, "--conv", conv, "--cooperative", "--seeds", 1)
    assert "ROC-AUC of 1 seeds: valid " in printed


@pytest.mark.filterwarnings("ignore")
def test_ogb_says_why_not(run, ogb, tmp_path):
    with pytest.raises(SystemExit, match=r"gine with {'delay': 1.0} cannot be: .*edge features"):
        run("ogb_molhiv", *ogb, "--conv", "gine", "--delay", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")
def test_ogb_results_are_written_whole(monkeypatch, ogb, tmp_path):  # noqa: ARG001
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = runpy.run_path(str(EXAMPLES / "ogb_molhiv.py"))
    script["write"](tmp_path / "kept.json", {"seeds": 1})
    with pytest.raises(TypeError):
        script["write"](tmp_path / "kept.json", {"seeds": object()})
    assert json.loads((tmp_path / "kept.json").read_text()) == {"seeds": 1}
