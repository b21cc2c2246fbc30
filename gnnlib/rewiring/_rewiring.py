"""What all rewirings share: a graph, a batch or a data set in, the same with other edges out."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, Dataset, HeteroData
from torch_geometric.transforms import BaseTransform

from gnnlib._check import check_bool, check_whole
from gnnlib.encodings._graphs import ptr_of
from gnnlib.rewiring._attributes import Fill, rows_of_new, shown
from gnnlib.rewiring._edit import Edit, spared
from gnnlib.rewiring._simple_graph import (
    SimpleGraph,
    check_undirected,
    checked,
    require_nodes,
)


class Rewiring(BaseTransform):  # type: ignore[misc]
    """A PyG transform that changes the edges of graphs; the base of all of them.

    It takes a ``Data``, a ``Batch`` or a list of ``Data`` (a data set is one), and gives back the
    same; a whole data set is one native call. What comes out:

    - ``edge_index``: first the edges that stayed, in their order, then the new ones, each in both
      directions; graph by graph in a batch. Self loops and repeated edges stay as they are and
      count for nothing; where an edge goes, all its repetitions go.
    - ``parent_id [E']``: which edge of its graph each one was, -1 for new ones. Where the input has
      a ``parent_id``, edges keep it: after several rewirings it counts from the first.
    - ``edge_type [E']``: 0 for edges that stayed, ``relation`` (and, in methods with several, the
      numbers after it) for new ones. Where the input has an ``edge_type``, edges keep it.
    - attributes of edges follow their edges; of new ones they are what ``fill`` says. Those are
      the tensors with a row for each edge that have "edge" in their names, as ``edge_attr``, or
      are named in ``fill``; but not what has an index of its own, as ``edge_label`` beside
      ``edge_label_index``.
    - ``rewiring``: what was done, as ``repr`` has it.

    The input is left as it is, and a graph with nothing to do comes back with the edges it had.
    A graph gives the same alone and in a batch.

    Args:
        undirected: ``None`` (default) refuses a graph in which an edge goes one way only, as the
            methods are defined on undirected ones. ``True`` takes every edge for both ways; those
            that stay keep their direction.
        protect_connectivity: whether edges stay that hold a component together: of those to be
            removed, those are spared, first come first, that join two parts of what would remain.
        fill: what attributes of edges are for new ones: a number, a row, or those by the name of
            the attribute. Integers take no fractions. ``edge_weight`` is 1 unless it is named,
            whatever the number or the row for the others is; for those there is no default.
        relation: the ``edge_type`` of new edges, at least 1; of use where one rewiring follows
            another.
        seed: of whatever is drawn. The same seed gives the same graph.

    Raises:
        TypeError: what is rewired is no graph or list of graphs, or ``fill`` no number or row.
        ValueError: the graph has several kinds of nodes, no ``edge_index`` or ``adj_t`` beside it,
            has edges that go one way only (see ``undirected``), or an attribute of edges that
            cannot follow them, is without a ``fill`` or has another type of numbers; or one has a
            row for each edge that neither its name nor ``fill`` says is of edges.
    """

    def __init__(
        self,
        *,
        undirected: bool | None = None,
        protect_connectivity: bool = False,
        fill: Fill | None = None,
        relation: int = 1,
        seed: int = 0,
    ) -> None:
        check_undirected(undirected, type(self).__name__)
        check_bool(protect_connectivity=protect_connectivity)
        check_whole(relation=relation)  # 0 is for old edges
        check_whole(None, seed=seed)
        self.undirected = undirected
        self.protect_connectivity = protect_connectivity
        self.fill = fill
        self.relation = int(relation)
        self.seed = int(seed)

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Decide what comes and what goes.

        Args:
            graph: one graph or several side by side, on the CPU.
            data: what it was made from, for those that look at more than edges: a ``Data``, a
                ``Batch``, or a list of ``Data``.
        """
        raise NotImplementedError

    def forward(self, data: Any) -> Any:
        """Rewire a graph, a batch or a list of graphs; see the class."""
        name = type(self).__name__
        if isinstance(data, HeteroData):
            raise ValueError(f"{name} needs one kind of nodes and edges (use to_homogeneous())")
        if isinstance(data, Data):
            return self._rewired([data], data)[0]
        if isinstance(data, (Sequence, Dataset)) and not isinstance(data, str):
            graphs = list(data)
            for place, graph in enumerate(graphs):
                _require_graph(graph, f"element {place} of what {name} is given")
            return self._rewired(graphs, graphs)
        raise TypeError(
            f"{name} takes a Data, a Batch or a list of Data, got {type(data).__name__}"
        )

    def __call__(self, data: Any) -> Any:
        """Call ``forward``; PyG makes a shallow copy first, which a list has no use for."""
        return self.forward(data)

    def options(self) -> dict[str, Any]:
        """All arguments of the constructor but those of this base, as ``repr`` shows them."""
        return {}

    def __repr__(self) -> str:
        # PyG takes processed files for those of another transform by this: all arguments must show.
        shared = {
            "undirected": self.undirected,
            "protect_connectivity": self.protect_connectivity,
            "fill": shown(self.fill),
            "relation": self.relation,
            "seed": self.seed,
        }
        parts = [f"{key}={value!r}" for key, value in {**self.options(), **shared}.items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    def _rewired(self, graphs: list[Any], data: Any) -> list[Any]:
        """All graphs at once, as one; what is left to do for each is little."""
        parts = [self._edges_of(graph) for graph in graphs]
        rows = rows_of_new(graphs, self.fill, type(self).__name__)
        ptrs = [torch.from_numpy(ptr_of(graph, type(self).__name__)) for graph in graphs]
        for part, ptr in zip(parts, ptrs, strict=True):
            require_nodes(part, int(ptr[-1]))
        nodes = torch.tensor([0, *(int(ptr[-1]) for ptr in ptrs)]).cumsum(0)
        edges = torch.tensor([0, *(part.size(1) for part in parts)]).cumsum(0)
        joined = torch.cat([torch.empty(2, 0, dtype=torch.long), *parts], 1)
        joined = joined + nodes[:-1].repeat_interleave(edges.diff())
        graph = SimpleGraph.of_edges(
            joined,
            int(nodes[-1]),
            undirected=self.undirected,
            ptr=torch.cat([nodes[:1], *(p[1:] + s for p, s in zip(ptrs, nodes, strict=False))]),
            asker=type(self).__name__,
        )
        edit = self.edit(graph, data)
        removed = edit.removed
        if self.protect_connectivity:
            removed = spared(graph, edit.added, removed)
        kept = ~torch.cat([removed, torch.tensor([False])])[graph.of]  # a loop's -1: the last
        stay = kept.nonzero().flatten()
        new = torch.stack([edit.added, edit.added.flip(0)], 2).flatten(1)
        kind = torch.ones_like(edit.added[0]) if edit.kind is None else edit.kind
        # The edges that come out: of each graph those that stayed, then the new ones.
        ends = torch.cat([joined[:, stay], new], 1)
        owner = torch.searchsorted(graph.ptr, ends[0], right=True) - 1
        order = owner.argsort(stable=True)
        ends = ends[:, order]
        source = torch.cat([stay, torch.full_like(new[0], -1)])[order]
        relation = (kind - 1 + self.relation).repeat_interleave(2)
        relation = torch.cat([torch.zeros_like(stay), relation])[order]
        parent = torch.cat([_own_ids(joined, graph.ptr), torch.tensor([-1])])[source]
        of = torch.searchsorted(nodes, ends[0], right=True) - 1
        sizes = torch.bincount(of, minlength=len(graphs)).tolist()
        changed = (
            (ends - nodes[of]).split(sizes, 1),  # type: ignore[no-untyped-call]
            (source - edges[of]).masked_fill(source < 0, -1).split(sizes),  # type: ignore[no-untyped-call]
            relation.split(sizes),  # type: ignore[no-untyped-call]
            parent.split(sizes),  # type: ignore[no-untyped-call]
        )
        done = repr(self)
        rewired = [self._applied(done, *one) for one in zip(graphs, rows, *changed, strict=True)]
        if isinstance(data, Data):
            keys = [*rows[0], "edge_index", "edge_type", "parent_id"]
            _note_slices(rewired[0], keys, torch.bincount(owner, minlength=graph.num_graphs))
        return rewired

    def _edges_of(self, data: Any) -> Tensor:
        """The edges of a graph, as :func:`checked` has them."""
        if data.get("edge_index") is None:
            raise ValueError(
                f"{type(self).__name__} needs `edge_index`, got {data} (rewire before "
                "ToSparseTensor)"
            )
        return checked(data.edge_index)

    def _applied(
        self,
        done: str,
        data: Any,
        rows: dict[str, Tensor],
        ends: Tensor,
        source: Tensor,
        relation: Tensor,
        parent: Tensor,
    ) -> Any:
        """A graph with its edges.

        Args:
            done: what to note.
            data: the graph, or the batch.
            rows: what new edges have of its attributes.
            ends: ``[2, E']``, the edges; a view, as all of these.
            source: ``[E']``, where each was among the old ones, -1 for new ones.
            relation: ``[E']``, the type of new ones, 0 for the others.
            parent: ``[E']``, which of its graph's edges each was, -1 for new ones.
        """
        old = data.edge_index
        source = source.to(old.device)
        out = copy.copy(data)
        for key, row in rows.items():
            out[key] = torch.cat([data[key], row[None]])[source]
        out.edge_index = ends.to(old.device, old.dtype, copy=True)
        relation = relation.to(old.device, copy=True)
        types = data.get("edge_type")
        if types is not None:
            most = torch.iinfo(types.dtype).max
            if relation.numel() and relation.max() > most:
                raise ValueError(
                    f"`relation` must be such that {types.dtype}, as `edge_type` is, holds the "
                    f"types of new edges, got {int(relation.max())} (at most {most})"
                )
            relation = torch.cat([types, types.new_zeros(1)])[source] + relation.to(types)
        out.edge_type = relation
        if data.get("parent_id") is None:
            out.parent_id = parent.to(old.device, copy=True)
        out.rewiring = self._provenance(data, done)
        return out

    @staticmethod
    def _provenance(data: Any, done: str) -> Any:
        earlier = data.get("rewiring")
        if isinstance(earlier, list):
            return [f"{before} | {done}" for before in earlier]
        if earlier is not None:
            return f"{earlier} | {done}"
        return [done] * data.num_graphs if isinstance(data, Batch) else done


def _require_graph(data: Any, what: str) -> None:
    """Raise unless an element of a list is a graph."""
    if isinstance(data, HeteroData):
        raise ValueError(f"{what} has several kinds of nodes or edges (use to_homogeneous())")
    if isinstance(data, Batch):
        raise TypeError(f"{what} is a Batch (give it alone, or the graphs of its to_data_list())")
    if not isinstance(data, Data):
        raise TypeError(f"{what} must be a Data, got {type(data).__name__}")


def _own_ids(edges: Tensor, ptr: Tensor) -> Tensor:
    """Which of its own graph's edges each one is."""
    graph = torch.searchsorted(ptr, edges[0].contiguous(), right=True) - 1
    first = torch.bincount(graph, minlength=ptr.numel() - 1).cumsum(0).roll(1)
    first[:1] = 0
    order = graph.argsort(stable=True)
    ids = torch.empty_like(order)
    ids[order] = torch.arange(order.numel()) - first[graph[order]]
    return ids


def _note_slices(data: Any, keys: list[str], counts: Tensor) -> None:
    """Tell a batch where the edges of its graphs are.

    ``to_data_list`` finds them there, and the vectors of ``follow_batch`` say the same.
    """
    slices = torch.cat([torch.tensor([0]), counts.cumsum(0)])
    owner = torch.arange(counts.numel()).repeat_interleave(counts)
    for key in keys:
        for name, value in ((f"{key}_batch", owner), (f"{key}_ptr", slices)):
            if name in data:
                data[name] = value.to(data[name])
    if not hasattr(data, "_slice_dict"):
        return
    zeros = torch.zeros(counts.numel(), dtype=torch.long)
    data._slice_dict = {
        **data._slice_dict,
        **dict.fromkeys(keys, slices),
        "rewiring": torch.arange(counts.numel() + 1),
    }
    missing = dict.fromkeys(["edge_type", "parent_id", "rewiring"], zeros)
    data._inc_dict = {**missing, **data._inc_dict}
