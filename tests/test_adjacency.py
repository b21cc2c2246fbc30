"""An adjacency is its edges, grouped; it is found again for its tensor, and for no other graph."""

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from gnnlib import Adjacency, Edges  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric import EdgeIndex

from gnnlib.ops import gather_reduce, k_hop

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")  # that CSR and CSC are in beta
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)

SRC, DST = [3, 0, 2, 3, 0, 3], [1, 4, 1, 0, 1, 1]
SIZE = (4, 5)


def edge_list() -> Tensor:
    return torch.tensor([SRC, DST])


def grouped(src: list[int], dst: list[int], num_dst: int) -> tuple[list[int], ...]:
    """CSR by its definition: for each target in turn, its edges in the caller's order."""
    rowptr, col, perm = [0], [], []
    for i in range(num_dst):
        edges = [e for e, target in enumerate(dst) if target == i]
        col += [src[e] for e in edges]
        perm += edges
        rowptr.append(len(perm))
    return rowptr, col, perm


def arrays(adj: Adjacency) -> tuple[list[int], ...]:
    perm = torch.arange(adj.num_edges) if adj.perm is None else adj.perm
    return adj.rowptr.tolist(), adj.col.tolist(), perm.tolist()


class SparseTensor:
    """What is asked of `torch_sparse.SparseTensor`."""

    def __init__(self, rowptr: Tensor, col: Tensor, value: Tensor | None, size: Any) -> None:
        self.parts, self.size = (rowptr, col, value), size

    def csr(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.parts

    def sparse_sizes(self) -> tuple[int, int]:
        return self.size


# What it is -------------------------------------------------------------------------------------


@QUICK
@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_groups_edges_by_target_stably(num_src: int, num_dst: int, data: Any) -> None:
    edge = st.tuples(st.integers(0, num_src - 1), st.integers(0, num_dst - 1))
    edges = data.draw(st.lists(edge, max_size=30))
    src, dst = [j for j, _ in edges], [i for _, i in edges]
    edge_index = torch.tensor([src, dst], dtype=torch.long)
    adj = Adjacency.of(edge_index, (num_src, num_dst))
    assert (adj.num_src, adj.num_dst, adj.num_edges) == (num_src, num_dst, len(edges))
    assert arrays(adj) == grouped(src, dst, num_dst)
    assert arrays(adj.T)[0] == grouped(dst, src, num_src)[0]
    # A GPU would have to wait for what the order is.
    assert (adj.perm is None) == (dst == sorted(dst) and adj.device.type == "cpu")
    assert adj.degree.tolist() == [dst.count(i) for i in range(num_dst)]
    assert torch.equal(adj.edge_index, edge_index)
    assert torch.equal(adj.T.edge_index, edge_index.flip(0))


@pytest.mark.cpu_only("threads")
def test_is_the_same_on_any_number_of_threads() -> None:
    edge_index = torch.randint(1000, (2, 100_000), generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            adj = Adjacency.of(edge_index.clone(), 1000)
            found.append([adj.rowptr, adj.col, adj.perm, adj.T.rowptr, adj.T.col, adj.T.perm])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][2], edge_index[1].argsort(stable=True))
    assert all(map(torch.equal, found[0], found[1]))
    assert all(map(torch.equal, found[0], found[2]))


def test_knows_an_empty_graph() -> None:
    none = torch.empty(2, 0, dtype=torch.long)
    for size in (0, 3, (0, 3), (3, 0)):
        adj = Adjacency.of(none, size)
        num_src, num_dst = (size, size) if isinstance(size, int) else size
        assert arrays(adj) == ([0] * (num_dst + 1), [], [])
        assert arrays(adj.T) == ([0] * (num_src + 1), [], [])
        assert adj.edge_index.shape == (2, 0)
    assert repr(Adjacency.of(none)) == "Adjacency(num_src=0, num_dst=0, num_edges=0)"


