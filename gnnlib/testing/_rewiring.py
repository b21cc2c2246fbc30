"""`assert_rewiring`, and the table of laws that it runs."""

from collections.abc import Callable, Mapping
from typing import Any

from gnnlib.rewiring._rewiring import Rewiring

from . import _rewiring_laws as laws
from ._report import Report, sandbox, threads
from ._rewiring_case import RewiringCase

LAWS: dict[str, Callable[[RewiringCase], None]] = {
    law.__name__: law
    for law in (
        laws.nodes,
        laws.parents,
        laws.undirected,
        laws.new_edges,
        laws.repeated_edges,
        laws.budget,
        laws.edge_types,
        laws.connectivity,
        laws.nothing_to_do,
        laws.batch,
        laws.edge_order,
        laws.one_way,
        laws.unfilled,
        laws.one_fill,
        laws.chained,
        laws.determinism,
        laws.pure_call,
        laws.representation,
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
    case = RewiringCase(make, budget, seed)
    report = Report(str(getattr(make, "__name__", make)))
    # On graphs this small, threads would wait for each other more than they work.
    with sandbox(), threads(1):
        for name, law in LAWS.items():
            if name not in skip:
                with report.law(name):
                    law(case)
    report.raise_if_broken()
