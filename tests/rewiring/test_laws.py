"""Every rewiring obeys the laws, and meets graphs that it can do nothing with as documented."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.utils import to_undirected

import gnnlib.rewiring
from gnnlib.rewiring import Rewiring
from gnnlib.testing import assert_rewiring


class Row(NamedTuple):
    """How a method is tried.

    Attributes:
        usual: arguments of its constructor.
        budget: how many edges may come and go with those, at most.
        greedy: arguments that ask for far more than there is in a small graph.
        keeps: whether no edge goes.
    """

    usual: dict[str, Any]
    budget: Callable[[Data], tuple[float, float]]
    greedy: dict[str, Any]
    keeps: bool = False


TABLE = {
    "AFRC": Row(
        {"n_iter": 1},
        lambda data: (data.num_edges, data.num_edges),
        {"n_iter": 5, "thresholds": (0.0, 1.0)},
    ),
    "BORF": Row(
        {"n_iter": 2, "batch_add": 3, "batch_remove": 1},
        lambda _: (6, 2),
        {"n_iter": 3, "batch_add": 99, "batch_remove": 99},
    ),
    "FoSR": Row({"num_iterations": 4}, lambda _: (4, 0), {"num_iterations": 300}, keeps=True),
    "LASER": Row(
        {"num_snapshots": 3},
        lambda _: (math.inf, 0),
        {"num_snapshots": 9, "additions_factor": 1.0},
        keeps=True,
    ),
    "PIORF": Row(
        {"field": "x", "delta": 20},
        lambda data: (data.num_nodes // 5, 0),
        {"field": "x", "delta": 100},
        keeps=True,
    ),
    "SDRF": Row({"max_steps": 3}, lambda _: (3, 3), {"max_steps": 300}),
}

METHODS = {
    name: method
    for name, method in vars(gnnlib.rewiring).items()
    if isinstance(method, type) and issubclass(method, Rewiring) and method is not Rewiring
}
every_method = pytest.mark.parametrize("name", METHODS)


def test_the_table_has_every_method() -> None:
    assert set(METHODS) == set(TABLE)


def make(name: str, **kwargs: Any) -> Rewiring:
    return METHODS[name](**{**TABLE[name].usual, **kwargs})


@every_method
def test_laws(name: str) -> None:
    assert_rewiring(lambda **kwargs: make(name, **kwargs), budget=TABLE[name].budget)


@every_method
def test_laws_where_the_budget_is_larger_than_the_graph(name: str) -> None:
    removed = 0 if TABLE[name].keeps else math.inf
    assert_rewiring(
        lambda **kwargs: make(name, **{**TABLE[name].greedy, **kwargs}),
        budget=lambda _: (math.inf, removed),
    )


def graph(num_nodes: int, edges: list[tuple[int, int]], **attributes: Any) -> Data:
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    x = torch.arange(num_nodes).double()[:, None]
    return Data(x=x, edge_index=to_undirected(edge_index, num_nodes=num_nodes), **attributes)


PATH = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


@every_method
@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_complete_graph_gets_no_edge(name: str, size: int) -> None:
    data = graph(size, [(u, v) for u in range(size) for v in range(u)])
    for arguments in ({}, TABLE[name].greedy):
        rewired = make(name, **arguments)(data)
        assert (rewired.parent_id >= 0).all()
        assert rewired.num_edges <= data.num_edges


@every_method
def test_isolated_nodes_stay_the_last_included(name: str) -> None:
    rewired = make(name)(graph(9, PATH))
    assert rewired.num_nodes == 9


def between_graphs() -> Batch:
    batch = Batch.from_data_list([graph(6, PATH), graph(6, PATH)])
    batch.edge_index[:, 0] = torch.tensor([0, 11])
    batch.edge_index[:, 1] = torch.tensor([11, 0])
    return batch


BAD = {
    "a matrix": (lambda: torch.eye(3), TypeError, "takes a Data, a Batch or a list"),
    "a list of other things": (lambda: [1, 2], TypeError, "element 0 .* must be a Data"),
    "several kinds of nodes": (HeteroData, ValueError, "one kind of nodes"),
    "no edges": (lambda: Data(num_nodes=3), ValueError, "needs `edge_index`"),
    "edges of floats": (
        lambda: Data(edge_index=torch.zeros(2, 2), num_nodes=2),
        TypeError,
        "must hold integers",
    ),
    "three ends": (
        lambda: Data(edge_index=torch.zeros(3, 2, dtype=torch.long), num_nodes=2),
        ValueError,
        r"must be \[2, E\]",
    ),
    "a node too many": (
        lambda: Data(edge_index=torch.tensor([[0, 5], [5, 0]]), num_nodes=3),
        IndexError,
        r"must be in \[0, 3\)",
    ),
    "edges one way": (
        lambda: Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 1], [1, 2]])),
        ValueError,
        "pass undirected=True",
    ),
    "edges between graphs": (between_graphs, ValueError, "between two graphs"),
    "attributes without a fill": (
        lambda: graph(6, PATH, edge_attr=torch.ones(10, 2)),
        ValueError,
        "pass fill=",
    ),
}


@every_method
@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_a_clear_error(name: str, bad: str) -> None:
    data, error, message = BAD[bad]
    with pytest.raises(error, match=message):
        make(name)(data())


@every_method
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"undirected": False}, "must be None .* or True"),
        ({"relation": 0}, "whole number of at least 1"),
    ],
)
def test_bad_arguments_of_all(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **arguments)


NUMBERS = [
    (name, argument)
    for name, row in TABLE.items()
    for argument, value in {**row.usual, **row.greedy, "relation": 1, "seed": 0}.items()
    if isinstance(value, (int, float))
]


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_arguments_are_numbers(name: str, argument: str) -> None:
    usual = getattr(make(name), argument)
    for value in ("1", True, None, float("nan")):
        with pytest.raises(ValueError, match=f"`{argument}` must be a (whole )?number"):
            make(name, **{argument: value})
    of_numpy = (np.int64 if isinstance(usual, int) else np.float64)(usual)
    assert repr(make(name, **{argument: of_numpy})) == repr(make(name))


@every_method
def test_a_fill_of_another_width(name: str) -> None:
    with pytest.raises(ValueError, match="must be a number or a row"):
        make(name, fill=torch.ones(3))(graph(6, PATH, edge_attr=torch.ones(10, 2)))