def test_its_transpose_is_the_edges_the_other_way() -> None:
    adj = Adjacency.of(edge_list(), SIZE)
    assert (adj.T.num_src, adj.T.num_dst) == SIZE[::-1]
    assert adj.T is adj.T
    assert adj.T.T is adj
    # Grouped by source; within a source by target, and there in the caller's order.
    assert adj.T.rowptr.tolist() == [0, 2, 2, 3, 6]
    assert adj.T.col.tolist() == [1, 4, 1, 0, 1, 1]
    assert adj.T.perm is not None
    assert adj.T.perm.tolist() == [4, 1, 2, 3, 0, 5]


def test_a_transpose_outlives_what_it_came_from() -> None:
    transpose = Adjacency.of(edge_list(), SIZE).T
    gc.collect()
    assert torch.equal(transpose.T.edge_index, edge_list())
    assert transpose.T is transpose.T
    assert transpose.T.T is transpose


def test_does_not_see_later_edits() -> None:
    dense = torch.zeros(SIZE[::-1]).index_put((torch.tensor(DST), torch.tensor(SRC)), torch.ones(1))
    by_target = torch.tensor(DST).sort(stable=True).indices
    rowptr, col = dense.to_sparse_csr().crow_indices(), dense.to_sparse_csr().col_indices()
    csr, coo = dense.to_sparse_csr(), dense.to_sparse_coo()
    plain, ordered = edge_list(), edge_list()[:, by_target]
    pyg = EdgeIndex(ordered.clone(), sparse_size=SIZE, sort_order="col")
    for edges, tensors in (
        (plain, [plain]),
        (ordered, [ordered]),
        (pyg, [pyg.as_tensor()]),
        (csr, [csr.crow_indices(), csr.col_indices()]),
        (coo, [coo._indices()]),
        (SparseTensor(rowptr, col, None, SIZE[::-1]), [rowptr, col]),
    ):
        adj = Adjacency.of(edges, SIZE)
        before = arrays(adj), arrays(adj.T)
        for t in tensors:
            t.zero_()
        assert (arrays(adj), arrays(adj.T)) == before


# What it is built from ----------------------------------------------------------------------------


SPARSE = ["COO", "COO coalesced", "CSR", "CSC"]
TENSORS = ["int64", "int32", "int8", "strided", "EdgeIndex", "EdgeIndex by row", "EdgeIndex by col"]
TENSORS += SPARSE


def kinds() -> dict[str, Any]:
    """The same simple graph in every form, with the order of its edges."""
    edge_index = torch.tensor([[3, 0, 2, 3, 0], [1, 4, 1, 0, 1]])
    values = torch.arange(1.0, 6.0)
    adj_t = torch.sparse_coo_tensor(edge_index.flip(0), values, SIZE[::-1])
    csr = adj_t.coalesce().to_sparse_csr()
    pyg = EdgeIndex(edge_index, sparse_size=SIZE)
    return {
        "int64": edge_index,
        "int32": edge_index.int(),
        "int8": edge_index.to(torch.int8),
        "strided": torch.stack([edge_index, edge_index], -1)[..., 0],
        "EdgeIndex": pyg,
        "EdgeIndex by row": pyg.sort_by("row").values,
        "EdgeIndex by col": pyg.sort_by("col").values,
        "COO": adj_t,
        "COO coalesced": adj_t.coalesce(),
        "CSR": csr,
        "CSC": adj_t.to_sparse_csc(),
        "SparseTensor": SparseTensor(
            csr.crow_indices(), csr.col_indices(), csr.values(), SIZE[::-1]
        ),
    }


@pytest.mark.parametrize("kind", [*TENSORS, "SparseTensor"])
@pytest.mark.parametrize("size", [None, SIZE])
def test_takes_every_kind_of_graph(kind: str, size: Any) -> None:
    edges = kinds()[kind]
    adj = Adjacency.of(edges, size)
    square = (
        size is None and isinstance(edges, Tensor) and kind in ("int64", "int32", "int8", "strided")
    )
    assert (adj.num_src, adj.num_dst) == ((5, 5) if square else SIZE)
    pairs = sorted(zip(*adj.edge_index.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 4), (2, 1), (3, 0), (3, 1)]
    x = torch.arange(float(adj.num_src))
    assert gather_reduce(x, adj).tolist() == [3, 5, 0, 0, 0]
    assert gather_reduce(torch.arange(5.0), adj.T)[:4].tolist() == [5, 0, 1, 1]
    if isinstance(edges, Tensor) and edges.layout == torch.strided:
        order = edges.as_tensor() if isinstance(edges, EdgeIndex) else edges
        assert torch.equal(adj.edge_index, order.long())
    assert Adjacency.of(adj, size) is adj


