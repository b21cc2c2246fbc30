"""The spectral gap of graphs, densely or by Lanczos, or not at all where it would take minutes."""

from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csc_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from gnnlib.encodings._eigenpairs import factors_stay_sparse

# Of graphs of more edges neither the gap nor resistances are found.
MOST_EDGES_SOLVED = 2**20
# Components up to this many nodes are solved densely.
DENSE = 400
# Of the eigenvalue of larger ones; the restarts after which Lanczos gives up, or fewer where these
# are of many nodes in all; and the entries in a row of factors up to which it takes the inverse.
TOLERANCE, RESTARTS, MOST_RESTARTED, FILL = 1e-6, 100, 2**22, 512
# Below all eigenvalues of a Laplacian, so that the inverse exists.
SHIFT = -1e-6


def mean_spectral_gap(adjacency: Any, component: Any, ptr: list[int]) -> float | None:
    """That of every graph's largest component, the mean over graphs with edges.

    Args:
        adjacency: scipy's sparse array of all graphs.
        component: the component of every node.
        ptr: where the nodes of every graph begin, and where the last ends.
    """
    gaps = []
    for start, stop in pairwise(ptr):
        own = component[start:stop]
        if own.size == 0:
            continue
        chosen = np.flatnonzero(own == np.bincount(own).argmax()) + start
        if chosen.size > 1:
            gap = _spectral_gap(adjacency[chosen][:, chosen])
            if gap is None:
                return None
            gaps.append(gap)
    return sum(gaps) / len(gaps) if gaps else None


def _spectral_gap(adjacency: Any) -> float | None:
    """That of a connected graph of two nodes or more, unless that takes minutes."""
    size = adjacency.shape[0]
    root = np.sqrt(adjacency.sum(0))
    if size <= DENSE:
        normalised = adjacency.toarray() / root / root[:, None]
        return float(1 - np.linalg.eigvalsh(normalised)[-2])
    if adjacency.nnz > 2 * MOST_EDGES_SOLVED:
        return None
    scale, start = diags_array(1 / root), np.random.default_rng(0).standard_normal(size)
    normalised = csr_array(scale @ adjacency @ scale)
    laplacian = csr_array(eye_array(size) - normalised)
    if factors_stay_sparse(laplacian, FILL):
        # Where a graph falls apart easily, as a path or a mesh does, its eigenvalues are too close
        # together for Lanczos, but not those of the inverse.
        system = csc_array(laplacian)
        found = eigsh(system, 2, sigma=SHIFT, v0=start, return_eigenvectors=False)
        return float(np.sort(found)[1])
    # The largest eigenvalue, 1, and its vector are known: moved to -1, they leave the second.
    top = root / np.linalg.norm(root)
    others = LinearOperator(
        normalised.shape, lambda x: normalised @ x - 2 * top * (top @ x), dtype=np.float64
    )
    restarts = min(RESTARTS, MOST_RESTARTED // size + 1)
    try:
        found = eigsh(others, 1, which="LA", v0=start, tol=TOLERANCE, maxiter=restarts)[0]
    except ArpackNoConvergence:
        return None
    return float(1 - found[0])
