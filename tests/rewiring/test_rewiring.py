"""What all rewirings share: attributes follow their edges, whatever the graph comes in."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData, InMemoryDataset

from gnnlib.rewiring import Rewiring  # first: it imports PyG without warnings

# isort: split
import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric import EdgeIndex
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from gnnlib.rewiring._edit import Edit, spared
from gnnlib.rewiring._simple_graph import SimpleGraph


class Close(Rewiring):
    """Joins the first and the last node of every graph and removes its first edge."""

    def edit(self, graph: SimpleGraph, _: Any) -> Edit:
        first, last = graph.ptr[:-1], graph.ptr[1:] - 1
        ends = torch.stack([first, last])[:, first < last]
        removed = torch.zeros(graph.num_edges, dtype=torch.bool)
        removed[torch.searchsorted(graph.graph_of_edge, graph.graph_of_edge.unique())] = True
        return Edit(ends[:, graph.edge_id(ends) < 0], removed)


class Nothing(Rewiring):
    """Does nothing."""

    def edit(self, graph: SimpleGraph, _: Any) -> Edit:
        return Edit.none(graph)


class Twice(Rewiring):
    """Joins 0-2 by relation 1 and 0-3 by relation 2, and has an option."""

    def edit(self, graph: SimpleGraph, _: Any) -> Edit:
        added = torch.tensor([[0, 0], [2, 3]])
        return Edit(added, Edit.none(graph).removed, torch.tensor([1, 2]))

    def options(self) -> dict[str, Any]:
        return {"often": 2}


class Split(Rewiring):
    """Removes all edges."""

    def edit(self, graph: SimpleGraph, _: Any) -> Edit:
        return Edit(graph.ends[:, :0], torch.ones(graph.num_edges, dtype=torch.bool))


def path(size: int, **attributes: Any) -> Data:
    """A path whose edges come in both directions, next to each other."""
    steps = torch.arange(size - 1)
    edges = torch.stack([steps, steps + 1, steps + 1, steps], 1).view(-1, 2).t().contiguous()
    return Data(edge_index=edges, num_nodes=size, x=torch.arange(size)[:, None], **attributes)


def weighted(size: int) -> Data:
    edges = 2 * (size - 1)
    return path(size, edge_attr=torch.arange(2.0 * edges).view(edges, 2))


def pairs(edge_index: Tensor) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in edge_index.T.tolist()]


# -- what comes out -----------------------------------------------------------------------------


def test_edges_and_what_belongs_to_them() -> None:
    data = weighted(4)
    data.edge_weight = torch.arange(6.0)
    data.y = torch.tensor([3])
    before = data.clone()
    out = Close(fill={"edge_attr": torch.tensor([7.0, 8.0])}, relation=3)(data)
    assert pairs(out.edge_index) == [(1, 2), (2, 1), (2, 3), (3, 2), (0, 3), (3, 0)]
    assert out.parent_id.tolist() == [2, 3, 4, 5, -1, -1]
    assert out.edge_type.tolist() == [0, 0, 0, 0, 3, 3]
    assert out.edge_attr.tolist() == [[4, 5], [6, 7], [8, 9], [10, 11], [7, 8], [7, 8]]
    assert out.edge_weight.tolist() == [2, 3, 4, 5, 1, 1]
    assert torch.equal(out.x, data.x)
    assert out.y is data.y
    assert out.rewiring == repr(Close(fill={"edge_attr": torch.tensor([7.0, 8.0])}, relation=3))
    assert before.keys() == data.keys()
    tensors = [key for key, value in before if isinstance(value, Tensor)]
    assert all(torch.equal(before[key], data[key]) for key in tensors)


def test_several_relations() -> None:
    out = Twice(relation=5)(path(4))
    new = out.parent_id < 0
    assert pairs(out.edge_index[:, new]) == [(0, 2), (2, 0), (0, 3), (3, 0)]
    assert out.edge_type[new].tolist() == [5, 5, 6, 6]


def test_one_rewiring_after_another() -> None:
    once = Close()(path(4))
    again = Compose([Close(), Twice(relation=2)])(path(4))
    stayed = again.parent_id >= 0
    assert again.parent_id[stayed].tolist() == [2, 3, 4, 5]  # of the first graph
    assert again.edge_type.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert again.rewiring == f"{once.rewiring} | {Twice(relation=2)!r}"


def test_types_that_were_there_stay() -> None:
    out = Close(relation=9)(path(3, edge_type=torch.tensor([4, 4, 5, 5], dtype=torch.int32)))
    assert out.edge_type.tolist() == [5, 5, 9, 9]
    assert out.edge_type.dtype == torch.int32


def test_loops_and_repeated_edges() -> None:
    edges = torch.tensor([[0, 1, 0, 1, 1, 1, 2], [1, 0, 1, 0, 1, 2, 1]])
    data = Data(edge_index=edges, num_nodes=3)
    assert pairs(Nothing()(data).edge_index) == pairs(edges)
    out = Close()(data)  # 0-1 goes, with both of its repetitions, and the loop stays
    assert pairs(out.edge_index) == [(1, 1), (1, 2), (2, 1), (0, 2), (2, 0)]
    assert out.parent_id.tolist() == [4, 5, 6, -1, -1]


def test_edges_that_go_one_way() -> None:
    data = Data(edge_index=torch.tensor([[1, 1], [0, 2]]), num_nodes=3)
    with pytest.raises(ValueError, match=r"Close is defined on undirected.*as 1 -> 0.*undirected="):
        Close()(data)
    out = Close(undirected=True)(data)
    assert pairs(out.edge_index) == [(1, 2), (0, 2), (2, 0)]


def test_nothing_to_do() -> None:
    data = weighted(5)
    out = Nothing(fill=0)(data)
    assert torch.equal(out.edge_index, data.edge_index)
    assert torch.equal(out.edge_attr, data.edge_attr)
    assert out.parent_id.tolist() == list(range(8))
    assert not out.edge_type.any()


@pytest.mark.parametrize("size", [0, 1, 3])
def test_no_edges(size: int) -> None:
    data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=size)
    out = Close()(data)
    assert pairs(out.edge_index) == ([(0, 2), (2, 0)] if size == 3 else [])
    assert out.num_nodes == size


def test_an_edge_index_of_pyg() -> None:
    data = path(4)
    given = EdgeIndex(data.edge_index, sparse_size=(4, 4), is_undirected=True)
    out = Close()(Data(edge_index=given, num_nodes=4))
    assert type(out.edge_index) is Tensor
    assert torch.equal(out.edge_index, Close()(data).edge_index)


def test_types_of_numbers_stay() -> None:
    data = path(4, edge_attr=torch.arange(6, dtype=torch.int16))
    data.edge_index = data.edge_index.int()
    out = Close(fill=2)(data)
    assert out.edge_index.dtype == torch.int32
    assert out.edge_attr.dtype == torch.int16
    assert out.edge_attr.tolist() == [2, 3, 4, 5, 2, 2]


# -- batches and data sets ----------------------------------------------------------------------


def test_a_batch_is_its_graphs() -> None:
    graphs = [weighted(4), weighted(2), weighted(1), weighted(6)]
    rewire = Close(fill=-1)
    batch = rewire(Batch.from_data_list(graphs))
    back = batch.to_data_list()
    assert len(back) == 4
    for graph, in_batch, in_list in zip(graphs, back, rewire(graphs), strict=True):
        alone = rewire(graph)
        for key in ("edge_index", "edge_attr", "edge_type", "parent_id", "x"):
            assert torch.equal(alone[key], in_batch[key]), key
            assert torch.equal(alone[key], in_list[key]), key
        assert alone.rewiring == in_batch.rewiring == in_list.rewiring == repr(rewire)


def test_a_batch_twice() -> None:
    graphs = [weighted(4), weighted(6)]
    twice = Compose([Close(fill=0), Nothing(fill=0)])
    for graph, in_batch in zip(
        graphs, twice(Batch.from_data_list(graphs)).to_data_list(), strict=True
    ):
        alone = twice(graph)
        assert alone.rewiring == in_batch.rewiring
        assert torch.equal(alone.parent_id, in_batch.parent_id)
        assert torch.equal(alone.edge_index, in_batch.edge_index)


def test_rewired_graphs_are_batched_again() -> None:
    graphs = Close()([path(4), path(3)])
    (batch,) = DataLoader(graphs, batch_size=2)
    assert batch.parent_id.tolist() == [*graphs[0].parent_id, *graphs[1].parent_id]
    assert pairs(batch.edge_index)[-2:] == [(4, 6), (6, 4)]


def test_a_graph_with_a_batch_vector_alone() -> None:
    data = path(3)
    data.edge_index = torch.cat([data.edge_index, data.edge_index + 3], 1)
    data.num_nodes, data.x, data.batch = 6, None, torch.tensor([0, 0, 0, 1, 1, 1])
    out = Close()(data)
    assert pairs(out.edge_index) == [
        (1, 2), (2, 1), (0, 2), (2, 0), (4, 5), (5, 4), (3, 5), (5, 3),
    ]  # fmt: skip
    assert out.parent_id.tolist() == [2, 3, -1, -1, 2, 3, -1, -1]


class Paths(InMemoryDataset):
    """Three paths."""

    def __init__(self) -> None:
        super().__init__()
        self.data, self.slices = self.collate([path(size) for size in (3, 4, 5)])


def test_a_data_set_is_a_list_of_graphs() -> None:
    dataset = Paths()
    out = Close()(dataset)
    assert [graph.num_nodes for graph in out] == [3, 4, 5]
    for graph, rewired in zip(dataset, out, strict=True):
        assert torch.equal(Close()(graph).edge_index, rewired.edge_index)
    assert Close()([]) == []


# -- connectivity -------------------------------------------------------------------------------


def test_edges_that_hold_a_component_together_are_spared() -> None:
    assert Split()(path(5)).num_edges == 0
    kept = Split(protect_connectivity=True)(path(5))
    assert pairs(kept.edge_index) == pairs(path(5).edge_index)
    # The new edge holds the ring together, and the first one may go.
    assert (0, 1) not in pairs(Close(protect_connectivity=True)(path(5)).edge_index)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 25), st.integers(0, 1000), st.floats(0, 1))
def test_components_stay_as_they_were(size: int, count: int, seed: int, share: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    ends = torch.randint(size, (2, count), generator=draw)
    graph = SimpleGraph.of_edges(ends, size, undirected=True)
    removed = torch.rand(graph.num_edges, generator=draw) < share
    spare = spared(graph, graph.ends[:, :0], removed)
    assert not (spare & ~removed).any()

    def components(kept: Tensor) -> list[set[int]]:
        made = nx.Graph(pairs(graph.ends[:, kept]))
        made.add_nodes_from(range(size))
        return sorted(nx.connected_components(made), key=min)

    assert components(~spare) == components(torch.ones_like(removed))
    # No more of them than that takes.
    lost = len(components(~removed)) - len(components(~spare))
    assert int(removed.sum() - spare.sum()) == lost


# -- what is refused ----------------------------------------------------------------------------


def test_bad_graphs() -> None:
    with pytest.raises(TypeError, match="Close takes a Data, a Batch or a list of Data, got int"):
        Close()(3)
    with pytest.raises(TypeError, match="got str"):
        Close()("abc")
    with pytest.raises(
        TypeError, match="element 1 of what Close is given must be a Data, got None"
    ):
        Close()([path(3), None])
    with pytest.raises(TypeError, match=r"element 0 .* is a Batch \(.*to_data_list"):
        Close()([Batch.from_data_list([path(3)])])
    with pytest.raises(ValueError, match=r"element 1 .* several kinds of .*to_homogeneous"):
        Close()([path(3), HeteroData()])
    with pytest.raises(ValueError, match=r"one kind of nodes and edges .*to_homogeneous"):
        Close()(HeteroData())
    with pytest.raises(ValueError, match=r"Close needs `edge_index`.*ToSparseTensor"):
        Close()(Data(x=torch.ones(3, 1)))
    with pytest.raises(IndexError, match=r"must be in \[0, 2\), got 0 to 2 \(is `num_nodes`"):
        Close()(Data(edge_index=path(3).edge_index, num_nodes=2))
    with pytest.raises(TypeError, match="must hold integers"):
        Close()(Data(edge_index=path(3).edge_index.float(), num_nodes=3))
    crossing = path(4)
    crossing.batch = torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="edge between two graphs of the batch"):
        Close()(crossing)


def test_bad_fills() -> None:
    with pytest.raises(ValueError, match=r"value of `edge_attr` \[2\].*pass fill=\{'edge_attr'"):
        Close()(weighted(3))
    with pytest.raises(ValueError, match=r"`fill` of `edge_attr` must be .* row \[2\], got \[3\]"):
        Close(fill=torch.ones(3))(weighted(3))


def test_one_fill_is_not_for_weights() -> None:
    data = weighted(4)
    data.edge_weight = torch.full((6,), 5.0)
    for fill, weight in ((0, 1), ({"edge_attr": 0}, 1), ({"edge_attr": 0, "edge_weight": 3}, 3)):
        out = Close(fill=fill)(data)
        assert out.edge_attr[-2:].tolist() == [[0, 0], [0, 0]]
        assert out.edge_weight[-2:].tolist() == [weight, weight]


@pytest.mark.parametrize(
    ("kind", "fill"),
    [
        (torch.long, 0.5),
        (torch.long, float("nan")),
        (torch.uint8, -1),
        (torch.uint8, torch.tensor(256)),
        (torch.bool, 2),
        (torch.float16, 1e6),
        (torch.float32, 1j),
    ],
)
def test_a_fill_that_the_type_cannot_hold(kind: torch.dtype, fill: Any) -> None:
    with pytest.raises(ValueError, match=r"`fill` of `edge_attr` must be what its torch.* can"):
        Nothing(fill=fill)(path(3, edge_attr=torch.ones(4, dtype=kind)))


def test_a_fill_as_it_is() -> None:
    def filled(kind: torch.dtype, fill: Any) -> Any:
        out = Close(fill={"edge_attr": fill})(path(3, edge_attr=torch.ones(4, dtype=kind)))
        assert out.edge_attr.dtype == kind
        return out.edge_attr[-1].item()

    assert filled(torch.float64, 0.1) == 0.1
    assert filled(torch.float32, 0.1) == torch.tensor(0.1).item()
    assert filled(torch.long, 2**62 + 1) == 2**62 + 1
    assert filled(torch.long, torch.tensor(2.0)) == 2
    assert filled(torch.float16, float("-inf")) == float("-inf")
    assert filled(torch.float32, float("nan")) != filled(torch.float32, float("nan"))
    assert filled(torch.bool, False) is False


def test_a_fill_that_is_no_number() -> None:
    for fill in ("0", {"edge_attr": [None]}, {"edge_attr": [[1], [2, 3]]}):
        with pytest.raises(TypeError, match="`fill` of `edge_attr` must be a number or a row, got"):
            Nothing(fill=fill)(weighted(3))


def test_a_fill_of_what_is_not_there() -> None:
    message = r"must name attributes .*got \['edge_atr'\] \(there are \['edge_attr'\]\)"
    with pytest.raises(ValueError, match=message):
        Nothing(fill={"edge_attr": 0, "edge_atr": 0})(weighted(3))
    with pytest.raises(ValueError, match=r"got \['x'\]"):
        Nothing(fill={"edge_attr": 0, "x": 0})(weighted(3))
    out = Close(fill={"edge_attr": 0})([weighted(3), path(3)])  # one of them has it
    assert "edge_attr" not in out[1]
    assert Nothing(fill={"edge_attr": 0})([]) == []


def test_a_fill_shows_to_the_last_digit() -> None:
    row = torch.arange(2000.0) / 3
    data = path(3, edge_attr=torch.zeros(4, 2000))
    for fill in (row, {"edge_attr": row}):
        again = eval(repr(Close(fill=fill)), {"Close": Close})
        assert torch.equal(again(data).edge_attr[-1], row)
        assert repr(again) == repr(Close(fill=fill))


# -- what is of edges ---------------------------------------------------------------------------


def edges_follow(data: Data, key: str, **kwargs: Any) -> list[bool]:
    """Whether an attribute follows its edges, alone, in a list and in a batch with another."""
    other = weighted(5)
    other[key] = torch.zeros(8, *data[key].shape[1:]) if data[key].size(0) == 4 else data[key]
    data.edge_attr = torch.zeros(4, 2)
    rewire = Close(**kwargs)
    alone = rewire(data)
    in_list, in_batch = rewire([data, other])[0], rewire(Batch.from_data_list([data, other]))[0]
    return [
        torch.equal(out[key], data[key][out.parent_id]) and out[key].size(0) == 4
        for out in (alone, in_list, in_batch)
    ]


def test_attributes_are_of_edges_by_their_names() -> None:
    times = torch.arange(4.0)
    for key, fill in (
        ("edge_time", 3),
        ("time_of_edges", 3),
        ("time", {"edge_attr": 0, "time": 3}),
    ):
        assert edges_follow(path(3, **{key: times}), key, fill=fill) == [True] * 3
    with pytest.raises(ValueError, match="`weight` has a row for each edge, but nothing says"):
        Nothing()(path(3, weight=times))
    with pytest.raises(ValueError, match="`weight` has a row for each edge, but nothing says"):
        Nothing()([path(3, weight=times), path(2, weight=times[:2])])
    # As many nodes as edges, and one graph of many with as many edges as values.
    assert Nothing()(path(2, y=times[:2])).y.tolist() == [0, 1]
    for graphs in ([path(3, y=times), path(4, y=times)], [path(2, y=times[:2])]):
        for out in (Close()(graphs), Close()(Batch.from_data_list(graphs)).to_data_list()):
            assert all(torch.equal(a.y, b.y) for a, b in zip(out, graphs, strict=True))


def test_labels_with_an_index_of_their_own_stay() -> None:
    data = path(3, edge_label=torch.ones(4), edge_label_index=torch.zeros(2, 4, dtype=torch.long))
    for out in (Close()(data), Close()(Batch.from_data_list([data, data]))[1]):
        assert torch.equal(out.edge_label, data.edge_label)
        assert torch.equal(out.edge_label_index, data.edge_label_index)
    del data.edge_label_index
    assert Close(fill=0)(data).edge_label.tolist() == [1, 1, 0, 0]


def test_values_that_cannot_follow() -> None:
    for names in (list("abcd"), tuple("abcd"), np.zeros(4)):
        data = path(3, edge_names=names)
        for graphs in (data, [data], Batch.from_data_list([data, data])):
            with pytest.raises(ValueError, match="`edge_names` has a value for each edge, but a"):
                Nothing()(graphs)
    assert Nothing()(path(3, edge_note="four")).edge_note == "four"
    assert Nothing()(path(1, edge_names=["a", "b"])).edge_names == ["a", "b"]


@pytest.mark.parametrize("key", ["edge_type", "parent_id"])
def test_ids_of_edges_are_one_whole_number_each(key: str) -> None:
    for value, fix in (
        (torch.zeros(4, 1).long(), r"must be \[4\].*got \[4, 1\] \(use \w+.flatten"),
        (torch.zeros(3).long(), r"must be \[4\].*got \[3\]$"),
        (torch.zeros(4), r"must hold integers.*float32 \(use \w+.long"),
        (torch.zeros(4, dtype=torch.uint8), "must hold integers with a sign"),
    ):
        with pytest.raises(ValueError, match=f"`{key}` {fix}"):
            Nothing()(path(3, **{key: value}))


def test_attributes_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"`edge_attr` must have a row for each of 4 edges.*\[3\]"):
        Nothing(fill=0)(path(3, edge_attr=torch.zeros(3)))


def test_a_relation_that_the_type_cannot_hold() -> None:
    types = torch.zeros(4, dtype=torch.int8)
    assert Close(relation=127)(path(3, edge_type=types)).edge_type[-1] == 127
    with pytest.raises(ValueError, match=r"`relation` must be .*int8.*got 128"):
        Close(relation=128)(path(3, edge_type=types))


def test_a_matrix_beside_the_edges() -> None:
    for key in ("adj", "adj_t"):
        with pytest.raises(ValueError, match=rf"would leave `{key}` .*rewire before ToSparse"):
            Nothing()(path(3, **{key: torch.eye(3)}))


def test_where_the_graphs_of_a_batch_are() -> None:
    graphs = [weighted(4), weighted(1), weighted(2), weighted(6)]
    followed = ["edge_index", "edge_attr", "x"]
    out = Close(fill=0)(Batch.from_data_list(graphs, follow_batch=followed))
    expected = Batch.from_data_list(Close(fill=0)(graphs), follow_batch=followed)
    for key in (f"{name}_{end}" for name in followed for end in ("batch", "ptr")):
        assert torch.equal(out[key], expected[key]), key
    for one, other in zip(out.to_data_list(), expected.to_data_list(), strict=True):
        assert torch.equal(one.edge_attr, other.edge_attr)
        assert torch.equal(one.edge_index, other.edge_index)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`relation` must be a whole number of at least 1"):
        Close(relation=0)
    for value in (False, "no", 1):
        with pytest.raises(ValueError, match=r"Close is defined on undirected.*None .* True .*got"):
            Close(undirected=value)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"this is defined on undirected.*None .* True .*got"):
            SimpleGraph.of_edges(path(3).edge_index, undirected=value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`protect_connectivity` must be True or False, got 1"):
        Close(protect_connectivity=1)  # type: ignore[arg-type]
    for seed in (0.5, True, "0"):
        with pytest.raises(ValueError, match="`seed` must be a whole number, got"):
            Close(seed=seed)  # type: ignore[arg-type]
    assert repr(Close(seed=np.int64(3))) == repr(Close(seed=3))  # type: ignore[arg-type]


def test_all_arguments_show() -> None:
    assert repr(Twice(seed=3)) == (
        "Twice(often=2, undirected=None, protect_connectivity=False, fill=None, relation=1, seed=3)"
    )