@pytest.mark.parametrize("kind", [*SPARSE, "SparseTensor"])
def test_values_of_a_sparse_matrix_are_weights(kind: str) -> None:
    edges = Edges.of(kinds()[kind])
    assert edges.weight is not None
    # Source and target of each value, in the order in which the matrix stores it.
    found = dict(
        zip(zip(*edges.edge_index.tolist(), strict=True), edges.weight.tolist(), strict=True)
    )
    assert found == {(3, 1): 1, (0, 4): 2, (2, 1): 3, (3, 0): 4, (0, 1): 5}
    given = Edges.of(kinds()[kind], torch.ones(5))
    assert given.weight is not None
    assert given.weight.tolist() == [1] * 5


def test_asks_no_more_of_an_edge_index_than_it_knows() -> None:
    for order in (None, "row", "col"):
        pyg = EdgeIndex([[0, 1, 2], [0, 1, 2]], sort_order=order)
        assert gather_reduce(torch.ones(7), pyg).tolist() == [1, 1, 1, 0, 0, 0, 0]
        assert pyg.sparse_size() == (None, None)  # or PyG would refuse seven nodes
        assert Adjacency.of(pyg).num_dst == 3
        assert pyg.sparse_size() == (None, None)
    pyg = EdgeIndex([[0, 1, 2], [0, 1, 2]], sparse_size=(3, None))
    assert (Adjacency.of(pyg, (3, 4)).num_src, Adjacency.of(pyg, (3, 4)).num_dst) == (3, 4)


