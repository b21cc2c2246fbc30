"""The laws of a rewiring, each of a fixed family of graphs."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch  # type: ignore[import-untyped, unused-ignore]

from gnnlib.rewiring._rewiring import Rewiring

from ._report import same_bits, threads
from ._rewiring_case import (
    EDGE_ATTRIBUTES,
    FILL,
    RewiringCase,
    components_of,
    new_edges_of,
    pairs_of,
    with_edges,
)


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


def nodes(case: RewiringCase) -> None:
    """The nodes stay, and all that belongs to them."""

    def law(data: Any, result: Any) -> None:
        _require(type(result) is type(data), f"the result is a {type(result).__name__}")
        _require(result.num_nodes == data.num_nodes, f"{result.num_nodes} nodes")
        _same(result, data, "from the input", ("x", "y"))

    case.check(law)


def parents(case: RewiringCase) -> None:
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


def undirected(case: RewiringCase) -> None:
    """Every edge still goes both ways."""

    def law(_data: Any, result: Any) -> None:
        columns = set(map(tuple, result.edge_index.t().tolist()))
        alone = [edge for edge in columns if edge[::-1] not in columns]
        _require(not alone, f"edges go one way only: {alone[:3]}")

    case.check(law)


def new_edges(case: RewiringCase) -> None:
    """New edges are no self loops, were not there, and come once each way."""

    def law(data: Any, result: Any) -> None:
        new = list(map(tuple, new_edges_of(result).t().tolist()))
        _require(all(u != v for u, v in new), "a new edge is a self loop")
        _require(len(set(new)) == len(new), "a new edge comes twice")
        _require(all(edge[::-1] in new for edge in new), "a new edge goes one way only")
        _require(
            not pairs_of(data.edge_index) & pairs_of(new_edges_of(result)),
            "a new edge was there before",
        )

    case.check(law)


def repeated_edges(case: RewiringCase) -> None:
    """Where an edge goes, all its repetitions go; self loops stay."""

    def law(data: Any, result: Any) -> None:
        kept = torch.zeros(data.num_edges, dtype=torch.bool)
        kept[result.parent_id[result.parent_id >= 0]] = True
        gone = data.edge_index[:, ~kept]
        _require((gone[0] != gone[1]).all(), "a self loop went")
        _require(not pairs_of(gone) & pairs_of(data.edge_index[:, kept]), "part of an edge went")

    case.check(law)


def budget(case: RewiringCase) -> None:
    """No more edges come and go than `budget` says."""

    def law(data: Any, result: Any) -> None:
        before, after = pairs_of(data.edge_index), pairs_of(result.edge_index)
        most_added, most_removed = case.budget(data)
        added, removed = len(after - before), len(before - after)
        _require(added <= most_added, f"{added} edges came, the budget is {most_added}")
        _require(removed <= most_removed, f"{removed} edges went, the budget is {most_removed}")

    case.check(law)


def edge_types(case: RewiringCase) -> None:
    """`edge_type` is 0 for old edges and from `relation` on for new ones."""

    def law(_data: Any, result: Any, other: Any) -> None:
        _same(result, other, "with another `relation`", ("edge_index", "parent_id"))
        for relation, found in ((1, result), (4, other)):
            new = found.parent_id < 0
            _require((found.edge_type[~new] == 0).all(), "an old edge has a type other than 0")
            _require((found.edge_type[new] >= relation).all(), "a new edge has a lower type")

    case.check(law, case.of_all(case.graphs.values(), relation=4))


def connectivity(case: RewiringCase) -> None:
    """With `protect_connectivity`, no component is left in two."""

    def law(data: Any, _result: Any, found: Any) -> None:
        after = components_of(found)
        for u, v in data.edge_index.t().tolist():
            _require(after[u] == after[v], f"{u} and {v} are no longer joined")

    case.check(law, case.of_all(case.graphs.values(), protect_connectivity=True))


def nothing_to_do(case: RewiringCase) -> None:
    """A graph without edges stays so."""
    for name in ("no nodes", "one node", "one node with a self loop", "no edges"):
        data, result = case.graphs[name], case.results[name]
        _same(result, data, f"from the input of {name}", ("edge_index", *EDGE_ATTRIBUTES))


def batch(case: RewiringCase) -> None:
    """A graph becomes the same alone, in a batch and in a list."""
    graphs = list(case.graphs.values())
    joined = case.rewiring()(Batch.from_data_list(graphs, follow_batch=["edge_attr"]))
    together = joined.to_data_list()
    for where, found in (("in a batch", together), ("in a list", case.of_all(graphs))):
        _require(len(found) == len(graphs), f"{len(found)} graphs came {where}")
        case.check(lambda _, alone, among, where=where: _same(among, alone, where), found)
    followed = joined.batch[joined.edge_index[0]]
    _require(torch.equal(joined.edge_attr_batch, followed), "`edge_attr_batch` is not of the edges")


def edge_order(case: RewiringCase) -> None:
    """The order in which edges are listed does not matter."""

    def law(_data: Any, result: Any, turned: Any) -> None:
        same = pairs_of(turned.edge_index) == pairs_of(result.edge_index)
        _require(same, "edges listed the other way round give another graph")

    turned = [
        with_edges(data, torch.arange(data.num_edges - 1, -1, -1)) for data in case.graphs.values()
    ]
    case.check(law, case.of_all(turned))


def one_way(case: RewiringCase) -> None:
    """Edges that go one way are refused, unless `undirected=True` takes them for both."""

    def law(_data: Any, result: Any, half: Any, found: Any) -> None:
        kept = found.parent_id[found.parent_id >= 0]
        old = found.edge_index[:, : kept.numel()]
        _require(torch.equal(old, half.edge_index[:, kept]), "an edge lost its direction")
        same = pairs_of(found.edge_index) == pairs_of(result.edge_index)
        _require(same, "undirected=True gives another graph than edges both ways")

    halves = {
        name: with_edges(data, data.edge_index[0] <= data.edge_index[1])
        for name, data in case.graphs.items()
    }
    try:
        case.rewiring()(halves["path"])
    except ValueError as error:
        _require("undirected" in str(error), f"refused without a way out: {error}")
    else:
        raise AssertionError("edges that go one way are taken without a word")
    case.check(law, halves.values(), case.of_all(halves.values(), undirected=True))


def unfilled(case: RewiringCase) -> None:
    """Attributes of edges without a `fill` are refused by name."""
    try:
        case.make(seed=case.seed)(case.graphs["path"])
    except ValueError as error:
        _require("edge_attr" in str(error), f"refused, but for another reason: {error}")
    else:
        raise AssertionError("`edge_attr` without a `fill` is taken without a word")


def one_fill(case: RewiringCase) -> None:
    """One `fill` for all attributes leaves `edge_weight` of new edges at 1."""

    def law(_data: Any, _result: Any, found: Any) -> None:
        new = found.parent_id < 0
        _require((found.edge_attr[new] == -7).all(), "`edge_attr` of new edges is not the `fill`")
        _require((found.edge_weight[new] == 1).all(), "`edge_weight` of new edges is not 1")

    case.check(law, case.of_all(case.graphs.values(), fill=-7.0))


def chained(case: RewiringCase) -> None:
    """After a second rewiring, edges still tell where they are from."""
    done = repr(case.rewiring())

    def law(data: Any, _result: Any, twice: Any) -> None:
        old = twice.parent_id >= 0
        same = torch.equal(twice.edge_index[:, old], data.edge_index[:, twice.parent_id[old]])
        _require(same, "`parent_id` does not count from the first")
        _require(torch.equal(old, twice.edge_type == 0), "`edge_type` is of the last alone")
        _require(twice.rewiring == f"{done} | {done}", f"`rewiring` says {twice.rewiring}")

    case.check(law, case.of_all(case.results.values()))


def determinism(case: RewiringCase) -> None:
    """The same seed gives the same graph, on any number of threads and in any state of chance."""
    for count in (1, 2):
        torch.manual_seed(count)
        state = torch.get_rng_state()
        with threads(count):
            found = case.of_all(case.graphs.values())
        case.check(lambda _, result, again: _same(again, result, "on another call"), found)
        _require(torch.equal(torch.get_rng_state(), state), "the global random state was used")


def pure_call(case: RewiringCase) -> None:
    """The input is left as it was."""

    def law(data: Any, _result: Any, given: Any, held: Any) -> None:
        _require(given.keys() == data.keys(), f"the input has the keys {given.keys()}")
        _require(all(given[key] is value for key, value in held.items()), "a value was replaced")
        _same(given, data, "in the input after the call")

    given = [data.clone() for data in case.graphs.values()]
    held = [dict(data.items()) for data in given]
    case.of_all(given)
    case.check(law, given, held)


def representation(case: RewiringCase) -> None:
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
