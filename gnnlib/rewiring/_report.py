"""What a rewiring did to a graph, in figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import homophily

from gnnlib._rich import as_text
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring._spectral_gap import MOST_EDGES_SOLVED, mean_spectral_gap
from gnnlib.rewiring.curvature._balanced_forman import balanced_forman_of
from gnnlib.rewiring.curvature._effective_resistance import total_effective_resistance_of

# The curvature of more edges than these is known well enough from so many.
MOST_EDGES = 2**15
# Components up to this many nodes are solved densely.
DENSE_RESISTANCE = 1000
# Of resistances of larger ones, the standard deviation, and the steps after which they take long.
EPSILON, MOST_STEPS = 0.2, 200
RESISTANCE = "total effective resistance"


@dataclass(frozen=True)
class GraphReport:
    """A graph, or several, in figures; what is not defined is ``None``.

    Attributes:
        num_graphs: how many graphs these are.
        num_nodes: nodes of all of them.
        num_edges: undirected edges, without self loops and repetitions.
        num_components: connected components of all of them.
        mean_degree: neighbours of a node.
        spectral_gap: second smallest eigenvalue of the normalised Laplacian of the largest
            component, mean over graphs; ``None`` where no edges are, and where it would take
            minutes: of graphs of more than 1,048,576 edges, and of those with so small a gap that
            Lanczos does not find it, unless their Laplacian has sparse factors.
        effective_resistance: total over all pairs of nodes in one component, mean over graphs;
            ``None`` where it would take minutes: of graphs of more than 1,048,576 edges, and where
            200 steps of conjugate gradients are too few.
        effective_resistance_estimated: whether that is an estimate, with a relative standard
            deviation of at most 20%: where a component is no tree and has more than 1,000 nodes.
        curvature: balanced Forman curvature of edges: the smallest, the quartiles, the largest.
        homophily: share of edges between nodes of one label, where nodes have labels.
    """

    num_graphs: int
    num_nodes: int
    num_edges: int
    num_components: int
    mean_degree: float
    spectral_gap: float | None
    effective_resistance: float | None
    effective_resistance_estimated: bool
    curvature: tuple[float, float, float, float, float] | None
    homophily: float | None


@dataclass(frozen=True)
class RewiringReport:
    """Graphs before and after a rewiring in figures; printed as a table.

    Attributes:
        before: the graphs as they were.
        after: the graphs as they are.
        num_added: undirected edges that came.
        num_removed: undirected edges that went.
        mean_degree_change: mean over nodes of how many neighbours more or fewer each has.
        largest_degree_change: the largest of those.
    """

    before: GraphReport
    after: GraphReport
    num_added: int
    num_removed: int
    mean_degree_change: float
    largest_degree_change: int

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for column in ("before", "after", "change"):
            table.add_column(column, justify="right", no_wrap=True)
        pairs = zip(figures(self.before), figures(self.after), strict=True)
        for (name, before), (_, after) in pairs:
            change = None if before is None or after is None else after - before
            cells = [shown(before), shown(after), shown(change, "+")]
            if name == RESISTANCE:
                old, new = (
                    report.effective_resistance_estimated for report in (self.before, self.after)
                )
                about = (old, new, (old or new) and change is not None)
                cells = ["≈ " * yes + cell for yes, cell in zip(about, cells, strict=True)]
            table.add_row(name, *cells)
        return Group(table, Text(self._summary()))

    def _summary(self) -> str:
        return (
            f"{self.num_added:,} edges came and {self.num_removed:,} went; a node's degree changed "
            f"by {self.mean_degree_change:.3g} in the mean and {self.largest_degree_change:,} at "
            "most"
        )


def describe(data: Data | Sequence[Data]) -> GraphReport:
    """Describe a graph or several in figures.

    Edges are taken for both ways, and self loops and repetitions do not count. Of more than 32,768
    edges, that many are looked at for the curvature, evenly spaced.

    Args:
        data: a ``Data``, a ``Batch`` or a list of ``Data``.

    Returns:
        The figures.

    Raises:
        ValueError: a graph has no ``edge_index``.

    Example:
        >>> from torch_geometric.datasets import KarateClub
        >>> report = describe(KarateClub()[0])
        >>> report.num_edges, report.num_components, round(report.spectral_gap, 4)
        (78, 1, 0.1323)
    """
    return _described(_simple(data), _labels(data))


def compare(before: Data | Sequence[Data], after: Data | Sequence[Data]) -> RewiringReport:
    """Compare graphs with what a rewiring made of them.

    Args:
        before: a ``Data``, a ``Batch`` or a list of ``Data``.
        after: the same after the rewiring.

    Returns:
        The figures of both, as of :func:`describe`, and their differences; ``print`` shows a table.

    Raises:
        ValueError: a graph has no ``edge_index``, or the two have other nodes.

    Example:
        >>> import torch
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> ring = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        >>> report = compare(path, ring)
        >>> report.num_added, report.num_removed, round(report.after.spectral_gap, 4)
        (1, 0, 1.5)
    """
    old, new = _simple(before), _simple(after)
    if not torch.equal(old.ptr, new.ptr):
        raise ValueError(
            f"`before` and `after` must be the same graphs with other edges, got {old.num_graphs} "
            f"of {old.num_nodes} nodes and {new.num_graphs} of {new.num_nodes}"
        )
    edit = Edit.between(old, new)
    change = (new.degree - old.degree).abs()
    return RewiringReport(
        before=_described(old, _labels(before)),
        after=_described(new, _labels(after)),
        num_added=edit.added.size(1),
        num_removed=int(edit.removed.sum()),
        mean_degree_change=float(change.double().mean()) if change.numel() else 0.0,
        largest_degree_change=int(change.max()) if change.numel() else 0,
    )


def figures(report: GraphReport) -> list[tuple[str, float | None]]:
    """The rows of a table."""
    parts = ("smallest", "lower quartile", "median", "upper quartile", "largest")
    curvature = report.curvature or (None,) * len(parts)
    return [
        ("edges", report.num_edges),
        ("components", report.num_components),
        ("mean degree", report.mean_degree),
        ("spectral gap", report.spectral_gap),
        (RESISTANCE, report.effective_resistance),
        *zip((f"curvature, {part}" for part in parts), curvature, strict=True),
        ("homophily", report.homophily),
    ]


def shown(value: float | None, sign: str = "") -> str:
    """A figure as a table has it."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:{sign},}"
    return f"{round(value, 9) + 0.0:{sign},.4g}"  # no rounded zero, nor a negative one


