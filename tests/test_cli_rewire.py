"""`gnnlib rewire` and `gnnlib curvature`: graphs from files into files, whole or not at all."""

from typing import get_args

import pytest
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.datasets import KarateClub
from torch_geometric.utils import to_undirected

from gnnlib import _rewire
from gnnlib._graph_files import Graphs, read_graphs, write_graphs
from gnnlib._rewire import Kind
from gnnlib.cli import main
from gnnlib.rewiring import FoSR, curvature

PNG = b"\x89PNG"


def graph(seed, num_nodes=12):
    torch.manual_seed(seed)
    edge_index = to_undirected(torch.randint(num_nodes, (2, 20)))
    attr = torch.rand(edge_index.size(1), 2)
    return Data(x=torch.rand(num_nodes, 3), edge_index=edge_index, edge_attr=attr, y=seed % 2)


def same(a, b):
    assert sorted(a.keys()) == sorted(b.keys())
    for key in a.keys():  # noqa: SIM118
        equal = torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key]
        assert equal, key


@pytest.fixture
def graphs(tmp_path):
    found = [graph(seed) for seed in range(5)]
    torch.save(found, tmp_path / "in.pt")
    return found


def rewire(tmp_path, out, source="in.pt", *more):
    arguments = ["rewire", "fosr", str(tmp_path / source), "--out", str(tmp_path / out)]
    return main([*arguments, "--num-iterations", "3", "--fill", "0.5", *more])


FOSR = FoSR(num_iterations=3, fill=0.5)


# Files ------------------------------------------------------------------------------------------


