"""Graphs in files: what the command reads and writes."""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from gnnlib._files import atomic_write, make_folder
from gnnlib.datasets import load_graphs

# What a graph is pickled as. A file may name nothing else, as to load it would run its code.
SAFE: list[Any] = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]
# What separates the two ends of an edge, by the suffix of a file.
DELIMITER = {".txt": " ", ".csv": ",", ".tsv": "\t"}
# Where a folder of a PyG data set holds its graphs.
PROCESSED = Path("processed", "data.pt")
# The picture in a folder, and what else of a data set's folder PyG writes.
PICTURE = "graphs.png"
OF_PYG = (Path("processed", "pre_transform.pt"), Path("processed", "pre_filter.pt"))


@dataclass(frozen=True)
class Graphs:
    """One graph, or the graphs of a data set.

    Attributes:
        graphs: all of them.
        single: whether it is one graph, and not a data set of one.
    """

    graphs: list[Any]
    single: bool


def read_graphs(source: str, root: Path | None = None) -> Graphs:
    """Read a graph or a data set.

    Args:
        source: a file ``.pt`` of a ``Data``, a list of ``Data`` or what PyG's ``InMemoryDataset``
            saves; a folder with such a file ``processed/data.pt``; an edge list ``.txt``, ``.csv``
            or ``.tsv``; or the name of a data set.
        root: the folder of named data sets, see :func:`gnnlib.datasets.load`.

    Raises:
        FileNotFoundError: there is no such file, or files of the data set are missing.
        ValueError: the file holds something else, or the name is unknown.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / PROCESSED).is_file():
            raise FileNotFoundError(f"the folder {path} has no file {PROCESSED}, as one of PyG has")
        return _read_pt(path / PROCESSED)
    if path.suffix not in (".pt", *DELIMITER):
        if path.exists():
            raise ValueError(f"{path} must end in .pt, {', '.join(DELIMITER)}, or be a folder")
        try:
            graphs = load_graphs(source, root)
        except ValueError as error:
            raise ValueError(f"{error} (and there is no file {path})") from error
        return Graphs(graphs, len(graphs) == 1)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return _read_pt(path) if path.suffix == ".pt" else Graphs([_read_edges(path)], True)


def write_graphs(found: Graphs, path: Path) -> None:
    """Write a graph or a data set, whole or not at all.

    Args:
        found: the graphs.
        path: see :func:`check_target`.
    """
    make_folder(path.parent)
    if path.suffix == ".pt":
        atomic_write(path, saved(found.graphs[0] if found.single else found.graphs))
    elif path.suffix:
        atomic_write(path, _edge_list(found.graphs[0], DELIMITER[path.suffix]))
    else:
        make_folder((path / PROCESSED).parent)
        data, slices = InMemoryDataset.collate(found.graphs)
        atomic_write(path / PROCESSED, saved((data.to_dict(), slices)))


def check_target(found: Graphs, path: Path) -> None:
    """See whether graphs can be written there, before there is anything to write.

    Args:
        found: the graphs, or what they are made from.
        path: a file ``.pt`` for a ``Data`` or a list of them; an edge list ``.txt``, ``.csv`` or
            ``.tsv`` for the edges of one graph; or a folder for ``processed/data.pt`` as PyG's
            ``InMemoryDataset`` saves it.

    Raises:
        FileExistsError: the folder holds other files.
        IsADirectoryError: there is a folder where a file should be.
        NotADirectoryError: what should be a folder on the way to it is a file.
        ValueError: the suffix is another one, an edge list shall hold several graphs, or a folder
            none.
    """
    if path.suffix not in ("", ".pt", *DELIMITER):
        raise ValueError(
            f"--out must end in .pt, {', '.join(DELIMITER)}, or be a folder without a suffix, got "
            f"{path}"
        )
    if path.suffix and path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, but is to be a file: give another --out, without a suffix for a "
            "folder"
        )
    if path.suffix in DELIMITER and not found.single:
        raise ValueError(
            f"{path} would hold the edges of one graph, but there are {len(found.graphs)}: give "
            "--out a folder or a file .pt"
        )
    if not path.suffix and not found.graphs:
        raise ValueError(
            "the data set has no graphs, which PyG cannot keep in a folder: give --out a file .pt"
        )
    for above in path.parents:
        if above.exists() and not above.is_dir():
            raise NotADirectoryError(f"{above} is a file, not a folder: give another --out")
    if not path.suffix and path.exists():
        others = (
            [] if not path.is_dir() else [p for p in sorted(path.rglob("*")) if _is_other(p, path)]
        )
        if others or not path.is_dir():
            what = f"holds {others[0].relative_to(path)}" if others else "is a file"
            raise FileExistsError(f"{path} {what}, not of this command's: give another --out")


def _is_other(path: Path, folder: Path) -> bool:
    """Whether neither this command nor PyG has put it into the folder of a data set."""
    own = path.relative_to(folder)
    written = [PROCESSED, Path(PICTURE)]
    written += [place.with_name(f".{place.name}.tmp") for place in written]  # of a killed process
    return own.parts[0] != "raw" and own not in (*written, PROCESSED.parent, *OF_PYG)


def write_part(graphs: Sequence[Any], path: Path) -> None:
    """Write some of the graphs of a data set."""
    atomic_write(path, saved(list(graphs)))


def read_part(path: Path) -> list[Any]:
    """Read what :func:`write_part` wrote."""
    return _read_pt(path).graphs


def digest(graphs: Sequence[Any]) -> str:
    """What tells graphs from others: a hash of all that they hold."""
    key = hashlib.sha256()
    for graph in graphs:
        for name, value in sorted(graph.to_dict().items()):
            key.update(f"{name} {graph.num_nodes}".encode())
            if isinstance(value, Tensor):
                plain = value.as_tensor() if isinstance(value, EdgeIndex) else value
                plain = plain.detach().cpu().contiguous()
                key.update(f"{plain.dtype} {list(plain.shape)}".encode())
                key.update(plain.flatten().view(torch.uint8).numpy().tobytes())
            else:
                key.update(repr(value).encode())
    return key.hexdigest()


def saved(content: Any) -> bytes:
    """What ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _read_pt(path: Path) -> Graphs:
    # What is safe already, as PyG makes it, would be so no longer after the block.
    more = [kind for kind in SAFE if kind not in torch.serialization.get_safe_globals()]
    try:
        with torch.serialization.safe_globals(more):
            content = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it holds a {named[1]}" if named else "it may be damaged"
        raise ValueError(
            f"{path} cannot be read: {why}; a file .pt must hold a Data, a list of Data (of a "
            "Batch: batch.to_data_list()) or what InMemoryDataset.save writes"
        ) from error
    if isinstance(content, Data):
        return Graphs([content], True)
    if isinstance(content, list) and all(isinstance(graph, Data) for graph in content):
        return Graphs(content, False)
    if isinstance(content, tuple) and len(content) > 1 and isinstance(content[0], (dict, Data)):
        dataset = InMemoryDataset()
        data = content[0] if isinstance(content[0], Data) else Data.from_dict(content[0])
        dataset._data, dataset.slices = data, content[1]
        graphs = [data] if content[1] is None else list(dataset)
        return Graphs(graphs, len(graphs) == 1)
    raise ValueError(f"{path} must hold a Data or a list of Data, got {type(content).__name__}")


