"""Files of data sets: where they are looked for, how they are cached, every way they can fail."""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch_geometric.datasets import WebKB

from gnnlib.datasets import load, names

GENERATED = ("KarateClub", "RootNeighbors")


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_the_graph_is_what_pyg_reads(texas: Path) -> None:
    fresh, cached = load("Texas", texas).train, load("Texas", texas).train
    expected = WebKB(str(texas / "webkb"), "texas")[0]
    for key in ("x", "edge_index", "y"):
        assert torch.equal(fresh[key], expected[key])
        assert torch.equal(cached[key], expected[key])


def test_root_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNLIB_DATA", str(root))
    assert load("Texas").train.num_nodes == 183


def test_global_random_state_and_stderr_are_left_alone(
    texas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # in its presence, PyG is silent by itself
    before, stderr = torch.get_rng_state(), sys.stderr
    load("Texas", texas)
    load("KarateClub")
    assert torch.equal(torch.get_rng_state(), before)
    assert sys.stderr is stderr
    assert capsys.readouterr() == ("", "")


def test_the_root_is_only_read(texas: Path, cache: Path) -> None:
    before = listing(texas)
    load("Texas", texas)
    assert listing(texas) == before
    assert [file.suffix for file in listing(cache)] == [".pt"]


def test_what_was_processed_once_is_not_processed_again(
    texas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("Texas", texas)
    monkeypatch.setattr(WebKB, "process", None)
    load("Texas", texas, split=4)


def test_changed_files_are_processed_again(texas: Path) -> None:
    before = load("Texas", texas).train
    edges = texas / "webkb" / "texas" / "raw" / "out1_graph_edges.txt"
    edges.write_text("\n".join(edges.read_text().split("\n")[:101]) + "\n")
    after = load("Texas", texas).train
    assert after.num_edges == 100 < before.num_edges


def test_an_interrupted_copy_never_looks_finished(
    texas: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def save_half(content: object, path: str | Path) -> None:
        save(content, path)
        if isinstance(path, Path):  # not PyG's own, inside the copy
            os.truncate(path, path.stat().st_size // 2)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gnnlib.datasets._files.torch.save", save_half)
        with pytest.raises(KeyboardInterrupt):
            load("Texas", texas)
    assert listing(cache) == []
    # A killed process cannot even clean up.
    left = cache / "tmp0" / "webkb" / "texas" / "raw"
    left.mkdir(parents=True)
    (left / "out1_graph_edges.txt").write_text("node_id\t")
    assert load("Texas", texas).train.num_edges == 325


def test_many_may_load_at_once(texas: Path, cache: Path) -> None:
    stderr = sys.stderr
    with ThreadPoolExecutor(4) as pool:
        tasks = list(pool.map(lambda split: load("Texas", texas, split), range(4)))
    assert all(task.train.num_edges == 325 for task in tasks)
    assert len(listing(cache)) == 1
    assert sys.stderr is stderr


def test_the_default_cache(texas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNNLIB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    load("Texas", texas)
    assert len(listing(tmp_path / "home" / ".cache" / "gnnlib")) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load("Texas", texas)
    assert len(listing(tmp_path / "xdg" / "gnnlib")) == 1


def test_no_root() -> None:
    with pytest.raises(ValueError, match=r"planetoid/Cora/raw as root \(--root\).*GNNLIB_DATA"):
        load("Cora")


@pytest.mark.parametrize("name", [n for n in names() if n not in GENERATED])
def test_missing_folder(name: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))) as error:
        load(name, tmp_path)
    assert "download them with torch_geometric.datasets." in str(error.value)
    assert "--root" in str(error.value)
    assert not cache.exists()
    assert listing(tmp_path) == []


def test_missing_files_are_named_and_not_downloaded(
    texas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = texas / "webkb" / "texas" / "raw"
    (raw / "texas_split_0.6_0.2_3.npz").unlink()
    (raw / "out1_graph_edges.txt").unlink()
    before = listing(texas)
    monkeypatch.setattr(WebKB, "download", None)
    call = re.escape(f"WebKB({str(texas / 'webkb')!r}, name='texas')")
    with pytest.raises(
        FileNotFoundError, match=rf"lacks out1_graph_edges.txt, texas_split_0.6_0.2_3.npz.*{call}"
    ):
        load("Texas", texas)
    assert listing(texas) == before


def test_damaged_files(texas: Path, cache: Path) -> None:
    (texas / "webkb" / "texas" / "raw" / "out1_graph_edges.txt").write_text("404\n" * 3 + "gone\n")
    with pytest.raises(ValueError, match=r"may be damaged .*download them again with .*WebKB\("):
        load("Texas", texas)
    assert listing(cache) == []


def test_a_cache_that_cannot_be_written(
    texas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"in the cache .*GNNLIB_CACHE"):
        load("Texas", texas)
