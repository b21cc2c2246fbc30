"""What ``gnnlib rewire`` and ``gnnlib curvature`` do with graphs in files."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gnnlib._files import atomic_write
from gnnlib._graph_files import (
    PICTURE,
    Graphs,
    check_target,
    digest,
    read_graphs,
    read_part,
    saved,
    write_graphs,
    write_part,
)
from gnnlib.plotting import plot_curvature, plot_histogram, plot_rewiring
from gnnlib.rewiring import Rewiring, RewiringReport, compare, curvature
from gnnlib.rewiring.curvature._faces import tracked

Kind = Literal["balanced_forman", "augmented_forman", "forman", "ollivier_ricci"]

# Graphs that are rewired in one native call, and kept in one file until all are done.
AT_ONCE = 64
# Larger graphs are no picture.
MOST_NODES = 300


def rewire(
    method: Rewiring, source: str, out: Path, root: Path | None, progress: bool
) -> tuple[RewiringReport, list[Path]]:
    """Rewire a graph or a data set from files into files.

    What is done of a data set is kept beside ``out`` until all is, so that the same call goes on
    where one was stopped.

    Args:
        method: the rewiring.
        source: see :func:`read_graphs`.
        out: see :func:`check_target`.
        root: the folder of named data sets.
        progress: whether a bar is shown on the error stream.

    Returns:
        The report, and what was written.
    """
    before = read_graphs(source, root)
    check_target(before, out)
    parts = out.with_name(f".{out.name}.parts")
    after = Graphs(_rewired(method, before.graphs, parts, progress), before.single)
    write_graphs(after, out)
    report, written = compare(before.graphs, after.graphs), [out]
    if after.graphs and after.graphs[0].num_nodes <= MOST_NODES:
        picture = out.with_name(f"{out.name}.png") if out.suffix else out / PICTURE
        plot_rewiring(before.graphs[0], after.graphs[0], picture)
        written.append(picture)
    shutil.rmtree(parts, ignore_errors=True)
    return report, written


def _rewired(method: Rewiring, graphs: Sequence[Any], parts: Path, progress: bool) -> list[Any]:
    """All graphs rewired, read where that was done before."""
    done: list[Any] = []
    chunks = [graphs[i : i + AT_ONCE] for i in range(0, len(graphs), AT_ONCE)]
    for chunk in tracked(chunks, progress, type(method).__name__):
        # The name says all that it depends on, so that no other call takes it for its own.
        key = hashlib.sha256(f"{method!r} {digest(chunk)}".encode()).hexdigest()
        path = parts / f"{key}.pt"
        if not path.exists():
            rewired = method(chunk)
            parts.mkdir(parents=True, exist_ok=True)
            write_part(rewired, path)
        done += read_part(path)
    return done


def side_by_side(graphs: Sequence[Any]) -> tuple[Tensor, int]:
    """The edges of all graphs as those of one, and its nodes."""
    starts = torch.tensor([0, *(graph.num_nodes for graph in graphs)]).cumsum(0).tolist()
    edges = [torch.empty(2, 0, dtype=torch.long)]
    edges += [graph.edge_index + start for graph, start in zip(graphs, starts, strict=False)]
    return torch.cat(edges, 1), starts[-1]


def draw_curvature(
    kind: Kind, source: str, out: Path, root: Path | None, undirected: bool, progress: bool
) -> tuple[Tensor, list[Path]]:
    """Compute the curvature of all edges of a graph or a data set, and draw it.

    Args:
        kind: the name of a function of :mod:`gnnlib.rewiring.curvature`.
        source: see :func:`read_graphs`.
        out: the folder for ``curvature.pt``, a tensor ``[E]`` in the order of ``edge_index`` (of a
            data set, a list of them), NaN for self loops; ``histogram.png``; and ``graph.png``, the
            first graph, if it is small.
        root: the folder of named data sets.
        undirected: whether to take every edge for both ways.
        progress: whether a bar is shown on the error stream.

    Returns:
        The curvature of all edges, and what was written.
    """
    found = read_graphs(source, root)
    function = getattr(curvature, kind)
    edges, nodes = side_by_side(found.graphs)
    joined = function(edges, nodes, undirected=undirected or None, progress=progress)
    values = joined.split([graph.num_edges for graph in found.graphs])
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "curvature.pt", out / "histogram.png"]
    atomic_write(written[0], saved(joined if found.single else [part.clone() for part in values]))
    label = f"{kind.replace('_', ' ').title()} curvature"
    plot_histogram(joined, written[1], label)
    if found.graphs and found.graphs[0].num_nodes <= MOST_NODES:
        written.append(out / "graph.png")
        plot_curvature(found.graphs[0], values[0], written[2], label)
    return joined, written
