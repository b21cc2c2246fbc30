"""AddDirectedRandomWalkPE, against dense matrices and against what PyG's encoding cannot see."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from digraphs import data_of, digraphs, permuted, random_dag, random_digraph, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import DatasetAdapter
from torch_geometric.transforms import AddRandomWalkPE, ToUndirected
from torch_geometric.utils import to_dense_adj

from gnnlib.encodings import AddDirectedRandomWalkPE

NAMES = {
    "node": "directed_rw_pe",
    "edge": "edge_directed_rw_pe",
    "pair": "pair_directed_rw_pe",
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def walks(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """T and R, edge by edge."""
    a = np.zeros((data.num_nodes, data.num_nodes))
    weights = [1.0] * data.num_edges if data.edge_weight is None else data.edge_weight.tolist()
    for (u, v), w in zip(data.edge_index.T.tolist(), weights, strict=True):
        a[u, v] += w
    out = []
    for matrix in (a, a.T):
        matrix = matrix.copy()
        for i in range(len(a)):
            if matrix[i].sum() == 0:
                matrix[i, i] = 1
        out.append(matrix / matrix.sum(1, keepdims=True))
    return out[0], out[1]


def powers(matrix: np.ndarray, length: int) -> list[np.ndarray]:
    return [np.linalg.matrix_power(matrix, k) for k in range(1, length + 1)]


def restarting(matrix: np.ndarray, p: float) -> np.ndarray:
    return p * np.linalg.inv(np.eye(len(matrix)) - (1 - p) * matrix)


def oracle(data: Data, form: str, length: int, p: float | None) -> np.ndarray:
    t, r = walks(data)
    ahead, back = powers(t, length), powers(r, length)
    if form == "node":
        columns = [np.diag(m) for m in ahead] + [np.diag(m) for m in back]
        columns += [np.diag(m @ n) for m, n in zip(ahead, back, strict=True)]
        columns += [np.diag(n @ m) for m, n in zip(ahead, back, strict=True)]
        columns += [np.log(1 + m.sum(0)) for m in ahead + back]
        columns += [] if p is None else [np.log(1 + restarting(m, p).sum(0)) for m in (t, r)]
        return np.stack(columns, axis=1)
    ahead += [] if p is None else [restarting(t, p)]
    back += [] if p is None else [restarting(r, p)]
    if form == "pair":
        return np.stack(ahead + back, axis=-1).reshape(data.num_nodes**2, len(ahead + back))
    src, dst = data.edge_index.numpy()
    return np.stack([m[src, dst] for m in ahead] + [m[dst, src] for m in back], axis=1)


def quiet(transform: AddDirectedRandomWalkPE, data: Data) -> Data:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return transform(data)


@settings(deadline=None, max_examples=30)
@given(
    data=digraphs(),
    form=st.sampled_from(list(NAMES)),
    length=st.integers(1, 4),
    p=st.sampled_from([None, 0.05, 0.2, 0.9]),
    dense_limit=st.sampled_from([0, 2000]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_form(
    data: Data, form: str, length: int, p: float | None, dense_limit: int, weighted: bool, seed: int
) -> None:
    torch.set_default_dtype(torch.float64)
    if weighted:  # some edges weigh nothing, and lead nowhere
        generator = torch.Generator().manual_seed(seed)
        data.edge_weight = (torch.rand(data.num_edges, generator=generator) - 0.3).clamp(min=0)
    if form == "pair":
        dense_limit = 2000
    out = quiet(AddDirectedRandomWalkPE(length, form, p, dense_limit=dense_limit), data)
    expected = oracle(data, form, length, p)
    assert out[NAMES[form]].shape == expected.shape
    np.testing.assert_allclose(out[NAMES[form]], expected, atol=1e-6)
    assert NAMES[form] not in data


@pytest.mark.parametrize("form", ["node", "edge"])
def test_large_graphs_take_sparse_powers(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnnlib.encodings._walks.BLOCK", 1500)  # ten rows at a time
    monkeypatch.setattr("gnnlib.encodings._walks.SOURCES", 32)
    data = random_digraph(150, 500)
    dense = AddDirectedRandomWalkPE(5, form)(data)[NAMES[form]]
    sparse = AddDirectedRandomWalkPE(5, form, dense_limit=0)(data)[NAMES[form]]
    torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sparse, oracle(data, form, 5, 0.2), atol=1e-6)


def test_walks_are_probabilities() -> None:
    data = AddDirectedRandomWalkPE(6, "pair")(random_digraph(30, 70))
    pe = data.pair_directed_rw_pe.view(30, 30, -1)
    assert pe.min() >= 0
    torch.testing.assert_close(pe.sum(1), torch.ones(30, 14))


def test_where_pyg_sees_nothing() -> None:
    """On a DAG no walk returns: PyG's is all zero, and ours tells all nodes apart."""
    dag = random_dag(12, 30)
    assert not AddRandomWalkPE(8)(dag).random_walk_pe.any()
    pe = AddDirectedRandomWalkPE(4)(dag).directed_rw_pe
    assert torch.pdist(pe).min() > 1e-3
    sinks = torch.tensor([(dag.edge_index[0] == i).sum() == 0 for i in range(12)])
    ends = AddDirectedRandomWalkPE(4, restart=None)(dag).directed_rw_pe[:, :4]
    assert torch.equal(ends, sinks[:, None].expand(12, 4).to(ends))
    # The walks forth and back are more than the ends.
    assert (pe[~sinks, 8] > 0).all()
    assert pe[~sinks, 8].unique().numel() > 3

    edges = AddDirectedRandomWalkPE(3, "edge")(dag).edge_directed_rw_pe
    assert (edges[:, [0, 3, 4, 7]] > 0).all()
    assert edges.unique(dim=0).size(0) > dag.num_edges // 2
    # Directions of some edges are seen, where PyG sees none in an undirected graph.
    flipped = dag.edge_index.clone()
    flipped[:, ::3] = flipped[:, ::3].flip(0)
    other = Data(edge_index=flipped, num_nodes=12)
    theirs = [AddRandomWalkPE(8)(ToUndirected()(d.clone())).random_walk_pe for d in (dag, other)]
    torch.testing.assert_close(*theirs)
    assert (AddDirectedRandomWalkPE(4)(other).directed_rw_pe - pe).abs().max() > 0.1


