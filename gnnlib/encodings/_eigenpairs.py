"""The magnetic Laplacian and its smallest eigenpairs."""

import inspect
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse import csc_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, splu

# Numbers that differ by less, relative to the largest, are the same but for rounding.
TIE = 1e-6
# Restarts after which Lanczos turns to the inverse.
RESTARTS = 200
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
    shape = (num_nodes, num_nodes)
    laplacian = diags_array(degree, dtype=np.complex128) - csr_array((phase, (row, col)), shape)
    return csr_array(laplacian), num_one_way


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
    if size <= max(dense_limit, 2 * k + 20):
        last = min(k, size) - 1
        values, vectors = scipy.linalg.eigh(laplacian.toarray(), subset_by_index=[0, last])
    else:
        values, vectors = _lanczos(laplacian, k, seed)
    # Positive semidefinite: what is below zero was rounded.
    return values.clip(min=0), fix_phases(vectors)


def _lanczos(laplacian: Any, k: int, seed: int) -> tuple[Any, Any]:
    """Lanczos from a seeded vector; on the inverse where eigenvalues are too close for it.

    Gaps are small where a graph falls apart easily, as a path or a mesh does, and there the factors
    of its Laplacian stay sparse.
    """
    size = laplacian.shape[0]
    generator = np.random.default_rng(seed)
    start = generator.standard_normal(size) + 1j * generator.standard_normal(size)
    options: dict[str, Any] = {"k": k, "v0": start, "ncv": min(size, max(2 * k + 1, 20))}
    if "rng" in inspect.signature(eigs).parameters:  # from scipy 1.17 on
        options["rng"] = generator
    try:
        _, vectors = eigs(laplacian, which="SR", maxiter=RESTARTS, tol=1e-9, **options)
    except ArpackNoConvergence:
        shifted = csc_array(laplacian - SHIFT * diags_array(np.ones(size)))
        inverse = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
        operator = LinearOperator(laplacian.shape, matvec=inverse.solve, dtype=np.complex128)
        _, vectors = eigs(operator, which="LR", **options)
    # For complex matrices this is Arnoldi, whose vectors of close eigenvalues may lean.
    basis, _ = np.linalg.qr(vectors)
    values, turn = np.linalg.eigh(basis.conj().T @ (laplacian @ basis))
    return values, basis @ turn


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
