"""Eigenvectors of the magnetic Laplacian, which know which way edges point."""

import math
from typing import Any

import torch
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from gnnlib._check import check_whole
from gnnlib._warning import warn
from gnnlib.encodings._eigenpairs import magnetic_laplacian, smallest_eigenpairs
from gnnlib.encodings._graphs import check_name, graphs_of, store


@functional_transform("add_magnetic_laplacian_pe")
class AddMagneticLaplacianPE(BaseTransform):  # type: ignore[misc]
    r"""Add the smallest eigenpairs of the magnetic Laplacian (functional name:
    ``add_magnetic_laplacian_pe``).

    .. math::
        L = I - D^{-1/2} \big(S \odot e^{i \Theta}\big) D^{-1/2}
        \quad\text{or}\quad L = D - S \odot e^{i \Theta}, \qquad
        S = A \vee A^\top, \quad \Theta = 2 \pi q' (A - A^\top),

    from Geisler et al., 2023, "Transformers Meet Directed Graphs", section 3. :math:`A` is binary
    and without self loops, whatever the edges weigh; :math:`D` holds the degrees of :math:`S`. With
    ``relative``, :math:`q' = q / \max(1, \min(m, N))` for :math:`m` pairs of nodes with an edge one
    way only, so that the phase from one end of a graph to the other stays bounded; otherwise
    :math:`q' = q`.
    :math:`L` is Hermitian: its eigenvalues are real and not negative, its eigenvectors complex,
    their moduli say where a node is, their phases what is upstream of what. On a directed path, and
    on any tree, the phase of the first eigenvector falls by :math:`2 \pi q'` with every edge.

    An eigenvector times :math:`e^{i \varphi}` is one too. As in the paper, an anchor node settles
    it: the one with the largest imaginary part in the first eigenvector, in which all eigenvectors
    are made real and positive (where they are not zero). :class:`MagneticEncoder` with
    ``invariant=True`` needs no such choice.

    Differs: before the anchor is chosen, eigenvectors are turned so that their sums are positive
    (or, where those are 0, their entries of largest modulus). The authors' code fixes a sign only,
    so that its anchor depends on the phase that the solver happens to return. Of nodes that tie,
    the first in the graph's order is taken, so that graphs with symmetries are encoded up to
    them. Connected components are solved one by one, and each has its anchor.

    Up to ``dense_limit`` nodes a component is solved densely; above, by SciPy's Lanczos from
    seeded vectors, on the inverse of a path, a tree or a mesh, else on the matrix, or on its
    inverse if its eigenvalues are too close together, and once more without what was found, until
    no copy of an eigenvalue is missing.

    Args:
        k: number of eigenpairs, at least 1.
        q: potential, from 0 on (default 0.25). At 0 this is the ordinary Laplacian; not relative,
            phases repeat with period 1, and at 1/2 both directions of an edge have the same.
        relative: whether ``q`` is divided as above (default ``True``).
        use_symmetric_norm: whether :math:`L` is the first form above (default ``True``); then all
            eigenvalues are in [0, 2], and that of a node without edges is 1, otherwise 0.
        attr_name: where eigenvectors are stored (default ``"magnetic_pe"``).
        as_real: store ``[N, k, 2]`` real numbers instead of ``[N, k]`` complex ones (default
            ``False``).
        dense_limit: the most nodes of a component that is solved densely (default 1000).
        seed: of the vectors that Lanczos starts from (default 0).

    Returns the graph with ``magnetic_pe [N, k]``, complex; ``magnetic_pe_values [1, k]``, the
    eigenvalues, ascending; and ``magnetic_pe_mask [1, k]``, ``False`` for what is padded with zeros
    in a graph of fewer than ``k`` nodes. A batch has a row of the last two for each graph.

    Raises:
        ValueError: an argument is out of its range; or, when called, the graph has no
            ``edge_index``, or several kinds of nodes.

    Warns:
        UserWarning: a graph is undirected: every phase is zero, and direction is not encoded.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
        >>> path = AddMagneticLaplacianPE(k=2)(path)
        >>> path.magnetic_pe.shape, path.magnetic_pe_values.shape
        (torch.Size([4, 2]), torch.Size([1, 2]))
        >>> (path.magnetic_pe[:, 0].angle() / torch.pi * 180).round().int()
        tensor([  0, -30, -60, -90], dtype=torch.int32)
    """

    def __init__(
        self,
        k: int,
        q: float = 0.25,
        relative: bool = True,
        use_symmetric_norm: bool = True,
        attr_name: str = "magnetic_pe",
        *,
        as_real: bool = False,
        dense_limit: int = 1000,
        seed: int = 0,
    ) -> None:
        check_whole(k=k)
        check_whole(0, dense_limit=dense_limit, seed=seed)
        if not 0 <= q < math.inf:
            raise ValueError(f"`q` must be finite and not negative, got {q}")
        check_name(attr_name)
        self.k = k
        self.q = q
        self.relative = relative
        self.use_symmetric_norm = use_symmetric_norm
        self.attr_name = attr_name
        self.as_real = as_real
        self.dense_limit = dense_limit
        self.seed = seed

    def forward(self, data: Any) -> Any:
        """Encode a ``Data`` or a ``Batch``; see the class."""
        graphs = graphs_of(data, type(self).__name__)
        num_nodes = graphs[-1].nodes.stop if graphs else 0
        vectors = torch.zeros(num_nodes, self.k, dtype=torch.complex128)
        values = torch.zeros(len(graphs), self.k, dtype=torch.float64)
        mask = torch.zeros(len(graphs), self.k, dtype=torch.bool)
        undirected = 0
        for i, graph in enumerate(graphs):
            laplacian, one_way = magnetic_laplacian(
                graph.edge_index, graph.num_nodes, self.q, self.relative, self.use_symmetric_norm
            )
            joined = (graph.edge_index[0] != graph.edge_index[1]).any()
            undirected += bool(joined and one_way == 0)
            found = smallest_eigenpairs(laplacian, self.k, self.dense_limit, self.seed)
            count = len(found[0])
            values[i, :count] = torch.from_numpy(found[0])
            vectors[graph.nodes, :count] = torch.from_numpy(found[1])
            mask[i, :count] = True
        if undirected and self.q:
            warn(self._lost(undirected, len(graphs)))
        real = torch.promote_types(torch.get_default_dtype(), torch.float32)
        pe = torch.view_as_real(vectors).to(real)
        nodes = [graph.num_nodes for graph in graphs]
        ones = [1] * len(graphs)
        store(data, self.attr_name, pe if self.as_real else torch.view_as_complex(pe), nodes)
        store(data, f"{self.attr_name}_values", values.to(real), ones)
        store(data, f"{self.attr_name}_mask", mask, ones)
        return data

    def _lost(self, undirected: int, total: int) -> str:
        which = "the graph is" if total == 1 else f"{undirected} of {total} graphs are"
        return (
            f"{type(self).__name__}: {which} undirected (every edge goes both ways), so all phases "
            "are zero and what is left is the ordinary Laplacian's eigenvectors, without direction "
            "(had the edges a direction before ToUndirected? for undirected graphs, set q=0)"
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.k}, q={self.q}, relative={self.relative}, "
            f"use_symmetric_norm={self.use_symmetric_norm}, attr_name={self.attr_name!r}, "
            f"as_real={self.as_real}, dense_limit={self.dense_limit}, seed={self.seed})"
        )
