"""AddMagneticLaplacianPE, against the paper's Laplacian written down entry by entry."""

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from digraphs import data_of, digraphs, permuted, random_dag, random_digraph, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.data.datapipes import DatasetAdapter
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import AddLaplacianEigenvectorPE, Compose, ToUndirected

from gnnlib.encodings import AddMagneticLaplacianPE
from gnnlib.encodings._eigenpairs import factors_stay_sparse, fix_phases, magnetic_laplacian

KEYS = ("magnetic_pe", "magnetic_pe_values", "magnetic_pe_mask")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def laplacian(data: Data, q: float, relative: bool, symmetric: bool) -> np.ndarray:
    """Geisler et al., 2023, section 3, entry by entry."""
    size = data.num_nodes
    a = np.zeros((size, size))
    for u, v in data.edge_index.T.tolist():
        a[u, v] = u != v
    if relative:
        one_way = sum(a[u, v] != a[v, u] for u in range(size) for v in range(u))
        q /= max(1, min(one_way, size))
    out = np.zeros((size, size), dtype=complex)
    degree = [sum(bool(a[u, v] or a[v, u]) for v in range(size)) for u in range(size)]
    for u in range(size):
        out[u, u] = 1 if symmetric else degree[u]
        for v in range(size):
            if a[u, v] or a[v, u]:
                scale = np.sqrt(degree[u] * degree[v]) if symmetric else 1
                out[u, v] -= np.exp(2j * np.pi * q * (a[u, v] - a[v, u])) / scale
    return out


def quiet(transform: AddMagneticLaplacianPE, data: Data) -> Data:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return transform(data)


def assert_eigenpairs(pe: Tensor, values: Tensor, expected: np.ndarray) -> None:
    """Orthonormal eigenvectors of the smallest eigenvalues."""
    found, count = pe.numpy(), pe.size(1)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(expected)[:count], atol=1e-8)
    np.testing.assert_allclose(expected @ found, found * values.numpy(), atol=1e-7)
    np.testing.assert_allclose(found.conj().T @ found, np.eye(count), atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    data=digraphs(),
    k=st.integers(1, 6),
    q=st.sampled_from([0.0, 0.1, 0.25, 1.3]),
    relative=st.booleans(),
    symmetric=st.booleans(),
)
def test_eigenpairs(data: Data, k: int, q: float, relative: bool, symmetric: bool) -> None:
    torch.set_default_dtype(torch.float64)
    out = quiet(AddMagneticLaplacianPE(k, q, relative, symmetric), data)
    count = min(k, data.num_nodes)
    assert out.magnetic_pe.shape == (data.num_nodes, k)
    assert out.magnetic_pe.dtype == torch.complex128
    assert out.magnetic_pe_values.shape == out.magnetic_pe_mask.shape == (1, k)
    assert out.magnetic_pe_mask[0].tolist() == [True] * count + [False] * (k - count)
    assert not out.magnetic_pe[:, count:].any()
    assert not out.magnetic_pe_values[:, count:].any()
    if count:
        values = out.magnetic_pe_values[0, :count]
        assert_eigenpairs(
            out.magnetic_pe[:, :count], values, laplacian(data, q, relative, symmetric)
        )
        assert values.min() >= 0
        assert not symmetric or values.max() <= 2 + 1e-12
    assert "magnetic_pe" not in data


@pytest.mark.parametrize("symmetric", [True, False])
def test_on_a_path_the_phase_tells_the_depth(symmetric: bool) -> None:
    size = 9
    path = data_of([(i, i + 1) for i in range(size - 1)], size)
    for data, order in ((path, range(size)), (turned(path), range(size)[::-1])):
        out = AddMagneticLaplacianPE(2, use_symmetric_norm=symmetric)(data)
        first = out.magnetic_pe[list(order), 0]
        step = torch.full((size - 1,), -2 * np.pi * 0.25 / (size - 1))
        torch.testing.assert_close((first[1:] / first[:-1]).angle(), step)


