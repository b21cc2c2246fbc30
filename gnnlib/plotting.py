"""Pictures of a training run, of what nodes do in every layer, and of curved and rewired graphs."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

from gnnlib._files import atomic_write

try:
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ImportError(
        f"gnnlib.plotting needs {error.name}, which is not installed: pip install gnnlib[train]"
    ) from error

if TYPE_CHECKING:
    from gnnlib.training import Epoch

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, RED = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
)
INK, PALE = "#3C4043", "#DADCE0"

# Name, colour and marker by (listens, broadcasts). The marker says it again for print in grey: a
# triangle points at the node that only takes in, and away from the one that only sends out.
ACTIONS = {
    (True, True): ("standard: listens and broadcasts", BLUE, "o"),
    (True, False): ("listens only", ORANGE, "v"),
    (False, True): ("broadcasts only", GREEN, "^"),
    (False, False): ("isolates", "#9AA0A6", "X"),
}

PANELS: dict[Literal["loss", "val", "test"], str] = {
    "loss": "training loss",
    "val": "validation metric",
    "test": "test metric",
}


class Actions(Protocol):
    """What every node does in one layer."""

    @property
    def listens(self) -> Tensor:
        """Whether each node takes messages in, bool ``[num_nodes]``."""

    @property
    def broadcasts(self) -> Tensor:
        """Whether each node sends messages out, bool ``[num_nodes]``."""


def plot_curves(histories: Mapping[str, Mapping[str, Sequence["Epoch"]]], path: Path) -> None:
    """Draw training loss, validation metric and test metric over the epochs.

    Args:
        histories: The runs to compare, by title (one row of panels each, so that runs on different
            scales do not share an axis) and label (one colour each).
        path: The picture to write or replace; its suffix names the format (``.png``, ``.svg``).

    Raises:
        OSError: The picture cannot be written.
    """
    figure = Figure(figsize=(10, 3.1 * len(histories)), layout="constrained")
    labels = dict.fromkeys(label for runs in histories.values() for label in runs)
    colours = dict(zip(labels, (BLUE, RED, GREEN, PINK, ORANGE, SKY) * len(labels), strict=False))
    bands = figure.subfigures(len(histories), squeeze=False).ravel()
    for band, (title, runs) in zip(bands, histories.items(), strict=True):
        band.suptitle(title, x=0.01, ha="left", fontweight="bold", color=INK)
        panels = band.subplots(1, 3)
        for axes, (name, text) in zip(panels, PANELS.items(), strict=True):
            for label, history in runs.items():
                points = [(row["epoch"], row[name]) for row in history if row[name] is not None]
                axes.plot(
                    *zip(*points, strict=True),
                    color=colours[label],
                    label=label,
                    lw=1.6,
                    alpha=0.85,
                )
            axes.set_title(text, color=INK)
            axes.set_xlabel("epoch", color=INK)
            _tidy(axes)
        panels[0].legend(frameon=False)
    _write(figure, path)


def plot_actions(data: Data, actions: Sequence[Actions], path: Path) -> None:
    """Draw a graph once a layer, every node coloured by its action.

    An edge is dark where a message passes: the one end broadcasts and the other listens.

    Args:
        data: The graph; a few hundred nodes at most are legible.
        actions: What its nodes do, one record a layer.
        path: The picture to write or replace; its suffix names the format (``.png``, ``.svg``).

    Raises:
        ValueError: There is no layer to draw.
        OSError: The picture cannot be written.
    """
    if not actions:
        raise ValueError("actions is empty, so there is no layer to draw; pass one record a layer")
    graph, layout = _laid_out(data)
    places = np.array([layout[node] for node in graph]).reshape(-1, 2)
    columns = min(len(actions), 4)
    rows = math.ceil(len(actions) / columns)
    figure = Figure(figsize=(4 * columns, 3.9 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    size = _dot(graph)
    for layer, (axes, action) in enumerate(zip(panels, actions, strict=False), start=1):
        listens, broadcasts = action.listens.cpu(), action.broadcasts.cpu()
        source, target = data.edge_index.cpu()
        passes = broadcasts[source] & listens[target]
        carrying = {frozenset(edge) for edge in data.edge_index.cpu()[:, passes].t().tolist()}
        lines: dict[bool, list[Any]] = {True: [], False: []}
        for u, v in graph.edges:
            lines[frozenset((u, v)) in carrying].append((layout[u], layout[v]))
        axes.add_collection(LineCollection(lines[False], colors=PALE, linewidths=0.7, zorder=1))
        axes.add_collection(LineCollection(lines[True], colors=INK, linewidths=0.9, zorder=2))
        for key, (_, colour, marker) in ACTIONS.items():
            chosen = (listens == key[0]) & (broadcasts == key[1])
            axes.scatter(
                *places[chosen.numpy()].T,
                s=size,
                c=colour,
                marker=marker,
                edgecolors="white",
                linewidths=0.8,
                zorder=3,
            )
        axes.set_title(
            f"layer {layer}: {len(lines[True])} of {graph.number_of_edges()} edges carry a message",
            fontsize=10,
            color=INK,
        )
    handles = [
        panels[0].scatter([], [], s=90, c=colour, marker=marker, edgecolors="white", label=name)
        for name, colour, marker in ACTIONS.values()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    _write(figure, path)


def plot_histogram(values: Tensor, path: Path, label: str) -> None:
    """Draw how often values come.

    Args:
        values: Numbers; NaN and infinities do not count.
        path: The picture to write or replace; its suffix names the format (``.png``, ``.svg``).
        label: What the numbers are.

    Raises:
        OSError: The picture cannot be written.
    """
    known = values[values.isfinite()].cpu().numpy()
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.hist(known, bins=50, color=BLUE)
    if known.size:
        axes.axvline(np.median(known), color=RED, lw=1.4, label=f"median {np.median(known):.3g}")
        axes.legend(frameon=False)
    axes.set_xlabel(label, color=INK)
    axes.set_ylabel("edges", color=INK)
    _tidy(axes)
    _write(figure, path)


def plot_curvature(data: Data, values: Tensor, path: Path, label: str) -> None:
    """Draw a graph with its edges coloured by a value: red below zero, blue above.

    Args:
        data: The graph; a few hundred nodes at most are legible.
        values: ``[E]``, a number for each column of ``data.edge_index``; self loops are not drawn.
        path: The picture to write or replace; its suffix names the format (``.png``, ``.svg``).
        label: What the numbers are.

    Raises:
        OSError: The picture cannot be written.
    """
    graph, layout = _laid_out(data)
    ends = map(tuple, data.edge_index.t().sort(1).values.tolist())
    value = dict(zip(ends, values.tolist(), strict=True))
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    edges = [tuple(sorted(edge)) for edge in graph.edges]
    found = np.array([value[edge] for edge in edges])
    finite = np.abs(found[np.isfinite(found)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    lines = LineCollection(
        [(layout[u], layout[v]) for u, v in edges],
        array=found,
        # Blue and red that colour-blind readers can tell apart, and a middle that paper shows.
        cmap=LinearSegmentedColormap.from_list("curvature", [RED, PALE, BLUE]),
        norm=Normalize(-limit, limit),
        linewidths=1.8,
        zorder=1,
    )
    axes.add_collection(lines)
    _dots(axes, graph, layout)
    figure.colorbar(lines, ax=axes, label=label, shrink=0.7)
    _write(figure, path)


def plot_rewiring(before: Data, after: Data, path: Path) -> None:
    """Draw a graph before and after a rewiring, with what went in red and what came in blue.

    Args:
        before: The graph; a few hundred nodes at most are legible.
        after: The same nodes with other edges.
        path: The picture to write or replace; its suffix names the format (``.png``, ``.svg``).

    Raises:
        OSError: The picture cannot be written.
    """
    graph, layout = _laid_out(before)
    other = to_networkx(after, to_undirected=True, remove_self_loops=True)
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    sides = (("before", graph, other, RED, "go"), ("after", other, graph, BLUE, "are new"))
    for axes, (title, own, rest, colour, what) in zip(figure.subplots(1, 2), sides, strict=True):
        axes.set_axis_off()
        lines: dict[bool, list[Any]] = {True: [], False: []}
        for u, v in own.edges:
            lines[rest.has_edge(u, v)].append((layout[u], layout[v]))
        axes.add_collection(LineCollection(lines[True], colors="#9AA0A6", linewidths=0.9, zorder=1))
        axes.add_collection(LineCollection(lines[False], colors=colour, linewidths=1.8, zorder=2))
        _dots(axes, graph, layout)
        axes.set_title(
            f"{title}: {own.number_of_edges()} edges, of which {len(lines[False])} {what}",
            fontsize=10,
            color=INK,
        )
    _write(figure, path)


def _laid_out(data: Data) -> tuple[Any, Any]:
    """The graph for networkx, undirected, and where its nodes are."""
    graph = to_networkx(data, to_undirected=True, remove_self_loops=True)
    # More room and more steps than networkx's defaults, which leave hubs in a knot.
    spacing = 1.8 / math.sqrt(max(len(graph), 1))
    return graph, nx.spring_layout(graph, k=spacing, iterations=300, seed=0)


def _dot(graph: Any) -> float:
    """The size of a node."""
    return min(140.0, 4500 / max(len(graph), 1))


def _dots(axes: Axes, graph: Any, layout: Any) -> None:
    places = np.array([layout[node] for node in graph]).reshape(-1, 2)
    x, y = places.T
    axes.scatter(x, y, s=_dot(graph), c=INK, edgecolors="white", linewidths=0.8, zorder=3)


def _tidy(axes: Axes) -> None:
    """A light grid and no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(color=PALE, labelcolor=INK)
    axes.grid(color=PALE, lw=0.6, alpha=0.7)
    axes.set_axisbelow(True)


def _write(figure: Figure, path: Path) -> None:
    # A bare Figure draws without pyplot, so no global state and no display is needed.
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lstrip("."), dpi=160, facecolor="white")
    atomic_write(path, picture.getvalue())
