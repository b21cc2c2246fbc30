"""`assert_rewiring`: the laws of a rewiring, each on a fixed family of graphs."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Batch, Data  # type: ignore[import-untyped, unused-ignore]

from gnnlib.rewiring._rewiring import Rewiring

from ._report import Report, same_bits, sandbox, threads

# Nothing in the graphs has these values, so that they tell a new edge's attributes.
FILL = {"edge_attr": -7.0, "edge_weight": -5.0}
EDGE_ATTRIBUTES = ("edge_attr", "edge_weight")


@dataclass(frozen=True)
class _Case:
    make: Callable[..., Rewiring]
    budget: Callable[[Any], tuple[float, float]]
    seed: int

    def rewiring(self, **kwargs: Any) -> Rewiring:
        """A fresh rewiring; the same every time."""
        return self.make(**{"seed": self.seed, "fill": FILL, **kwargs})

    @cached_property
    def graphs(self) -> dict[str, Any]:
        """The family, by name."""
        generator = torch.Generator().manual_seed(self.seed)
        return {name: _graph(*parts, generator) for name, parts in _FAMILY.items()}

    @cached_property
    def results(self) -> dict[str, Any]:
        """What becomes of each alone."""
        return {name: self.rewiring()(data) for name, data in self.graphs.items()}

    def of_all(self, graphs: Iterable[Any], **kwargs: Any) -> list[Any]:
        """What becomes of graphs in one call, which is much faster."""
        found: list[Any] = self.rewiring(**kwargs)(list(graphs))
        return found

    def check(self, law: Callable[..., None], *more: Iterable[Any]) -> None:
        """Check a law of a graph, what became of it, and whatever else, on each of the family."""
        graphs, results = self.graphs.values(), self.results.values()
        for name, *given in zip(self.graphs, graphs, results, *more, strict=True):
            try:
                law(*given)
            except AssertionError as error:  # noqa: PERF203 (to say of which graph)
                raise AssertionError(f"{name}: {error}") from error


def _clique(*nodes: int) -> list[tuple[int, int]]:
    return [(u, v) for u in nodes for v in nodes if u < v]


def _path(*nodes: int) -> list[tuple[int, int]]:
    return list(pairwise(nodes))


_GRID = [(i, i + step) for step in (1, 4) for i in range(16) if step == 4 or i % 4 < 3]
_HUBS = _path(*range(9)) + [(0, v) for v in range(2, 15)] + [(1, v) for v in range(3, 9)]
_MIXED = [(i, (i * i + k) % 13) for i in range(13) for k in (1, 2, 5) if i != (i * i + k) % 13]

# Nodes, undirected edges, and what comes on top: edges again, and edges from a node to itself.
_FAMILY: dict[str, tuple[int, list[tuple[int, int]], list[tuple[int, int]]]] = {
    "no nodes": (0, [], []),
    "one node": (1, [], []),
    "one node with a self loop": (1, [], [(0, 0)]),
    "no edges": (4, [], []),
    "one edge": (2, [(0, 1)], []),
    "path": (8, _path(*range(8)), []),
    "cycle": (8, [*_path(*range(8)), (0, 7)], []),
    "star": (7, [(0, v) for v in range(1, 7)], []),
    "complete": (5, _clique(*range(5)), []),
    "two cliques and a bridge": (8, [*_clique(0, 1, 2, 3), (3, 4), *_clique(4, 5, 6, 7)], []),
    "grid": (16, [edge for edge in _GRID if edge[1] < 16], []),
    "tree": (11, [((v - 1) // 2, v) for v in range(1, 11)], []),
    "hubs": (15, _HUBS, []),
    "parts and isolated nodes": (13, [*_path(0, 1, 2), *_clique(4, 5, 6), *_path(7, 8, 9, 10)], []),
    "mixed": (13, _MIXED, []),
    "self loops and repeated edges": (
        11,
        [*_clique(0, 1, 2), *_path(2, 3, 4, 5, 6, 7, 2), *_path(5, 8, 9)],
        [(3, 3), (3, 3), (8, 8), (10, 10), (2, 3), (3, 2), (2, 3), (0, 1), (5, 8)],
    ),
}


def _graph(
    num_nodes: int,
    edges: list[tuple[int, int]],
    more: list[tuple[int, int]],
    generator: torch.Generator,
) -> Any:
    """A graph with its edges shuffled, and with attributes of everything."""
    pairs = sorted(set(map(tuple, map(sorted, edges))))
    both = [*pairs, *((v, u) for u, v in pairs), *more]
    edge_index = torch.tensor(both, dtype=torch.long).reshape(-1, 2).t()
    edge_index = edge_index[:, torch.randperm(len(both), generator=generator)]
    return Data(
        x=torch.rand(num_nodes, 3, generator=generator),
        y=torch.randint(3, (num_nodes,), generator=generator),
        edge_index=edge_index.contiguous(),
        edge_attr=torch.rand(len(both), 2, generator=generator),
        edge_weight=torch.rand(len(both), generator=generator),
    )


def _with_edges(data: Any, edges: Tensor) -> Any:
    """The graph with some of its edges, or all in another order."""
    out = data.clone()
    out.edge_index = data.edge_index[:, edges]
    for key in EDGE_ATTRIBUTES:
        out[key] = data[key][edges]
    return out


def _pairs(edge_index: Tensor) -> set[tuple[int, int]]:
    """The edges of a simple graph."""
    return {(min(edge), max(edge)) for edge in edge_index.t().tolist() if edge[0] != edge[1]}


def _components(data: Any) -> Any:
    """The component of every node."""
    source, target = data.edge_index.numpy()
    shape = (data.num_nodes, data.num_nodes)
    joined = coo_array((np.ones(len(source)), (source, target)), shape=shape)
    return connected_components(joined, directed=False)[1]


def _new(result: Any) -> Any:
    return result.edge_index[:, result.parent_id < 0]


def _require(holds: Any, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _same(result: Any, expected: Any, what: str, keys: tuple[str, ...] = ()) -> None:
    """Raise AssertionError unless two graphs hold the same under their keys."""
    for key in keys or sorted({*result.keys(), *expected.keys()}):
        _require(key in result and key in expected, f"`{key}` is missing {what}")
        a, b = result[key], expected[key]
        equal = same_bits(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        _require(equal, f"`{key}` differs {what}")


def nodes(case: _Case) -> None:
    """The nodes stay, and all that belongs to them."""

    def law(data: Any, result: Any) -> None:
        _require(type(result) is type(data), f"the result is a {type(result).__name__}")
        _require(result.num_nodes == data.num_nodes, f"{result.num_nodes} nodes")
        _same(result, data, "from the input", ("x", "y"))

    case.check(law)


def parents(case: _Case) -> None:
    """Old edges come first, in their order, with a `parent_id` and the attributes that it names."""

    def law(data: Any, result: Any) -> None:
        parent = result.parent_id
        _require(parent.shape == result.edge_index.shape[1:], "`parent_id` is not one an edge")
        kept = parent[parent >= 0]
        _require((parent[: kept.numel()] >= 0).all(), "a new edge comes before an old one")
        _require((kept.diff() > 0).all(), "old edges are not in their order")
        _require(not kept.numel() or kept[-1] < data.num_edges, "a `parent_id` is of no edge")
        old = result.edge_index[:, : kept.numel()]
        _require(torch.equal(old, data.edge_index[:, kept]), "`parent_id` names other edges")
        for key in EDGE_ATTRIBUTES:
            same = torch.equal(result[key][: kept.numel()], data[key][kept])
            _require(same, f"`{key}` did not follow its edges")
            new = result[key][kept.numel() :]
            _require((new == FILL[key]).all(), f"`{key}` of new edges is not the `fill`")

    case.check(law)


def undirected(case: _Case) -> None:
    """Every edge still goes both ways."""

    def law(_data: Any, result: Any) -> None:
        columns = set(map(tuple, result.edge_index.t().tolist()))
        alone = [edge for edge in columns if edge[::-1] not in columns]
        _require(not alone, f"edges go one way only: {alone[:3]}")

    case.check(law)


def new_edges(case: _Case) -> None:
    """New edges are no self loops, were not there, and come once each way."""

    def law(data: Any, result: Any) -> None:
        new = list(map(tuple, _new(result).t().tolist()))
        _require(all(u != v for u, v in new), "a new edge is a self loop")
        _require(len(set(new)) == len(new), "a new edge comes twice")
        _require(all(edge[::-1] in new for edge in new), "a new edge goes one way only")
        _require(not _pairs(data.edge_index) & _pairs(_new(result)), "a new edge was there before")

    case.check(law)


def repeated_edges(case: _Case) -> None:
    """Where an edge goes, all its repetitions go; self loops stay."""

    def law(data: Any, result: Any) -> None:
        kept = torch.zeros(data.num_edges, dtype=torch.bool)
        kept[result.parent_id[result.parent_id >= 0]] = True
        gone = data.edge_index[:, ~kept]
        _require((gone[0] != gone[1]).all(), "a self loop went")
        _require(not _pairs(gone) & _pairs(data.edge_index[:, kept]), "part of an edge went")

    case.check(law)


def budget(case: _Case) -> None:
    """No more edges come and go than `budget` says."""

    def law(data: Any, result: Any) -> None:
        before, after = _pairs(data.edge_index), _pairs(result.edge_index)
        most_added, most_removed = case.budget(data)
        added, removed = len(after - before), len(before - after)
        _require(added <= most_added, f"{added} edges came, the budget is {most_added}")
        _require(removed <= most_removed, f"{removed} edges went, the budget is {most_removed}")

    case.check(law)


def edge_types(case: _Case) -> None:
    """`edge_type` is 0 for old edges and from `relation` on for new ones."""

    def law(_data: Any, result: Any, other: Any) -> None:
        _same(result, other, "with another `relation`", ("edge_index", "parent_id"))
        for relation, found in ((1, result), (4, other)):
            new = found.parent_id < 0
            _require((found.edge_type[~new] == 0).all(), "an old edge has a type other than 0")
            _require((found.edge_type[new] >= relation).all(), "a new edge has a lower type")

    case.check(law, case.of_all(case.graphs.values(), relation=4))


def connectivity(case: _Case) -> None:
    """With `protect_connectivity`, no component is left in two."""

    def law(data: Any, _result: Any, found: Any) -> None:
        after = _components(found)
        for u, v in data.edge_index.t().tolist():
            _require(after[u] == after[v], f"{u} and {v} are no longer joined")

    case.check(law, case.of_all(case.graphs.values(), protect_connectivity=True))


def nothing_to_do(case: _Case) -> None:
    """A graph without edges stays so."""
    for name in ("no nodes", "one node", "one node with a self loop", "no edges"):
        data, result = case.graphs[name], case.results[name]
        _same(result, data, f"from the input of {name}", ("edge_index", *EDGE_ATTRIBUTES))


def batch(case: _Case) -> None:
    """A graph becomes the same alone, in a batch and in a list."""
    graphs = list(case.graphs.values())
    joined = case.rewiring()(Batch.from_data_list(graphs, follow_batch=["edge_attr"]))
    together = joined.to_data_list()
    for where, found in (("in a batch", together), ("in a list", case.of_all(graphs))):
        _require(len(found) == len(graphs), f"{len(found)} graphs came {where}")
        case.check(lambda _, alone, among, where=where: _same(among, alone, where), found)
    followed = joined.batch[joined.edge_index[0]]
    _require(torch.equal(joined.edge_attr_batch, followed), "`edge_attr_batch` is not of the edges")


def edge_order(case: _Case) -> None:
    """The order in which edges are listed does not matter."""

    def law(_data: Any, result: Any, turned: Any) -> None:
        same = _pairs(turned.edge_index) == _pairs(result.edge_index)
        _require(same, "edges listed the other way round give another graph")

    turned = [
        _with_edges(data, torch.arange(data.num_edges - 1, -1, -1)) for data in case.graphs.values()
    ]
    case.check(law, case.of_all(turned))


def one_way(case: _Case) -> None:
    """Edges that go one way are refused, unless `undirected=True` takes them for both."""

    def law(_data: Any, result: Any, half: Any, found: Any) -> None:
        kept = found.parent_id[found.parent_id >= 0]
        old = found.edge_index[:, : kept.numel()]
        _require(torch.equal(old, half.edge_index[:, kept]), "an edge lost its direction")
        same = _pairs(found.edge_index) == _pairs(result.edge_index)
        _require(same, "undirected=True gives another graph than edges both ways")

    halves = {
        name: _with_edges(data, data.edge_index[0] <= data.edge_index[1])
        for name, data in case.graphs.items()
    }
    try:
        case.rewiring()(halves["path"])
    except ValueError as error:
        _require("undirected" in str(error), f"refused without a way out: {error}")
    else:
        raise AssertionError("edges that go one way are taken without a word")
    case.check(law, halves.values(), case.of_all(halves.values(), undirected=True))


def unfilled(case: _Case) -> None:
    """Attributes of edges without a `fill` are refused by name."""
    try:
        case.make(seed=case.seed)(case.graphs["path"])
    except ValueError as error:
        _require("edge_attr" in str(error), f"refused, but for another reason: {error}")
    else:
        raise AssertionError("`edge_attr` without a `fill` is taken without a word")


def one_fill(case: _Case) -> None:
    """One `fill` for all attributes leaves `edge_weight` of new edges at 1."""

    def law(_data: Any, _result: Any, found: Any) -> None:
        new = found.parent_id < 0
        _require((found.edge_attr[new] == -7).all(), "`edge_attr` of new edges is not the `fill`")
        _require((found.edge_weight[new] == 1).all(), "`edge_weight` of new edges is not 1")

    case.check(law, case.of_all(case.graphs.values(), fill=-7.0))


def chained(case: _Case) -> None:
    """After a second rewiring, edges still tell where they are from."""
    done = repr(case.rewiring())

    def law(data: Any, _result: Any, twice: Any) -> None:
        old = twice.parent_id >= 0
        same = torch.equal(twice.edge_index[:, old], data.edge_index[:, twice.parent_id[old]])
        _require(same, "`parent_id` does not count from the first")
        _require(torch.equal(old, twice.edge_type == 0), "`edge_type` is of the last alone")
        _require(twice.rewiring == f"{done} | {done}", f"`rewiring` says {twice.rewiring}")

    case.check(law, case.of_all(case.results.values()))


def determinism(case: _Case) -> None:
    """The same seed gives the same graph, on any number of threads and in any state of chance."""
    for count in (1, 2):
        torch.manual_seed(count)
        state = torch.get_rng_state()
        with threads(count):
            found = case.of_all(case.graphs.values())
        case.check(lambda _, result, again: _same(again, result, "on another call"), found)
        _require(torch.equal(torch.get_rng_state(), state), "the global random state was used")


def pure_call(case: _Case) -> None:
    """The input is left as it was."""

    def law(data: Any, _result: Any, given: Any, held: Any) -> None:
        _require(given.keys() == data.keys(), f"the input has the keys {given.keys()}")
        _require(all(given[key] is value for key, value in held.items()), "a value was replaced")
        _same(given, data, "in the input after the call")

    given = [data.clone() for data in case.graphs.values()]
    held = [dict(data.items()) for data in given]
    case.of_all(given)
    case.check(law, given, held)


def representation(case: _Case) -> None:
    """`repr` holds every argument of the constructor, and makes the same again."""
    rewiring = case.rewiring()
    shown, kind = repr(rewiring), type(rewiring)
    parameters = inspect.signature(kind.__init__).parameters | dict(
        inspect.signature(Rewiring.__init__).parameters
    )
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [n for n, p in parameters.items() if n != "self" and p.kind not in variadic]
    missing = [name for name in names if f"{name}=" not in shown]
    _require(not missing, f"{shown} lacks {missing}")
    again = repr(eval(shown, {kind.__name__: kind, "tensor": torch.tensor, "inf": float("inf")}))
    _require(again == shown, f"{shown} makes {again}")


LAWS: dict[str, Callable[[_Case], None]] = {
    law.__name__: law
    for law in (
        nodes,
        parents,
        undirected,
        new_edges,
        repeated_edges,
        budget,
        edge_types,
        connectivity,
        nothing_to_do,
        batch,
        edge_order,
        one_way,
        unfilled,
        one_fill,
        chained,
        determinism,
        pure_call,
        representation,
    )
}


def assert_rewiring(
    make: Callable[..., Rewiring],
    *,
    budget: Callable[[Any], tuple[float, float]],
    skip: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Check that a rewiring obeys every law, on a fixed family of graphs.

    Among them are graphs of no node, one node and no edge, paths, stars, grids and complete graphs,
    with isolated nodes, several components, self loops and repeated edges. All have `edge_attr`,
    `edge_weight`, `x [N, 3]` and `y [N]`. The laws, by name:

    - `nodes`: the nodes stay, and all that belongs to them.
    - `parents`: old edges come first, in their order; `parent_id` names them, is -1 for new ones,
      and attributes follow it, new ones being what `fill` says.
    - `undirected`: every edge still goes both ways.
    - `new_edges`, `repeated_edges`: new edges are no self loops, were not there and come once;
      where an edge goes, all its repetitions go, and self loops stay.
    - `budget`: no more edges come and go than allowed.
    - `edge_types`: `edge_type` is 0 for old edges and from `relation` on for new ones.
    - `connectivity`: with `protect_connectivity`, no component is left in two.
    - `nothing_to_do`: a graph without edges, or with self loops alone, stays so.
    - `batch`: a graph becomes the same alone, in a batch and in a list.
    - `edge_order`: the order in which edges are listed does not matter.
    - `one_way`: edges that go one way are refused, or taken for both if `undirected=True`.
    - `unfilled`: attributes of edges without a `fill` are refused by name.
    - `one_fill`: one `fill` for all attributes leaves `edge_weight` of new edges at 1.
    - `chained`: after a second rewiring, edges still tell where they are from.
    - `determinism`: the same seed gives the same graph, on one thread or two, whatever the global
      random state, which stays.
    - `pure_call`: the input is left as it was.
    - `representation`: `repr` holds every argument of the constructor and makes the same again.

    Args:
        make: `make(**kwargs)` returns a fresh rewiring; a class of rewirings is one. It is called
            with the arguments that :class:`gnnlib.rewiring.Rewiring` has.
        budget: The most undirected edges that may come to a graph, and that may go.
        skip: Laws not to check, each with the reason why it does not apply.
        seed: Of the graphs and of the rewiring; the global random state is left alone.

    Raises:
        AssertionError: If laws are broken; it names each with what went wrong.
        ValueError: If `skip` names no law, or gives no reason.

    Example:
        >>> from gnnlib.rewiring import Rewiring
        >>> from gnnlib.rewiring._edit import Edit
        >>> class Leave(Rewiring):
        ...     def edit(self, graph, data):
        ...         return Edit.none(graph)
        >>> assert_rewiring(Leave, budget=lambda data: (0, 0))
    """
    skip = skip or {}
    if unknown := sorted(set(skip) - set(LAWS)):
        raise ValueError(f"`skip` must name laws, got {unknown} (the laws are {list(LAWS)})")
    if silent := sorted(name for name, reason in skip.items() if not reason.strip()):
        raise ValueError(f"`skip` must say why, got no reason for {silent}")
    case = _Case(make, budget, seed)
    report = Report(str(getattr(make, "__name__", make)))
    # On graphs this small, threads would wait for each other more than they work.
    with sandbox(), threads(1):
        for name, law in LAWS.items():
            if name not in skip:
                with report.law(name):
                    law(case)
    report.raise_if_broken()