def _read_edges(path: Path) -> Data:
    """The graph of an edge list: two node ids a line, and comments."""
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] not in "#%"]
    comma = "," if lines and "," in lines[0] else None
    try:
        rows = (
            np.loadtxt(lines, dtype=np.int64, delimiter=comma, ndmin=2)
            if lines
            else np.empty((0, 2))
        )
    except ValueError as error:
        raise ValueError(
            f"{path} must have two node ids a line, integers from 0 on ({error}); comments start "
            "with # or %"
        ) from error
    edges = torch.as_tensor(rows.astype(np.int64))
    if edges.size(1) != 2:
        raise ValueError(f"{path} must have two columns, got {edges.size(1)}")
    if edges.numel() and edges.min() < 0:
        raise ValueError(f"{path} must hold node ids from 0 on, got {int(edges.min())}")
    noted = re.search(r"^[#%]\s*num_nodes:\s*(\d+)\s*$", text, re.MULTILINE)
    least = int(edges.max()) + 1 if edges.numel() else 0
    num_nodes = int(noted[1]) if noted else least
    if num_nodes < least:
        raise ValueError(f"{path} says num_nodes: {num_nodes}, but has a node {least - 1}")
    return Data(edge_index=edges.t().contiguous(), num_nodes=num_nodes)


def _edge_list(data: Data, delimiter: str) -> bytes:
    buffer = io.BytesIO()
    edges = torch.stack([*data.edge_index], 1)
    np.savetxt(
        buffer,
        edges.cpu().numpy(),
        fmt="%d",
        delimiter=delimiter,
        header=f"num_nodes: {data.num_nodes}",
    )
    return buffer.getvalue()