def test_edges_turned_around_swap_both_halves() -> None:
    data = random_digraph(20, 50)
    for form, width in (("node", 4), ("edge", 5)):
        ahead, back = (
            AddDirectedRandomWalkPE(4, form)(graph)[NAMES[form]] for graph in (data, turned(data))
        )
        if form == "node":  # in three pairs of groups, and the two restarting walks
            ahead = torch.cat(
                [ahead[:, :-2].view(20, 3, 2, width).flip(2).flatten(1), ahead[:, -2:].flip(1)], 1
            )
        else:
            ahead = ahead.view(-1, 2, width).flip(1).flatten(1)
        torch.testing.assert_close(ahead, back)


def test_undirected_graphs() -> None:
    data = random_digraph(15, 25)
    data.edge_index = torch.cat([data.edge_index, data.edge_index.flip(0)], dim=1)
    transform = AddDirectedRandomWalkPE(3)
    with pytest.warns(UserWarning, match=r"the graph is undirected .* direction is not encoded"):
        pe = transform(data).directed_rw_pe
    torch.testing.assert_close(pe[:, :3], pe[:, 3:6])
    # Forth and back is twice as far: the even columns of PyG's, which takes no repeated edges.
    coalesced = Data(edge_index=data.edge_index.unique(dim=1), num_nodes=15)
    pe = quiet(transform, coalesced).directed_rw_pe
    theirs = AddRandomWalkPE(6)(coalesced).random_walk_pe
    torch.testing.assert_close(pe[:, 6:9], theirs[:, 1::2])
    torch.testing.assert_close(pe[:, :3], theirs[:, :3])
    with pytest.warns(UserWarning, match="1 of 3 graphs are undirected"):
        transform(Batch.from_data_list([data_of([(0, 0)], 2), coalesced, random_dag(4, 5)]))
    for silent in (data_of([(0, 0)], 1), data_of([], 3), data_of([], 0)):
        transform(silent)  # a warning would be an error
    data.edge_weight = torch.rand(data.num_edges) + 0.1  # other weights the other way
    transform(data)