def test_a_size_may_be_that_of_a_tensor_being_exported() -> None:
    class Sum(torch.nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return gather_reduce(x, Adjacency.of(edge_index, (x.size(0), x.size(0) + 2)))

    auto = torch.export.Dim.AUTO
    example = torch.ones(5, 2), torch.randint(5, (2, 7))
    program = torch.export.export(Sum(), example, dynamic_shapes=({0: auto}, {1: auto}))
    assert program.module()(torch.ones(6, 2), torch.tensor([[0, 5], [7, 7]])).shape == (8, 2)


def csr(rowptr: list[int], col: list[int], size: tuple[int, int]) -> Tensor:
    values = torch.ones(len(col))
    parts = torch.tensor(rowptr), torch.tensor(col, dtype=torch.long), values
    return torch.sparse_csr_tensor(*parts, size, check_invariants=False)


def duck(rowptr: list[int], col: list[int], size: tuple[int, int]) -> SparseTensor:
    return SparseTensor(torch.tensor(rowptr), torch.tensor(col, dtype=torch.long), None, size)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Adjacency.of(edge_list().float()),
            TypeError,
            r"got torch.float32 \(use edge_index.l",
        ),
        (lambda: Adjacency.of(edge_list().bool()), TypeError, "integer node ids, got torch.bool"),
        (lambda: Adjacency.of(torch.empty(2, 0)), TypeError, "got torch.float32"),
        (lambda: Adjacency.of(edge_list().t()), ValueError, r"\[2, E\], got \[6, 2\] \(is it tran"),
        (lambda: Adjacency.of(edge_list()[0]), ValueError, r"\[2, E\], got \[6\]"),
        (lambda: Adjacency.of(torch.zeros(2, 3, 1).long()), ValueError, r"got \[2, 3, 1\]"),
        (lambda: Adjacency.of(torch.tensor([[0], [-1]])), IndexError, r"got -1 \(a negative id"),
        (lambda: Adjacency.of(torch.tensor([[-7], [-1]])), IndexError, "got -7"),
        (
            lambda: Adjacency.of(edge_list(), 4),
            IndexError,
            r"target nodes in \[0, 4\), got 4 \(does",
        ),
        (lambda: Adjacency.of(edge_list(), (3, 5)), IndexError, r"source nodes in \[0, 3\), got 3"),
        (lambda: Adjacency.of(edge_list(), -1), ValueError, "`size` must not be negative"),
        (lambda: Adjacency.of(edge_list().tolist()), TypeError, "or Adjacency, got list"),
        (lambda: Adjacency.of(None), TypeError, "got NoneType"),
        (
            lambda: Adjacency.of(Adjacency.of(edge_list(), SIZE), 5),
            ValueError,
            r"\(4, 5\), got \(5, 5\)",
        ),
        (lambda: Adjacency.of(kinds()["COO"], 5), ValueError, r"\(4, 5\), got \(5, 5\) \(does `x`"),
        (lambda: Adjacency.of(kinds()["CSR"], (5, 4)), ValueError, r"\(4, 5\), got \(5, 4\)"),
        (lambda: Adjacency.of(kinds()["CSC"], (5, 4)), ValueError, r"\(4, 5\), got \(5, 4\)"),
        (lambda: Adjacency.of(kinds()["SparseTensor"], 4), ValueError, r"\(4, 5\), got \(4, 4\)"),
        (
            lambda: Adjacency.of(kinds()["EdgeIndex"], 5),
            ValueError,
            r"EdgeIndex, \(4, 5\), got \(5, 5",
        ),
        (lambda: Adjacency.of(csr([0, 2, 1, 2], [0, 1], (3, 2))), ValueError, "decrease"),
        (lambda: Adjacency.of(csr([0, 1, 2], [0, 2], (2, 2))), IndexError, r"\[0, 2\), got 2"),
        (lambda: Adjacency.of(csr([0, 1, 2], [-1, 1], (2, 2))), IndexError, "got -1"),
        (
            lambda: Adjacency.of(duck([0, 1, 1], [0, 1], (2, 2))),
            ValueError,
            "from 0 to the number of e",
        ),
        (
            lambda: Adjacency.of(duck([1, 2, 2], [0, 1], (2, 2))),
            ValueError,
            "from 0 to the number of e",
        ),
        (lambda: Adjacency.of(duck([0, 3, 2], [0, 1], (2, 2))), ValueError, "decrease"),
        (lambda: Adjacency.of(duck([0, 1, 2], [0, 9], (2, 2))), IndexError, r"\[0, 2\), got 9"),
        (
            lambda: Adjacency.of(duck([0, 1, 2], [0, 1], (3, 2))),
            ValueError,
            "are rows, 3, got 3",
        ),
    ],
)
def test_a_wrong_graph_says_what_to_do(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


# The cache ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TENSORS)
def test_is_found_again_for_the_same_tensor(kind: str) -> None:
    edges, other = kinds()[kind], kinds()[kind]
    adj = Adjacency.of(edges, SIZE)
    assert Adjacency.of(edges, SIZE) is adj
    assert Adjacency.of(edges, list(SIZE)) is adj
    assert Adjacency.of(other, SIZE) is not adj
    if kind.startswith("int"):
        assert Adjacency.of(edges, 5) is Adjacency.of(edges, (5, 5))
        assert Adjacency.of(edges, 6).num_src == 6
        assert Adjacency.of(edges, SIZE) is adj


def test_an_edit_in_place_is_seen() -> None:
    edge_index = edge_list()
    adj = Adjacency.of(edge_index, SIZE)
    for edit in (
        lambda: edge_index.__setitem__((0, 0), 1),
        lambda: edge_index[1].fill_(2),
        lambda: edge_index.view(-1).zero_(),
        lambda: edge_index.copy_(edge_list()),
    ):
        edit()
        again = Adjacency.of(edge_index, SIZE)
        assert again is not adj
        assert torch.equal(again.edge_index, edge_index)
        assert Adjacency.of(edge_index, SIZE) is again
        adj = again


def test_an_edit_through_another_view_is_seen() -> None:
    base = torch.stack([edge_list(), edge_list().flip(1)])
    view = base[0]
    Adjacency.of(view, SIZE)
    base[0, 0, 0] = 1
    assert torch.equal(Adjacency.of(view, SIZE).edge_index, view)


@pytest.mark.parametrize("order", [None, "row", "col"])
def test_an_edit_of_an_edge_index_is_seen(order: str | None) -> None:
    for inner in (False, True):
        pyg = EdgeIndex([[0, 1, 2], [0, 1, 2]], sparse_size=(3, 3), sort_order=order)
        assert torch.equal(Adjacency.of(pyg).edge_index, pyg.as_tensor())
        (pyg.as_tensor() if inner else pyg)[1, 0] = 2
        assert torch.equal(Adjacency.of(pyg).edge_index, torch.tensor([[0, 1, 2], [2, 1, 2]]))


def test_an_edit_of_a_sparse_matrix_is_seen() -> None:
    for kind, indices in (("COO", "_indices"), ("CSR", "col_indices"), ("CSC", "row_indices")):
        adj_t = kinds()[kind]
        adj = Adjacency.of(adj_t)
        getattr(adj_t, indices)().zero_()
        again = Adjacency.of(adj_t)
        assert again is not adj
        assert not torch.equal(again.edge_index, adj.edge_index)


def test_what_a_captured_graph_builds_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_index, other = edge_list(), edge_list()
    known = Adjacency.of(edge_index, SIZE)
    plain = Adjacency(known.rowptr, known.col, known.perm, known.num_src)
    pairs = k_hop(Adjacency.of(edge_index, SIZE[1]), 2)
    with monkeypatch.context() as patch:
        for module in ("gnnlib._cache", "gnnlib.adjacency", "gnnlib.ops._hop_pairs"):
            patch.setattr(f"{module}.capturing", lambda _: True)
        assert Adjacency.of(edge_index, SIZE) is known
        built = Adjacency.of(other, SIZE)
        assert arrays(built) == arrays(known)
        of_capture = plain.T, plain.edge_index
        assert arrays(plain.T) == arrays(known.T)
        second = pairs.hop(2)
    assert pairs.hop(2) is not second
    assert Adjacency.of(other, SIZE) is not built
    assert plain.T is not of_capture[0]
    assert plain.edge_index is not of_capture[1]
    assert plain.T is plain.T


def test_dies_with_its_tensor() -> None:
    gc.disable()  # at once, and not when the collector comes by
    try:
        for kind in TENSORS:
            edges = kinds()[kind]
            adj = Adjacency.of(edges, SIZE)
            key, kept, transpose = map(weakref.ref, (edges, adj, adj.T))
            del adj
            assert kept() is not None
            assert transpose() is not None
            del edges
            assert (key(), kept(), transpose()) == (None, None, None), kind
    finally:
        gc.enable()


def test_does_not_keep_its_tensor() -> None:
    gc.disable()
    try:
        for kind in TENSORS:
            edges = kinds()[kind]
            key = weakref.ref(edges)
            adj = Adjacency.of(edges, SIZE)
            del edges
            assert key() is None, kind
            assert adj.num_edges == 5
    finally:
        gc.enable()


def test_what_inference_mode_built_serves_training() -> None:
    edge_index = edge_list()
    with torch.inference_mode():
        adj = Adjacency.of(edge_index, SIZE)
        adj.T  # noqa: B018
    assert Adjacency.of(edge_index, SIZE) is adj
    x = torch.ones(4, 2, requires_grad=True)
    gather_reduce(x, adj, torch.ones(6, requires_grad=True)).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].tolist() == [2, 0, 1, 3]