def _graphs(data: Data | Sequence[Data]) -> list[Any]:
    return [data] if isinstance(data, Data) else list(data)


def _simple(data: Data | Sequence[Data]) -> SimpleGraph:
    """All graphs side by side."""
    graphs = _graphs(data)
    for graph in graphs:
        if graph.get("edge_index") is None:
            raise ValueError(f"a report needs `edge_index`, got {graph}")
    if not isinstance(data, Batch):
        bare = [Data(edge_index=g.edge_index, num_nodes=g.num_nodes) for g in graphs]
        empty = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=0)
        data = Batch.from_data_list(bare or [empty])
    return SimpleGraph.of_edges(
        data.edge_index, data.num_nodes, undirected=True, ptr=data.ptr.cpu(), asker="a report"
    )


def _labels(data: Data | Sequence[Data]) -> Tensor | None:
    """The label of every node, if all have one."""
    labels = [graph.get("y") for graph in _graphs(data)]
    for graph, y in zip(_graphs(data), labels, strict=True):
        if not isinstance(y, Tensor) or y.is_floating_point() or y.numel() != graph.num_nodes:
            return None
    return torch.cat([y.flatten().cpu() for y in labels]) if labels else None


def _described(graph: SimpleGraph, labels: Tensor | None) -> GraphReport:
    entries = (np.ones(graph.col.numel()), graph.col.numpy(), graph.rowptr.numpy())
    adjacency = csr_array(entries, shape=(graph.num_nodes, graph.num_nodes))
    num_components, component = connected_components(adjacency, directed=False)
    some = torch.arange(graph.num_edges)[:: -(-graph.num_edges // MOST_EDGES) or 1]
    curvature = balanced_forman_of(graph, some).numpy()
    resistance = _resistance(graph)
    sizes, edges = (
        np.bincount(of, minlength=num_components) for of in (component, component[graph.ends[0]])
    )
    estimated = resistance is not None and bool(
        ((sizes > DENSE_RESISTANCE) & (edges >= sizes)).any()
    )
    known = graph.num_edges > 0
    return GraphReport(
        num_graphs=graph.num_graphs,
        num_nodes=graph.num_nodes,
        num_edges=graph.num_edges,
        num_components=int(num_components),
        mean_degree=2 * graph.num_edges / max(graph.num_nodes, 1),
        spectral_gap=mean_spectral_gap(adjacency, component, graph.ptr.tolist()),
        effective_resistance=resistance and resistance / graph.num_graphs,
        effective_resistance_estimated=estimated,
        curvature=tuple(np.quantile(curvature, np.linspace(0, 1, 5)).tolist()) if known else None,
        homophily=homophily(graph.ends, labels) if known and labels is not None else None,
    )


def _resistance(graph: SimpleGraph) -> float | None:
    """The total of all graphs, unless that takes minutes."""
    if graph.num_edges > MOST_EDGES_SOLVED:
        return None
    weight = torch.ones(graph.num_edges, dtype=torch.float64)
    try:
        return total_effective_resistance_of(
            graph, weight, EPSILON, DENSE_RESISTANCE, seed=0, most_steps=MOST_STEPS
        )
    except RuntimeError:
        return None