@pytest.mark.parametrize("form", list(NAMES))
def test_a_batch_is_its_graphs(form: str) -> None:
    graphs = [random_digraph(7, 12), data_of([], 1), data_of([], 0), random_dag(9, 20)]
    transform = AddDirectedRandomWalkPE(3, form)
    single = [transform(data) for data in graphs]
    whole, expected = transform(Batch.from_data_list(graphs)), Batch.from_data_list(single)
    keys = [NAMES[form]] + ([f"{NAMES[form]}_index"] if form == "pair" else [])
    for key in keys:
        assert torch.equal(whole[key], expected[key])
    for found, data in zip(whole.to_data_list(), single, strict=True):
        for key in keys:
            assert torch.equal(found[key], data[key])
    # The edges of both graphs in turns, with no `ptr`.
    mixed = torch.randperm(whole.num_edges)
    plain = Data(edge_index=whole.edge_index[:, mixed], num_nodes=17, batch=whole.batch)
    found = transform(plain)[NAMES[form]]
    assert torch.equal(found, whole[NAMES[form]][mixed] if form == "edge" else whole[NAMES[form]])


def test_pairs_become_a_dense_bias() -> None:
    graphs = [random_digraph(5, 9), random_dag(7, 15)]
    batch = Batch.from_data_list([AddDirectedRandomWalkPE(2, "pair")(data) for data in graphs])
    pe, index = batch.pair_directed_rw_pe, batch.pair_directed_rw_pe_index
    dense = to_dense_adj(index, batch.batch, pe)
    assert dense.shape == (2, 7, 7, 6)
    for i, data in enumerate(graphs):
        size = data.num_nodes
        np.testing.assert_allclose(
            dense[i, :size, :size].reshape(size**2, 6), oracle(data, "pair", 2, 0.2), atol=1e-12
        )


@pytest.mark.parametrize("form", list(NAMES))
def test_nodes_may_be_numbered_in_any_order(form: str) -> None:
    data = random_digraph(12, 30)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    transform = AddDirectedRandomWalkPE(3, form)
    found, expected = (transform(graph)[NAMES[form]] for graph in (permuted(data, order), data))
    if form == "node":
        expected = expected[order]
    if form == "pair":
        expected = expected.view(12, 12, -1)[order][:, order].flatten(0, 1)
    torch.testing.assert_close(found, expected)


def test_options() -> None:
    data = random_dag(6, 9)
    torch.set_default_dtype(torch.float32)
    out = AddDirectedRandomWalkPE(2, "edge", None, "walks")(data)
    assert out.walks.shape == (data.num_edges, 4)
    assert out.walks.dtype == torch.float32
    assert out.is_edge_attr("walks")
    (piped,) = DatasetAdapter([data]).add_directed_random_walk_pe(walk_length=2)
    assert piped.directed_rw_pe.shape == (6, 14)
    assert repr(AddDirectedRandomWalkPE(2, "edge", 0.1)) == (
        "AddDirectedRandomWalkPE(2, form='edge', restart=0.1, "
        "attr_name='edge_directed_rw_pe', dense_limit=2000)"
    )


def test_bad_input() -> None:
    for options, message in (
        ({"walk_length": 0}, "`walk_length` must be a whole number of at least 1, got 0"),
        ({"walk_length": 2.5}, r"`walk_length` must be .* got 2.5 \(use int\(2.5\)\)"),
        ({"form": "graph"}, "`form` must be 'node', 'edge' or 'pair', got 'graph'"),
        ({"restart": 0.0}, r"`restart` must be in \(0, 1\), or None, got 0.0"),
        ({"restart": 1.0}, r"`restart` must be in \(0, 1\), or None, got 1.0"),
        ({"dense_limit": -1}, "`dense_limit` must be a whole number of at least 0"),
        ({"attr_name": "batch_pe"}, "`attr_name` must be a name without"),
    ):
        with pytest.raises(ValueError, match=message):
            AddDirectedRandomWalkPE(**{"walk_length": 2, **options})
    with pytest.raises(ValueError, match=r"the pair form of 100000 nodes would take 480.0 GB"):
        AddDirectedRandomWalkPE(2, "pair")(data_of([(0, 1)], 100_000))
    data = random_dag(5, 6)
    for weight, message in (
        (-torch.ones(data.num_edges), "finite and not negative"),
        (torch.full((data.num_edges,), torch.nan), "finite and not negative"),
        (torch.ones(2), r"`edge_weight` must be \[E\], got \[2\]"),
    ):
        data.edge_weight = weight
        with pytest.raises(ValueError, match=message):
            AddDirectedRandomWalkPE(2)(data)
