"""The magnetic Laplacian and its smallest eigenpairs."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse import csc_array, csr_array, diags_array, issparse
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, splu

# Numbers that differ by less, relative to the largest, are the same but for rounding.
TIE = 1e-6
# Up to so many nodes a plain array is quicker than a sparse one.
SMALL = 256
# Restarts after which Lanczos turns to the inverse.
RESTARTS = 100
# Entries in a row of a matrix's factors up to which Lanczos begins with the inverse.
FILL = 128
# Eigenvalues that differ by less of the norm are the same.
SAME = 1e-11
# Below all eigenvalues of a positive semidefinite matrix, so that the inverse exists.
SHIFT = -1e-6


def magnetic_laplacian(
    edge_index: Any, num_nodes: int, q: float, relative: bool, symmetric: bool
) -> tuple[Any, int]:
    """The magnetic Laplacian of a simple graph, and the number of its one-way pairs.

    Self loops are left out and repeated edges count once.

    Args:
        edge_index: ``[2, E]``.
        num_nodes: ``N``.
        q: the potential.
        relative: divide it by the number of one-way pairs, or of nodes if those are fewer.
        symmetric: normalise by degrees.
    """
    src, dst = edge_index[:, edge_index[0] != edge_index[1]]
    pairs = np.unique(src * num_nodes + dst)
    src, dst = np.divmod(pairs, max(num_nodes, 1))
    one_way = ~np.isin(dst * num_nodes + src, pairs)
    num_one_way = int(one_way.sum())
    if relative:
        q = q / max(1, min(num_one_way, num_nodes))
    angle = np.where(one_way, 2 * np.pi * q, 0.0)
    row = np.concatenate([src, dst[one_way]])
    col = np.concatenate([dst, src[one_way]])
    phase = np.exp(1j * np.concatenate([angle, -angle[one_way]]))
    degree = np.bincount(row, minlength=num_nodes).astype(np.float64)
    if symmetric:
        phase /= np.sqrt(degree[row] * degree[col])
        degree[:] = 1
    nodes = np.arange(num_nodes)
    ends = (np.concatenate([row, nodes]), np.concatenate([col, nodes]))
    entries = np.concatenate([-phase, degree])
    return csr_array((entries, ends), shape=(num_nodes, num_nodes)), num_one_way


def smallest_eigenpairs(laplacian: Any, k: int, dense_limit: int, seed: int) -> tuple[Any, Any]:
    """The ``min(k, N)`` smallest eigenvalues, ascending, and their eigenvectors ``[N, min(k, N)]``.

    Each connected component is solved on its own, so that an eigenvector lives on one of them and
    no multiplicity is missed for there being several. Phases are fixed as `fix_phases` says.

    Args:
        laplacian: ``[N, N]``, sparse, Hermitian and positive semidefinite.
        k: how many.
        dense_limit: the most nodes of a component that is solved densely.
        seed: of the vector that Lanczos starts from.
    """
    num_nodes = laplacian.shape[0]
    count = min(k, num_nodes)
    vectors = np.zeros((num_nodes, count), dtype=np.complex128)
    if count == 0:
        return np.zeros(0), vectors
    entries = (np.ones(laplacian.nnz), laplacian.indices, laplacian.indptr)
    num_parts, part = connected_components(csr_array(entries, laplacian.shape), directed=False)
    order = part.argsort(kind="stable")
    laplacian = laplacian.toarray() if num_nodes <= SMALL else laplacian
    grouped = laplacian[order][:, order]
    sizes = np.bincount(part, minlength=num_parts)
    stops = sizes.cumsum()
    # Nodes on their own all have the same eigenvalue: more than k of them are never chosen.
    single = sizes == 1
    solved = np.flatnonzero(~single | (single.cumsum() <= k))
    pairs = []
    for stop, size in zip(stops[solved], sizes[solved], strict=True):
        block = grouped[stop - size : stop, stop - size : stop]
        pairs.append(_of_component(block, k, dense_limit, seed))
    values = np.concatenate([found for found, _ in pairs])
    # Equal eigenvalues come in the order of their components, whatever was rounded how.
    chosen = values.round(9).argsort(kind="stable")[:count]
    owner = np.repeat(np.arange(len(solved)), [len(found) for found, _ in pairs])
    within = np.concatenate([np.arange(len(found)) for found, _ in pairs])
    for column, at in enumerate(chosen):
        stop, size = stops[solved[owner[at]]], sizes[solved[owner[at]]]
        vectors[order[stop - size : stop], column] = pairs[owner[at]][1][:, within[at]]
    return values[chosen], vectors


def _of_component(laplacian: Any, k: int, dense_limit: int, seed: int) -> tuple[Any, Any]:
    size = laplacian.shape[0]
    if size <= max(dense_limit, 3 * k + 20):
        laplacian = laplacian.toarray() if issparse(laplacian) else laplacian
        values, vectors = scipy.linalg.eigh(laplacian, subset_by_index=[0, min(k, size) - 1])
    else:
        values, vectors = _lanczos(csr_array(laplacian), k, seed)
    # Positive semidefinite: what is below zero was rounded.
    return values.clip(min=0), fix_phases(vectors)


def _lanczos(laplacian: Any, k: int, seed: int) -> tuple[Any, Any]:
    """Lanczos from seeded vectors, again and again without what was found, until nothing is new.

    One start finds one vector of an eigenspace, or a few by rounding; whatever has no more
    eigenvalues below the ``k``-th without the vectors found has none that were missed.
    """
    generator = np.random.default_rng(seed)
    norm = abs(laplacian).sum(axis=1).max()
    start = _start(laplacian, generator, k)
    values, vectors = np.full(k, np.inf), np.zeros((laplacian.shape[0], 0))
    while True:
        basis, _ = np.linalg.qr(np.concatenate([vectors, start(vectors)], axis=1))
        reduced, turn = np.linalg.eigh(basis.conj().T @ (laplacian @ basis))
        before, values, vectors = values, reduced[:k], basis @ turn[:, :k]
        if (before - values).max() <= SAME * norm:
            return values, vectors


def _start(laplacian: Any, generator: Any, k: int) -> Callable[[Any], Any]:
    """A search for ``k`` more eigenvectors of the smallest eigenvalues, orthogonal to those known.

    On the inverse, which needs the fewest steps, where the factors of the Laplacian stay sparse, as
    those of a path, a tree or a mesh do; else on the matrix, and on the inverse after all if the
    eigenvalues are too close together for that. SciPy has one complex Lanczos, inside ``eigs``: for
    a complex matrix ``eigsh`` calls that.
    """
    size = laplacian.shape[0]
    norm = abs(laplacian).sum(axis=1).max()
    options: dict[str, Any] = {"ncv": 3 * k + 20}
    if "rng" in inspect.signature(eigs).parameters:  # from scipy 1.17 on
        options["rng"] = generator
    inverse: Any = _inverse(laplacian) if factors_stay_sparse(laplacian) else None

    def direct(x: Any, known: Any) -> Any:
        return laplacian @ x + 2 * norm * (known @ (known.conj().T @ x))

    def inverted(x: Any, known: Any) -> Any:
        x = inverse.solve(x - known @ (known.conj().T @ x))
        return x - known @ (known.conj().T @ x)

    def search(known: Any) -> Any:
        nonlocal inverse
        options["v0"] = generator.standard_normal(size) + 1j * generator.standard_normal(size)
        # Later on only to see whether there is more, where eigenvalues are ever closer.
        options["k"] = max(1, k // 4) if known.size else k
        if inverse is None:
            try:
                operator = _operator(lambda x: direct(x, known), size)
                return eigs(operator, which="SR", maxiter=RESTARTS, tol=1e-9, **options)[1]
            except ArpackNoConvergence as partial:
                if known.size:  # what was missed would have come first
                    return partial.eigenvectors
                inverse = _inverse(laplacian)
        operator = _operator(lambda x: inverted(x, known), size)
        return eigs(operator, which="LR", **options)[1]

    return search


def factors_stay_sparse(laplacian: Any, fill: int = FILL) -> bool:
    """Of a connected graph: whether a cheap bound on their size is small enough.

    Args:
        laplacian: ``[N, N]`` of a connected graph, in rows, with its diagonal.
        fill: entries that the rows may have in the mean.
    """
    size = laplacian.shape[0]
    if laplacian.nnz < 3 * size:  # a tree, whose leaves go first and leave nothing behind
        return True
    order = reverse_cuthill_mckee(laplacian, symmetric_mode=True)
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    first = np.minimum.reduceat(place[laplacian.indices], laplacian.indptr[:-1])
    return bool((place - first).sum() <= fill * size)


def _inverse(laplacian: Any) -> Any:
    shifted = laplacian - SHIFT * diags_array(np.ones(laplacian.shape[0]))
    return splu(csc_array(shifted), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)


def _operator(matvec: Callable[[Any], Any], size: int) -> Any:
    return LinearOperator((size, size), matvec=matvec, dtype=np.complex128)


def fix_phases(vectors: Any) -> Any:
    """Turn eigenvectors, which any solver returns with any phase, to an agreed one.

    First, the sum of each becomes positive, or its largest entry where the sum is zero. The anchor
    is the node with the largest imaginary part in the first of them; then each is turned so that
    its entry there is positive, unless that is zero. Of nodes that tie, the first is taken.

    Args:
        vectors: ``[N, k]``.
    """
    size = np.abs(vectors)
    largest = size.max(axis=0)
    top = (size >= (1 - TIE) * largest).argmax(axis=0)
    total = vectors.sum(axis=0)
    weak = np.abs(total) <= TIE * size.sum(axis=0)
    total = np.where(weak, vectors[top, np.arange(vectors.shape[1])], total)
    vectors = vectors * (total.conj() / np.abs(total))
    height = vectors[:, 0].imag
    anchor = (height >= height.max() - TIE * largest[0]).argmax()
    known = size[anchor] > TIE * largest
    at = np.where(known, vectors[anchor], 1)
    return vectors * (at.conj() / np.abs(at))