def test_inference_tensors_are_not_cached() -> None:
    # They count no edits.
    with torch.inference_mode():
        edge_index = edge_list()
        adj = Adjacency.of(edge_index, SIZE)
        edge_index[0, 0] = 1
        again = Adjacency.of(edge_index, SIZE)
        assert torch.equal(again.edge_index, edge_index)
        assert torch.equal(adj.edge_index, edge_list())
        pyg = EdgeIndex([[0, 1], [1, 2]], sparse_size=(3, 3), sort_order="col")
        assert torch.equal(Adjacency.of(pyg).edge_index, torch.tensor([[0, 1], [1, 2]]))
    x = torch.ones(4, 2, requires_grad=True)
    gather_reduce(x, again).sum().backward()


def test_a_failed_build_leaves_nothing_behind() -> None:
    edge_index = edge_list()
    for _ in range(2):
        with pytest.raises(IndexError):
            Adjacency.of(edge_index, 3)
    assert Adjacency.of(edge_index, SIZE).num_edges == 6


def test_many_threads_agree() -> None:
    tensors = [edge_list() for _ in range(20)]
    barrier, wrong = threading.Barrier(8), []

    def work() -> None:
        barrier.wait()
        for _ in range(5):
            for edge_index in tensors:
                adj = Adjacency.of(edge_index, SIZE)
                if not torch.equal(adj.T.T.edge_index, edge_index):
                    wrong.append(adj)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# A record ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("way", ["pytree", "deepcopy", "pickle"])