@pytest.mark.parametrize("symmetric", [True, False])
def test_lanczos_agrees_with_dense(symmetric: bool) -> None:
    data = random_digraph(150, 300)
    dense = AddMagneticLaplacianPE(6, use_symmetric_norm=symmetric)(data)
    sparse = AddMagneticLaplacianPE(6, use_symmetric_norm=symmetric, dense_limit=0)
    found, again = sparse(data), sparse(data)
    for key in KEYS:
        torch.testing.assert_close(found[key], dense[key], rtol=1e-6, atol=1e-7)
        assert torch.equal(found[key], again[key])
    other = AddMagneticLaplacianPE(6, use_symmetric_norm=symmetric, dense_limit=0, seed=1)(data)
    torch.testing.assert_close(other.magnetic_pe, dense.magnetic_pe, rtol=1e-6, atol=1e-7)


def grid(side: int) -> Data:
    node = torch.arange(side * side).view(side, side)
    ways = [node[:, :-1], node[:-1]], [node[:, 1:], node[1:]]
    src, dst = (torch.cat([part.flatten() for part in way]) for way in ways)
    return Data(edge_index=torch.stack([src, dst]), num_nodes=side * side)


@pytest.mark.parametrize("graph", [
    data_of([(i, i + 1) for i in range(149)], 150),
    data_of([(i, (i - 1) // 3) for i in range(1, 150)], 150),
    grid(12),
    data_of([(i, (i + 1) % 150) for i in range(150)], 150),
    random_digraph(150, 900),
], ids=["path", "tree", "grid", "cycle", "random"])  # fmt: skip
@pytest.mark.parametrize("symmetric", [True, False])
def test_lanczos_is_as_accurate_as_dense(graph: Data, symmetric: bool) -> None:
    for relative in (True, False):
        options = {"relative": relative, "use_symmetric_norm": symmetric}
        dense, sparse, again = (
            AddMagneticLaplacianPE(7, **options, dense_limit=limit)(graph) for limit in (999, 0, 0)
        )
        values = sparse.magnetic_pe_values[0]
        torch.testing.assert_close(values, dense.magnetic_pe_values[0], rtol=0, atol=1e-11)
        assert_eigenpairs(sparse.magnetic_pe, values, laplacian(graph, 0.25, relative, symmetric))
        assert torch.equal(sparse.magnetic_pe, again.magnetic_pe)


def test_lanczos_begins_with_the_inverse_where_that_is_cheap() -> None:
    for graph, cheap in ((grid(40), True), (random_digraph(1100, 20_000), False)):
        found, _ = magnetic_laplacian(graph.edge_index.numpy(), graph.num_nodes, 0.25, True, True)
        assert factors_stay_sparse(found) is cheap


def test_lanczos_misses_no_copy_of_an_eigenvalue() -> None:
    """A binary tree and a hypercube, with eigenspaces of 4, 8 and 10 dimensions."""
    tree = data_of([(i, (i - 1) // 2) for i in range(1, 255)], 255)
    cube = data_of([(i, i | 1 << b) for i in range(256) for b in range(8) if not i >> b & 1], 256)
    for data in (tree, cube):
        for relative in (True, False):
            found = AddMagneticLaplacianPE(16, relative=relative, dense_limit=0)(data)
            expected = laplacian(data, 0.25, relative, True)
            assert_eigenpairs(found.magnetic_pe, found.magnetic_pe_values[0], expected)


def test_eigenvalues_too_close_for_lanczos() -> None:
    """A long path: as on any tree, eigenvalues are those without direction."""
    size = 3000
    path = data_of([(i, i + 1) for i in range(size - 1)], size)
    out = AddMagneticLaplacianPE(5, use_symmetric_norm=False, dense_limit=0)(path)
    expected = 2 - 2 * torch.cos(torch.pi * torch.arange(5) / size)
    torch.testing.assert_close(out.magnetic_pe_values[0], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("dense_limit", [0, 1000])
def test_components_are_solved_on_their_own(dense_limit: int) -> None:
    part = random_digraph(60, 90)
    copies = [part.edge_index + 60 * i for i in range(3)]
    data = Data(edge_index=torch.cat(copies, dim=1), num_nodes=182)  # and two nodes alone
    out = AddMagneticLaplacianPE(9, relative=False, dense_limit=dense_limit)(data)
    alone = AddMagneticLaplacianPE(3, relative=False)(part)
    torch.testing.assert_close(
        out.magnetic_pe_values[0], alone.magnetic_pe_values[0].repeat_interleave(3)
    )
    for column in range(9):
        within = slice(60 * (column % 3), 60 * (column % 3 + 1))
        expected = torch.zeros(182, dtype=torch.complex128)
        expected[within] = alone.magnetic_pe[:, column // 3]
        torch.testing.assert_close(out.magnetic_pe[:, column], expected, rtol=1e-6, atol=1e-7)


def test_nodes_alone() -> None:
    out = AddMagneticLaplacianPE(3)(data_of([], 5))
    assert torch.equal(out.magnetic_pe, torch.eye(5, 3, dtype=torch.complex128))
    assert out.magnetic_pe_values.tolist() == [[1, 1, 1]]
    out = AddMagneticLaplacianPE(3, use_symmetric_norm=False)(data_of([(0, 0)], 1))
    assert out.magnetic_pe.tolist() == [[1, 0, 0]]
    assert out.magnetic_pe_values.tolist() == [[0, 0, 0]]
    assert out.magnetic_pe_mask.tolist() == [[True, False, False]]
    many = AddMagneticLaplacianPE(2)(data_of([(0, 1)], 100_000))
    torch.testing.assert_close(many.magnetic_pe_values[0], torch.tensor([0.0, 1.0]))
    assert many.magnetic_pe[2, 1] == 1


def test_a_batch_is_its_graphs() -> None:
    graphs = [
        random_digraph(7, 12),
        data_of([], 1),
        data_of([], 0),
        random_dag(11, 25),
        data_of([(1, 0)], 3),
    ]
    transform = AddMagneticLaplacianPE(5)
    single = [transform(data) for data in graphs]
    batch = Batch.from_data_list(graphs)
    whole, expected = transform(batch), Batch.from_data_list(single)
    for key in KEYS:  # the input is as it was
        assert key not in batch
        assert key not in batch._slice_dict
    assert whole.magnetic_pe_values.shape == (5, 5)
    for key in KEYS:
        torch.testing.assert_close(whole[key], expected[key], rtol=0, atol=0)
    for found, data in zip(whole.to_data_list(), single, strict=True):
        for key in KEYS:
            assert torch.equal(found[key], data[key])
    (loaded,) = DataLoader(single, batch_size=5)
    assert torch.equal(loaded.magnetic_pe, whole.magnetic_pe)
    plain = Data(edge_index=whole.edge_index, batch=whole.batch, num_nodes=whole.num_nodes)
    assert torch.equal(transform(plain).magnetic_pe, whole.magnetic_pe)


def test_nodes_may_be_numbered_in_any_order() -> None:
    data = random_digraph(20, 40)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    transform = AddMagneticLaplacianPE(6)
    found, expected = transform(permuted(data, order)), transform(data)
    torch.testing.assert_close(found.magnetic_pe, expected.magnetic_pe[order])
    torch.testing.assert_close(found.magnetic_pe_values, expected.magnetic_pe_values)


def test_phases_do_not_depend_on_the_solver() -> None:
    pe = AddMagneticLaplacianPE(6)(random_digraph(20, 40)).magnetic_pe.numpy()
    np.testing.assert_allclose(fix_phases(pe), pe, atol=1e-12)
    phases = np.exp(1j * np.random.default_rng(0).uniform(0, 7, 6))
    np.testing.assert_allclose(fix_phases(pe * phases), pe, atol=1e-12)
    anchor = np.flatnonzero((np.abs(np.angle(pe)) < 1e-9).all(axis=1))
    assert len(anchor) == 1


def test_edges_turned_around_conjugate() -> None:
    data = random_digraph(20, 40)
    pairs = [AddMagneticLaplacianPE(6)(graph) for graph in (data, turned(data))]
    ahead, back = ((p.magnetic_pe[:, None] * p.magnetic_pe.conj()) for p in pairs)
    torch.testing.assert_close(ahead, back.conj())
    torch.testing.assert_close(pairs[0].magnetic_pe_values, pairs[1].magnetic_pe_values)
    assert not torch.allclose(pairs[0].magnetic_pe, pairs[1].magnetic_pe)


def test_where_pyg_ignores_direction() -> None:
    """A DAG and the same with other directions: one encoding for PyG, two for us."""
    dag = random_dag(10, 25)
    flipped = dag.edge_index.clone()
    flipped[:, ::3] = flipped[:, ::3].flip(0)
    other = Data(edge_index=flipped, num_nodes=10)
    theirs = Compose([ToUndirected(), AddLaplacianEigenvectorPE(4, is_undirected=True)])
    a, b = (theirs(copy.copy(data)).laplacian_eigenvector_pe.abs() for data in (dag, other))
    torch.testing.assert_close(a, b)
    a, b = (AddMagneticLaplacianPE(4)(data).magnetic_pe.abs() for data in (dag, other))
    assert (a - b).abs().max() > 0.01


def test_undirected_graphs() -> None:
    cycle = data_of([(i, (i + s) % 5) for i in range(5) for s in (1, 4)], 5)
    dag, empty = random_dag(5, 6), data_of([(2, 2)], 4)
    transform = AddMagneticLaplacianPE(3)
    with pytest.warns(UserWarning, match=r"the graph is undirected .* without direction"):
        out = transform(cycle)
    torch.testing.assert_close(out.magnetic_pe.imag, torch.zeros(5, 3), rtol=0, atol=1e-9)
    with pytest.warns(UserWarning, match="2 of 4 graphs are undirected"):
        transform(Batch.from_data_list([cycle, dag, cycle, empty]))
    for silent in (dag, empty, data_of([], 0)):  # a warning would be an error
        transform(silent)
    assert not AddMagneticLaplacianPE(3, q=0)(cycle).magnetic_pe_values.isnan().any()


def test_an_edge_index_of_pyg_s_own() -> None:
    data = random_dag(6, 9)
    expected = AddMagneticLaplacianPE(2)(data).magnetic_pe
    data.edge_index = EdgeIndex(data.edge_index.int().contiguous(), sparse_size=(6, 6))
    assert torch.equal(AddMagneticLaplacianPE(2)(data).magnetic_pe, expected)


def test_options() -> None:
    data = random_dag(6, 9)
    torch.set_default_dtype(torch.float32)
    out = AddMagneticLaplacianPE(2, attr_name="pe", as_real=True)(data)
    assert out.pe.shape == (6, 2, 2)
    assert out.pe.dtype == out.pe_values.dtype == torch.float32
    expected = AddMagneticLaplacianPE(2)(data).magnetic_pe
    assert expected.dtype == torch.complex64
    assert torch.equal(torch.view_as_complex(out.pe), expected)
    (piped,) = DatasetAdapter([data]).add_magnetic_laplacian_pe(k=2)
    assert torch.equal(piped.magnetic_pe, expected)
    assert repr(AddMagneticLaplacianPE(2, q=0.1, seed=3)) == (
        "AddMagneticLaplacianPE(2, q=0.1, relative=True, use_symmetric_norm=True, "
        "attr_name='magnetic_pe', as_real=False, dense_limit=1000, seed=3)"
    )


def test_bad_input() -> None:
    for options, message in (
        ({"k": 0}, "`k` must be a whole number of at least 1, got 0"),
        ({"k": 2.5}, r"`k` must be a whole number of at least 1, got 2.5 \(use int\(2.5\)\)"),
        ({"k": 1, "q": -0.1}, "`q` must be finite and not negative, got -0.1"),
        ({"k": 1, "q": float("nan")}, "`q` must be finite"),
        ({"k": 1, "dense_limit": -1}, "`dense_limit` must be a whole number of at least 0"),
        ({"k": 1, "attr_name": "index"}, "`attr_name` must be a name without 'index'"),
    ):
        with pytest.raises(ValueError, match=message):
            AddMagneticLaplacianPE(**options)
    transform = AddMagneticLaplacianPE(2)
    with pytest.raises(ValueError, match="needs one kind of nodes and edges"):
        transform(HeteroData())
    with pytest.raises(ValueError, match="needs `edge_index`"):
        transform(Data(x=torch.ones(3, 1)))
    with pytest.raises(IndexError, match=r"`edge_index` must be in \[0, 2\), got 0 to 2"):
        transform(data_of([(0, 2)], 2))
    for batch, message in (([0, 1, 0], "`batch` is not sorted"), ([0, 0, 1], "between two graphs")):
        data = data_of([(0, 2)], 3)
        data.batch = torch.tensor(batch)
        with pytest.raises(ValueError, match=message):
            transform(data)
