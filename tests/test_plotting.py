"""Pictures: written whole, whatever the history or the graph."""

import errno
from types import SimpleNamespace

import pytest
import torch
from torch_geometric.data import Data

from gnnlib import _files
from gnnlib.plotting import (
    plot_actions,
    plot_curvature,
    plot_curves,
    plot_histogram,
    plot_rewiring,
)

HISTORY = [
    {"epoch": 1, "loss": 1.0, "val": None, "test": None, "seconds": 0.1},
    {"epoch": 2, "loss": 0.5, "val": 0.7, "test": 0.6, "seconds": 0.1},
]


def actions(num_nodes, layers=2):
    generator = torch.Generator().manual_seed(0)
    draw = lambda: torch.rand(num_nodes, generator=generator) > 0.5  # noqa: E731
    return [SimpleNamespace(listens=draw(), broadcasts=draw()) for _ in range(layers)]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_curves(tmp_path, suffix, magic):
    path = tmp_path / f"curves.{suffix}"
    plot_curves({"A": {"gcn": HISTORY, "sage": HISTORY}, "B": {"gcn": HISTORY}}, path)
    assert path.read_bytes().startswith(magic)


def test_curves_of_a_run_without_an_evaluation(tmp_path):
    plot_curves({"A": {"gcn": HISTORY[:1]}}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("layers", [1, 5])
@pytest.mark.parametrize(
    ("num_nodes", "edge_index"),
    [
        (4, [[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]]),  # an isolated node and a self loop
        (1, [[], []]),
        (0, [[], []]),
    ],
)
def test_actions(tmp_path, layers, num_nodes, edge_index):
    data = Data(edge_index=torch.tensor(edge_index, dtype=torch.long), num_nodes=num_nodes)
    plot_actions(data, actions(num_nodes, layers), tmp_path / "actions.png")
    assert (tmp_path / "actions.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_graph_gives_the_same_picture(tmp_path):
    data = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
    for name in ("a.png", "b.png"):
        plot_actions(data, actions(4), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_layer_to_draw(tmp_path):
    data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=1)
    with pytest.raises(ValueError, match="actions is empty"):
        plot_actions(data, [], tmp_path / "actions.png")


def test_a_full_disk_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plot_curves({"A": {"gcn": HISTORY}}, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


GRAPHS = [
    (4, [[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]]),  # an isolated node and a self loop
    (3, [[0, 1], [1, 2]]),  # edges one way
    (1, [[], []]),
    (0, [[], []]),
]


@pytest.mark.parametrize(("num_nodes", "edge_index"), GRAPHS)
def test_curvature_and_rewiring(tmp_path, num_nodes, edge_index):
    data = Data(edge_index=torch.tensor(edge_index, dtype=torch.long), num_nodes=num_nodes)
    values = torch.linspace(-1, 1, data.num_edges)
    values[data.edge_index[0] == data.edge_index[1]] = torch.nan
    plot_curvature(data, values, tmp_path / "curvature.png", "curvature")
    bare = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=num_nodes)
    plot_rewiring(data, bare, tmp_path / "gone.png")
    plot_rewiring(bare, data, tmp_path / "new.png")
    for name in ("curvature", "gone", "new"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("values", [[], [torch.nan, torch.inf], [0.0], [-1.0, 0.5, 0.5, torch.nan]])
def test_histogram(tmp_path, values):
    plot_histogram(torch.tensor(values), tmp_path / "histogram.svg", "curvature")
    assert (tmp_path / "histogram.svg").read_bytes().startswith(b"<?xml")