def test_survives_a_round_trip(way: str, joined: bool) -> None:
    adj = Adjacency.of(edge_list(), SIZE)
    if joined:
        adj.T  # noqa: B018
    again = {
        "pytree": lambda: tree_unflatten(*tree_flatten(adj)),
        "deepcopy": lambda: copy.deepcopy(adj),
        "pickle": lambda: pickle.loads(pickle.dumps(adj)),
    }[way]()
    assert again is not adj
    assert arrays(again) == arrays(adj)
    assert again.num_src == adj.num_src
    assert (again._known_transpose() is not None) == joined
    assert arrays(again.T) == arrays(adj.T)
    assert again.T.T is again


def test_is_a_pytree() -> None:
    adj = Adjacency.of(edge_list(), SIZE)
    on_meta = tree_map_only(Tensor, lambda t: t.to("meta"), adj)
    assert on_meta.device.type == "meta"
    ordered = Adjacency(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), None, 2)
    assert tree_map_only(Tensor, torch.clone, ordered).perm is None
    # From either end, a graph keeps both of its directions.
    assert arrays(tree_map_only(Tensor, torch.clone, adj.T).T) == arrays(adj)
    edges = Edges(adj, torch.ones(6), attr=torch.ones(6, 2), listen=torch.ones(5))
    doubled = tree_map_only(Tensor, lambda t: 2 * t if t.is_floating_point() else t, edges)
    assert arrays(doubled.adj) == arrays(adj)
    assert doubled.weight.tolist() == [2] * 6
    assert doubled.attr.tolist() == [[2, 2]] * 6
    assert doubled.type is None
    assert doubled.broadcast is None
    assert doubled.listen.tolist() == [2] * 5


# Edges ------------------------------------------------------------------------------------------


def test_edges_hold_what_forward_was_called_with() -> None:
    edge_index, weight, attr = edge_list(), torch.rand(6), torch.rand(6, 3)
    edges = Edges.of(edge_index, weight, attr, SIZE)
    assert edges.adj is Adjacency.of(edge_index, SIZE)
    assert torch.equal(edges.edge_index, edge_index)
    assert edges.weight is not None
    assert torch.equal(edges.weight, weight)
    assert edges.attr is attr
    column = Edges.of(edge_index, weight[:, None], size=SIZE)
    assert column.weight is not None
    assert column.weight.shape == (6,)
    assert Edges.of(edge_index, edge_attr=torch.ones(6), size=SIZE).attr is not None
    assert Edges.of(edges) is edges
    assert Edges.of(edges, size=SIZE) is edges
    assert Edges.of(kinds()["EdgeIndex"]).weight is None
    assert Edges.of(duck([0, 1, 1], [0], (2, 2))).weight is None


