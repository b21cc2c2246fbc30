"""`assert_rewiring` passes a rewiring that obeys the laws, and names those that a fault breaks."""

import re
from typing import Any

import pytest
import torch

from gnnlib._hash import uniform
from gnnlib.rewiring import Rewiring
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.testing import assert_rewiring


class Triangles(Rewiring):
    """Joins two neighbours of a node, drawn by the seed, and removes the first edge of a graph."""

    def __init__(self, count: int = 1, **shared: Any) -> None:
        super().__init__(**shared)
        self.count = count

    def options(self) -> dict[str, Any]:
        return {"count": self.count}

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:  # noqa: ARG002
        removed = torch.zeros(graph.num_edges, dtype=torch.bool)
        first = torch.searchsorted(graph.graph_of_edge, torch.arange(graph.num_graphs))
        removed[first[first < graph.num_edges]] = True
        added = []
        for start, stop in zip(graph.ptr.tolist(), graph.ptr.tolist()[1:], strict=False):
            near = {v: self.neighbours(graph, v) for v in range(start, stop)}
            pairs = [(u, w) for v in near for u in near[v] for w in near[v] - near[u] if u < w]
            pairs = sorted(set(pairs))
            if pairs:
                draw = uniform(self.seed, torch.tensor(len(pairs)))
                added.append(pairs[int(self.where(draw) * len(pairs))])
        return Edit(torch.tensor(added, dtype=torch.long).reshape(-1, 2).t(), removed)

    def where(self, draw: Any) -> float:
        return float(draw)

    @staticmethod
    def neighbours(graph: SimpleGraph, v: int) -> set[int]:
        return set(graph.col[graph.rowptr[v] : graph.rowptr[v + 1]].tolist())


def broken_laws(make: Any, budget: Any = lambda _: (1, 1), **kwargs: Any) -> set[str]:
    with pytest.raises(AssertionError) as caught:
        assert_rewiring(make, budget=budget, **kwargs)
    return set(re.findall(r"^- (\w+)", str(caught.value), re.MULTILINE))


def test_a_rewiring_that_obeys_them_all() -> None:
    state = torch.get_rng_state()
    assert_rewiring(Triangles, budget=lambda _: (1, 1))
    assert_rewiring(Triangles, budget=lambda _: (1, 1), seed=7)
    assert torch.equal(torch.get_rng_state(), state)


class AsksChance(Triangles):
    def where(self, draw):  # noqa: ARG002
        return float(torch.rand(()))


class LooksAtBatch(Triangles):
    def edit(self, graph, data):
        return super().edit(graph, data) if graph.num_graphs == 1 else Edit.none(graph)


class HidesAnOption(Triangles):
    def options(self):
        return {}


class Repeats(Triangles):
    def forward(self, data):
        out = super().forward(data)
        for graph in out if isinstance(out, list) else [out]:
            graph.parent_id = graph.parent_id.flip(0)
        return out


class LosesWeights(Triangles):
    def forward(self, data):
        out = super().forward(data)
        for graph in out if isinstance(out, list) else [out]:
            graph.edge_weight = graph.edge_weight.flip(0)
        return out


class WritesToInput(Triangles):
    def forward(self, data):
        for graph in data if isinstance(data, list) else [data]:
            graph.x.add_(1)
        return super().forward(data)


class TypesOldEdges(Triangles):
    def forward(self, data):
        out = super().forward(data)
        for graph in out if isinstance(out, list) else [out]:
            graph.edge_type = torch.ones_like(graph.edge_type)
        return out


class TakesOneWay(Triangles):
    def __init__(self, count: int = 1, **shared: Any) -> None:
        super().__init__(count, **{**shared, "undirected": True})


class WeighsByFill(Triangles):
    def forward(self, data):
        out = super().forward(data)
        for graph in out if isinstance(out, list) else [out]:
            if not isinstance(self.fill, dict):
                graph.edge_weight = graph.edge_weight.where(graph.parent_id >= 0, self.fill)
        return out


class Fills(Triangles):
    def __init__(self, count: int = 1, **shared: Any) -> None:
        super().__init__(count, **{"fill": 0, **shared})


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (AsksChance, "determinism"),
        (LooksAtBatch, "batch"),
        (HidesAnOption, "representation"),
        (Repeats, "parents"),
        (LosesWeights, "parents"),
        (WritesToInput, "pure_call"),
        (TypesOldEdges, "edge_types"),
        (TakesOneWay, "one_way"),
        (Fills, "unfilled"),
        (WeighsByFill, "one_fill"),
    ],
)
def test_a_fault_breaks_its_law(make: Any, law: str) -> None:
    assert law in broken_laws(make)


def test_the_budget() -> None:
    assert broken_laws(Triangles, lambda _: (0, 1)) == {"budget"}
    assert broken_laws(Triangles, lambda _: (1, 0)) == {"budget"}


def test_skip() -> None:
    assert_rewiring(Triangles, budget=lambda _: (0, 0), skip={"budget": "the test is of skip"})
    with pytest.raises(ValueError, match="must name laws"):
        assert_rewiring(Triangles, budget=lambda _: (1, 1), skip={"nonesuch": "x"})
    with pytest.raises(ValueError, match="must say why"):
        assert_rewiring(Triangles, budget=lambda _: (1, 1), skip={"budget": " "})
