"""What PyG reads from files: where they are, what they become, and where that is kept."""

import hashlib
import io
import os
import shutil
import threading
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory

import torch
import torch_geometric  # type: ignore[import-untyped, unused-ignore]
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)


@dataclass(frozen=True)
class Files:
    """The files of a data set that PyG reads.

    Args:
        reader: The PyG class, with all its arguments but the root.
        folder: Folder of the data set, below the user's root; its own folder ``raw`` holds the
            files, and its first part is the root that PyG takes.
        raw: Names of the files.
    """

    reader: partial[InMemoryDataset]
    folder: str
    raw: tuple[str, ...]

    def graphs(self, name: str, root: str | Path | None) -> list[Data]:
        """Read the graphs, from the cache if the same files were processed before.

        Args:
            name: What an error calls the data set.
            root: The folder that holds ``folder`` (default: the environment variable
                ``GNNLIB_DATA``).

        Returns:
            The graphs, for the caller to change: a list of one for a data set of one graph.

        Raises:
            ValueError: There is neither ``root`` nor ``GNNLIB_DATA``, or the files are damaged.
            FileNotFoundError: Files are missing in ``root``.
            OSError: The cache cannot be written.
        """
        return self._read(self._locate(name, root))

    def _locate(self, name: str, root: str | Path | None) -> Path:
        """The root, below which all raw files are there."""
        root = root or os.environ.get("GNNLIB_DATA")
        if not root:
            raise ValueError(
                f"{name} is read from files: pass the folder that holds {self.folder}/raw as root "
                "(--root), or set the environment variable GNNLIB_DATA to it"
            )
        root = Path(root).expanduser()
        raw = root / self.folder / "raw"
        missing = [file for file in self.raw if not (raw / file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{raw} lacks {', '.join(missing)}, which {name} needs: download them with "
                f"torch_geometric.datasets.{self._call(root)}, or pass the folder that holds "
                f"{self.folder}/raw as root (--root)"
            )
        return root

    def _read(self, root: Path) -> list[Data]:
        """The processed graphs, from the cache if the same files were processed before."""
        # PyG would write beside the raw files, where we may not, and several processes at once.
        key = hashlib.sha256(
            f"{_FORMAT} {torch_geometric.__version__} {self._call(Path())}".encode()
        )
        for file in self.raw:
            key.update((root / self.folder / "raw" / file).read_bytes())
        path = _cache() / f"{self.folder.replace('/', '-')}-{key.hexdigest()[:32]}.pt"
        if not path.exists():
            self._process(root, path)
        try:
            data, slices = torch.load(path, weights_only=True)
        except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
            raise ValueError(
                f"the cached {path} is damaged ({error}): delete it, and it is made anew"
            ) from error
        dataset = InMemoryDataset()
        dataset._data, dataset.slices = Data.from_dict(data), slices
        return list(dataset)

    def _process(self, root: Path, path: Path) -> None:
        """Let PyG process a copy of the raw files, and keep the graphs at ``path``."""
        raw = root / self.folder / "raw"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Inside the cache, so that the last step is a rename: a file that exists is whole.
            with TemporaryDirectory(dir=path.parent) as folder:
                copies = Path(folder, self.folder, "raw")
                copies.mkdir(parents=True)
                for file in self.raw:
                    shutil.copyfile(raw / file, copies / file)
                # PyG says "Processing..." there. Redirections of two threads must not interleave.
                with _STDERR, redirect_stderr(io.StringIO()):
                    dataset = self.reader(str(Path(folder, self._pyg_root)))
                _check(dataset)
                content = (dataset._data.to_dict(), dataset.slices)
                torch.save(content, Path(folder, "data.pt"))
                os.replace(Path(folder, "data.pt"), path)
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot process {raw} in the cache {path.parent}: {error.strerror or error}; set "
                "the environment variable GNNLIB_CACHE to a folder with room that can be written",
            ) from error
        except Exception as error:
            raise ValueError(
                f"PyG cannot process {raw}, whose files may be damaged ({error!r}): delete them "
                f"and download them again with torch_geometric.datasets.{self._call(root)}"
            ) from error

    def _call(self, root: Path) -> str:
        """The PyG call that reads this data set, as a user would type it."""
        arguments = [repr(str(root / self._pyg_root))]
        arguments += [f"{key}={value!r}" for key, value in self.reader.keywords.items()]
        return f"{self.reader.func.__name__}({', '.join(arguments)})"

    @property
    def _pyg_root(self) -> str:
        return self.folder.split("/")[0]


# What a file of the cache holds; a change of it gets another number.
_FORMAT = 2
_STDERR = threading.Lock()


def _check(dataset: InMemoryDataset) -> None:
    """Raise a ValueError if the files disagree, which PyG does not notice in a set of graphs."""
    if dataset.slices is None:
        return
    if len({len(starts) for starts in dataset.slices.values()}) > 1:
        raise ValueError("the files disagree on the number of graphs")
    for key, starts in dataset.slices.items():
        value = dataset._data[key]
        rows = value.size(dataset._data.__cat_dim__(key, value))
        if rows != starts[-1]:
            raise ValueError(f"{key} has {rows} rows, its graphs need {int(starts[-1])}")


def _cache() -> Path:
    """The folder of the processed graphs."""
    folder = os.environ.get("GNNLIB_CACHE")
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnnlib"