@QUICK
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans())
def test_gates_mask_the_edges_between_them(seed: int, sends: bool, hears: bool, turn: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    gates = [torch.randint(0, 3, (n,), generator=draw) / 2 for n in SIZE]
    broadcast, listen = gates[0] if sends else None, gates[1] if hears else None
    edges = Edges(Adjacency.of(edge_list(), SIZE)).masked(broadcast, listen)
    assert edges.gated == (sends or hears)
    expected = [
        (gates[0][j].item() if sends else 1) * (gates[1][i].item() if hears else 1)
        for j, i in zip(SRC, DST, strict=True)
    ]
    if turn:  # the other way, sources listen to targets
        edges = edges.T
        assert torch.equal(edges.edge_index, edge_list().flip(0))
        assert edges.broadcast is listen
        assert edges.listen is broadcast
    if edges.gated:
        assert edges.mask is not None
        assert edges.mask.tolist() == expected
    else:
        assert edges.mask is None


def test_gates_multiply() -> None:
    edges = Edges(Adjacency.of(edge_list(), SIZE), weight=torch.rand(6))
    once = edges.masked(broadcast=torch.tensor([1.0, 0.5, 0.0, 1.0]))
    twice = once.masked(torch.tensor([0.5, 0.5, 1.0, 0.0]), torch.full((5,), 0.25))
    assert edges.broadcast is None  # a record is never written to
    assert once.listen is None
    assert twice.broadcast is not None
    assert twice.listen is not None
    assert twice.broadcast.tolist() == [0.5, 0.25, 0, 0]
    assert twice.listen.tolist() == [0.25] * 5
    assert twice.weight is edges.weight
    assert twice.T.T.adj is edges.adj
    with pytest.raises(FrozenInstanceError):
        edges.weight = None  # type: ignore[misc]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda e: Edges.of(e, torch.ones(5), size=SIZE),
            "`edge_weight` must have one row per edge, 6, got 5",
        ),
        (
            lambda e: Edges.of(e, None, torch.ones(5, 2), SIZE),
            "`edge_attr` must have one row per edge, 6, got 5",
        ),
        (
            lambda e: Edges.of(e, torch.ones(6, 2), size=SIZE),
            r"`edge_weight` must be \[E\], got \[6, 2\] \(feat",
        ),
        (lambda e: Edges.of(Edges.of(e), torch.ones(6)), "already part of `Edges`"),
        (lambda e: Edges.of(Edges.of(e), edge_attr=torch.ones(6)), "already part of `Edges`"),
        (
            lambda e: Edges.of(Edges.of(e, size=SIZE), size=7),
            r"`size` must be .* \(4, 5\), got \(7, 7\)",
        ),
    ],
)
def test_wrong_edges_say_what_to_do(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(edge_list())


def test_edges_go_through_a_compiler() -> None:
    torch._dynamo.reset()

    def out(x: Tensor, edges: Edges) -> Tensor:
        edges = edges.masked(broadcast=x[:, 0])
        return gather_reduce(x, edges.adj, edges.weight, gate=edges.broadcast) + edges.mask.sum()

    edges, x = Edges(Adjacency.of(edge_list(), SIZE), weight=torch.rand(6)), torch.rand(4, 2)
    compiled = torch.compile(out, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edges), out(x, edges))


@pytest.mark.parametrize(
    ("rowptr", "col", "perm", "error", "match"),
    [
        ([0, 2], [0, 9], None, IndexError, "got 9"),
        ([0, 2], [0, -1], None, IndexError, "got -1"),
        ([0, 2], [0, 1], [0, 7], IndexError, "perm"),
        ([0, 2], [0, 1], [0], ValueError, "perm"),
        ([0, 3], [0, 1], None, ValueError, "rowptr"),
        ([0, 2, 1, 2], [0, 1], None, ValueError, "rowptr"),
    ],
)
def test_the_constructor_checks_its_arrays(rowptr, col, perm, error, match):
    perm = None if perm is None else torch.tensor(perm)
    with pytest.raises(error, match=match):
        Adjacency(torch.tensor(rowptr), torch.tensor(col), perm, 3)


def test_the_constructor_keeps_copies() -> None:
    col = torch.tensor([0, 1])
    adj = Adjacency(torch.tensor([0, 1, 2]), col, None, 2)
    col.fill_(2**40)
    assert adj.col.tolist() == [0, 1]
    with pytest.raises(IndexError, match="once"):
        Adjacency(torch.tensor([0, 2]), torch.tensor([0, 0]), torch.tensor([0, 0]), 1)
    with pytest.raises(ValueError, match="negative, got -1"):
        Adjacency(torch.tensor([0]), torch.zeros(0, dtype=torch.long), None, -1)


def test_forward_mode_is_refused() -> None:
    edge_index, x = torch.tensor([[0, 1], [1, 0]]), torch.randn(2, 3)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(lambda v: gather_reduce(v, edge_index), (x,), (torch.ones_like(x),))