def test_one_graph(tmp_path, capsys):
    torch.save(graph(0), tmp_path / "in.pt")
    assert rewire(tmp_path, "out.pt") == 0
    (found,) = read_graphs(str(tmp_path / "out.pt")).graphs
    same(found, FOSR(graph(0)))
    printed = capsys.readouterr().out
    for words in (repr(FOSR), "spectral gap", "3 edges came and 0 went", "out.pt", "out.pt.png"):
        assert words in printed
    assert (tmp_path / "out.pt.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "out.pt", "out.pt.png"]


def test_a_list_of_graphs(tmp_path, graphs):
    assert rewire(tmp_path, "out.pt") == 0
    found = read_graphs(str(tmp_path / "out.pt"))
    assert not found.single
    for rewired, data in zip(found.graphs, graphs, strict=True):
        same(rewired, FOSR(data))


def test_a_folder_is_a_data_set_of_pyg(tmp_path, graphs):
    assert rewire(tmp_path, "out") == 0
    dataset = InMemoryDataset(str(tmp_path / "out"))
    dataset.load(str(tmp_path / "out" / "processed" / "data.pt"))
    assert len(dataset) == len(graphs)
    for rewired, data in zip(dataset, graphs, strict=True):
        assert torch.equal(rewired.edge_index, FOSR(data).edge_index)
        assert torch.equal(rewired.parent_id, FOSR(data).parent_id)
    assert (tmp_path / "out" / "graphs.png").exists()
    # And it is something to rewire, and may be written again.
    assert rewire(tmp_path, "out", "out") == 0
    found = read_graphs(str(tmp_path / "out")).graphs
    assert found[0].rewiring == f"{FOSR!r} | {FOSR!r}"


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv"])
def test_an_edge_list(tmp_path, suffix):
    separator = {"txt": " ", "csv": ",", "tsv": "\t"}[suffix]
    lines = ["# a comment", "% num_nodes: 7", "", *(f"{i}{separator}{i + 1}" for i in range(5))]
    (tmp_path / f"in.{suffix}").write_text("\n".join(lines))
    assert rewire(tmp_path, f"out.{suffix}", f"in.{suffix}", "--undirected") == 0
    (data,) = read_graphs(str(tmp_path / f"in.{suffix}")).graphs
    (found,) = read_graphs(str(tmp_path / f"out.{suffix}")).graphs
    assert found.num_nodes == data.num_nodes == 7
    expected = FoSR(num_iterations=3, undirected=True)(data)
    assert torch.equal(found.edge_index, expected.edge_index)


def test_reading_a_file_leaves_to_pyg_what_it_may_read(tmp_path):
    before = torch.serialization.get_safe_globals()
    torch.save(KarateClub()[0], tmp_path / "karate.pt")
    read_graphs(str(tmp_path / "karate.pt"))
    assert {*torch.serialization.get_safe_globals()} == {*before}


def test_an_empty_edge_list(tmp_path):
    (tmp_path / "in.txt").write_text("# num_nodes: 3\n")
    data = read_graphs(str(tmp_path / "in.txt")).graphs[0]
    assert (data.num_nodes, data.num_edges) == (3, 0)
    write_graphs(Graphs([data], True), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "# num_nodes: 3\n"


def test_a_data_set_by_name(tmp_path):
    assert (
        main(["rewire", "sdrf", "karateclub", "--out", f"{tmp_path}/a.pt", "--max-steps", "2"]) == 0
    )
    assert read_graphs(f"{tmp_path}/a.pt").graphs[0].num_nodes == 34


# Stopping ---------------------------------------------------------------------------------------


def test_a_stopped_command_goes_on(tmp_path, graphs, monkeypatch, capsys):
    monkeypatch.setattr(_rewire, "AT_ONCE", 2)
    calls = []
    forward = FoSR.forward

    def counted(self, data):
        calls.append(len(data))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(self, data)

    monkeypatch.setattr(FoSR, "forward", counted)
    assert rewire(tmp_path, "out.pt") == 130
    assert capsys.readouterr().err == "stopped; repeat the command to continue\n"
    assert not (tmp_path / "out.pt").exists()
    assert rewire(tmp_path, "out.pt") == 0
    assert calls == [2, 2, 2, 1]  # the first two graphs once
    found = read_graphs(str(tmp_path / "out.pt")).graphs
    assert len(found) == len(graphs)
    same(found[0], forward(FOSR, graphs[0]))
    assert not (tmp_path / ".out.pt.parts").exists()


def test_other_arguments_take_nothing_of_a_stopped_command(tmp_path, graphs, monkeypatch):
    monkeypatch.setattr(_rewire, "AT_ONCE", 2)
    monkeypatch.setattr(
        _rewire, "write_graphs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    assert rewire(tmp_path, "out.pt") == 130
    monkeypatch.undo()
    assert rewire(tmp_path, "out.pt", "in.pt", "--seed", "3") == 0
    found = read_graphs(str(tmp_path / "out.pt")).graphs
    same(found[0], FoSR(num_iterations=3, fill=0.5, seed=3)(graphs[0]))
    assert not (tmp_path / ".out.pt.parts").exists()


# Errors -----------------------------------------------------------------------------------------


def one_line(capsys, *words):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    for word in words:
        assert word in printed.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.pt", b"garbage", ["in.pt", "damaged"]),
        ("in.txt", b"source target\n", ["two node ids a line"]),
        ("in.txt", b"0 1 2\n", ["two columns, got 3"]),
        ("in.txt", b"0 -1\n", ["from 0 on, got -1"]),
        ("in.txt", b"# num_nodes: 2\n0 4\n", ["num_nodes: 2", "node 4"]),
        ("in.txt", b"0 1\n1 2\n", ["one way only", "pass --undirected"]),
        ("in.json", b"{}", ["must end in .pt"]),
    ],
)
def test_a_file_that_holds_no_graph(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert rewire(tmp_path, "out.pt", name) == 2
    one_line(capsys, *words)
    assert not (tmp_path / "out.pt").exists()


class Harmful:
    def __reduce__(self):
        return (print, ("code of a file was run",))


@pytest.mark.parametrize(
    "content", [Harmful(), torch.eye(2), Batch.from_data_list([graph(0)]), [graph(0), 3]]
)
def test_a_file_of_other_things(tmp_path, capsys, content):
    torch.save(content, tmp_path / "in.pt")
    assert rewire(tmp_path, "out.pt") == 2
    one_line(capsys, "a Data")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.pt", ["there is no file"]),
        ("nonesuch", ["unknown data set", "there is no file"]),
        ("", ["has no file processed/data.pt"]),
    ],
)
def test_a_source_that_is_missing(tmp_path, capsys, source, words):
    assert rewire(tmp_path, "out.pt", source) == 2
    one_line(capsys, *words)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("out.json", ["must end in .pt"]),
        ("out.txt", ["the edges of one graph, but there are 5"]),
        ("full", ["holds mine.txt"]),
    ],
)
def test_a_place_that_will_not_do(tmp_path, graphs, capsys, out, words):  # noqa: ARG001
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert rewire(tmp_path, out) == 2
    one_line(capsys, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in.pt"]


def test_bad_arguments(tmp_path, graphs, capsys):  # noqa: ARG001
    assert rewire(tmp_path, "out.pt", "in.pt", "--relation", "0") == 2
    one_line(capsys, "--relation must be a whole number of at least 1")
    source, out = str(tmp_path / "in.pt"), str(tmp_path / "out.pt")
    assert main(["rewire", "fosr", source, "--out", out, "--num-iterations", "1"]) == 2
    one_line(capsys, "`edge_attr` [2]", "pass --fill, a number")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]
    assert main(["rewire", "nonesuch", source, "--out", out]) == 2
    one_line(capsys, "unknown method 'nonesuch'", "afrc, borf, fosr")
    for arguments in (["rewire"], ["rewire", "fosr"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert capsys.readouterr().err


def test_an_empty_data_set(tmp_path, capsys):
    torch.save([], tmp_path / "in.pt")
    assert rewire(tmp_path, "above/out") == 2
    one_line(capsys, "has no graphs", "give --out a file .pt")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]
    assert rewire(tmp_path, "out.pt") == 0
    assert read_graphs(str(tmp_path / "out.pt")).graphs == []


def test_nothing_is_left_of_a_call_that_fails(tmp_path, graphs, capsys):  # noqa: ARG001
    assert rewire(tmp_path, "above/out.pt", "in.pt", "--num-iterations", "-1") == 2
    assert rewire(tmp_path, "in.pt/out.pt") == 2
    assert "in.pt is a file, not a folder: give another --out" in capsys.readouterr().err
    (tmp_path / "folder.pt").mkdir()
    assert rewire(tmp_path, "folder.pt") == 2
    assert "folder.pt is a folder, but is to be a file" in capsys.readouterr().err
    assert main(["curvature", "KarateClub", "--out", str(tmp_path / "in.pt")]) == 2
    assert f"cannot make the folder {tmp_path / 'in.pt'}: File exists; give another" in (
        capsys.readouterr().err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.pt", "in.pt"]


def test_what_is_of_pyg_or_of_a_killed_command_may_be_in_the_folder(tmp_path, graphs):  # noqa: ARG001
    out = tmp_path / "out"
    (out / "processed").mkdir(parents=True)
    (out / "raw").mkdir()
    for name in ("raw/a.txt", "processed/pre_transform.pt", "processed/pre_filter.pt"):
        (out / name).touch()
    for name in ("processed/.data.pt.tmp", ".graphs.png.tmp"):
        (out / name).touch()
    assert rewire(tmp_path, "out") == 0
    assert (out / "raw" / "a.txt").exists()


def test_a_picture_of_the_users_stays(tmp_path, graphs):  # noqa: ARG001
    (tmp_path / "out.png").write_text("mine")
    assert rewire(tmp_path, "out.pt") == 0
    assert (tmp_path / "out.png").read_text() == "mine"


# Curvature --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", get_args(Kind))
def test_curvature_of_a_graph(tmp_path, capsys, kind):
    out = tmp_path / "out"
    assert main(["curvature", "KarateClub", "--out", str(out), "--kind", kind]) == 0
    found = torch.load(out / "curvature.pt")
    assert torch.equal(found, getattr(curvature, kind)(KarateClub()[0].edge_index))
    for name in ("histogram.png", "graph.png"):
        assert (out / name).read_bytes().startswith(PNG)
    printed = capsys.readouterr().out
    for words in ("156", f"{found.min():.4g}", f"{found.mean():.4g}", "graph.png"):
        assert words in printed


def test_curvature_of_a_data_set(tmp_path, graphs):
    assert main(["curvature", str(tmp_path / "in.pt"), "--out", str(tmp_path / "out")]) == 0
    found = torch.load(tmp_path / "out" / "curvature.pt")
    for values, data in zip(found, graphs, strict=True):
        alone = curvature.balanced_forman(data.edge_index, data.num_nodes)
        torch.testing.assert_close(values, alone, equal_nan=True)


def test_no_curvature_leaves_no_folder(tmp_path):
    (tmp_path / "in.txt").write_text("0 1\n")
    assert main(["curvature", str(tmp_path / "in.txt"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_curvature_of_self_loops_and_of_nothing(tmp_path, capsys):
    for name, text in (("loops.txt", "0 0\n0 1\n"), ("none.txt", "# num_nodes: 2\n")):
        (tmp_path / name).write_text(text)
        arguments = ["curvature", str(tmp_path / name), "--out", str(tmp_path / "out")]
        assert main([*arguments, "--undirected"]) == 0
    assert main(["curvature", str(tmp_path / "loops.txt"), "--out", str(tmp_path / "out")]) == 2
    assert "one way only" in capsys.readouterr().err
