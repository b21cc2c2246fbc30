"""The real data sets, where they are at hand, and caches that leave the user's alone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GNNLIB_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> None:
    monkeypatch.delenv("GNNLIB_DATA", raising=False)
    monkeypatch.setenv("GNNLIB_CACHE", str(shared_cache))


@pytest.fixture
def root() -> Iterator[Path]:
    """The folder of the real data, which must come out of a test as it went in."""
    if not (DATA / "webkb").is_dir():
        pytest.skip(f"no data sets in {DATA}; set GNNLIB_DATA to a folder that has them")
    before = listing(DATA)
    yield DATA
    assert listing(DATA) == before


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("GNNLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def texas(root: Path, tmp_path: Path, cache: Path) -> Path:  # noqa: ARG001
    """A root that holds Texas alone, and that a test may spoil; nothing is cached yet."""
    raw = tmp_path / "root" / "webkb" / "texas" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "webkb" / "texas" / "raw").iterdir():
        shutil.copyfile(file, raw / file.name)
    return tmp_path / "root"


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))
