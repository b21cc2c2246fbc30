"""From eigenpairs of the magnetic Laplacian to features that a network can use."""

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from gnnlib import ops
from gnnlib.adjacency import Adjacency

# What is read off the pair kernel of a node: its diagonal, and three complex numbers.
_READINGS = 7


class MagneticEncoder(nn.Module):
    r"""Encode the nodes of a graph by its magnetic eigenpairs, without regard to the signs of the
    eigenvectors, or to their phases.

    .. math::
        x_i = \rho\Big( \big\Vert_{m=1}^{k} \big[ \phi(v_{im}) + \phi(-v_{im}),\, \lambda_m \big]
        \Big), \qquad v_{im} = [\mathrm{Re}\, V_{im}, \mathrm{Im}\, V_{im}],

    MagLapNet of Geisler et al., 2023, "Transformers Meet Directed Graphs", section 3, sees the
    phases that :class:`AddMagneticLaplacianPE` has fixed; :math:`\phi` and :math:`\rho` are MLPs.
    With ``invariant=True``, the encoding is made of the pair kernel

    .. math::
        \kappa_{ij} = n \sum_{m=1}^{k} f(\lambda_m)\, V_{im} \overline{V_{jm}}, \qquad
        x_i = \rho\Big( \kappa_{ii},\; \tfrac1n \textstyle\sum_j \kappa_{ij},\;
        \mathrm{mean}_{j \to i}\, \kappa_{ij},\; \mathrm{mean}_{i \to j}\, \kappa_{ij} \Big)

    with an MLP :math:`f: \mathbb{R} \to \mathbb{R}^{C}` and :math:`n` nodes. A phase of an
    eigenvector cancels, and so does any unitary change of basis among those that share an
    eigenvalue (unless there are more of them than the last of ``k`` places hold): nothing is left
    to a convention. The mean over all nodes knows who is upstream of most, also on trees, where
    :math:`\kappa_{ij}` has the same phase at all edges. No row per edge is written.

    Differs: eigenvectors are multiplied by :math:`\sqrt n`, which makes their entries about 1 in
    graphs of any size, and activations are GELU by default: at the small entries of large graphs
    :math:`\phi(v) + \phi(-v)` is all but constant, exactly so with ReLU. In the authors' code the
    first eigenvector goes through :math:`\phi` with one sign only, eigenvalues are optional, and
    there is an optional attention among the eigenvectors of a node. The paper has no
    phase-invariant form; ours is a filter of the Laplacian, as that of Lim et al., 2023, "Sign and
    Basis Invariant Networks for Spectral Graph Representation Learning", is for real ones.

    Args:
        k: number of eigenpairs.
        out_channels: width of the encoding.
        hidden_channels: width of all hidden layers, and :math:`C` (default 32).
        num_layers: number of linear layers of each MLP (default 2).
        invariant: whether the pair kernel is used (default ``False``).
        dropout: probability of dropout before :math:`\rho`, in training (default 0).
        act: activation, a name that PyG resolves (default ``"gelu"``).

    Raises:
        ValueError: a size is not positive, or ``dropout`` is not in [0, 1).

    Example:
        >>> from torch_geometric.data import Data
        >>> from gnnlib.encodings import AddMagneticLaplacianPE
        >>> data = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
        >>> data = AddMagneticLaplacianPE(k=3)(data)
        >>> pairs = data.magnetic_pe, data.magnetic_pe_values, data.magnetic_pe_mask
        >>> MagneticEncoder(3, 16)(*pairs).shape
        torch.Size([4, 16])
        >>> MagneticEncoder(3, 16, invariant=True)(*pairs, edge_index=data.edge_index).shape
        torch.Size([4, 16])
    """

    def __init__(
        self,
        k: int,
        out_channels: int,
        hidden_channels: int = 32,
        num_layers: int = 2,
        *,
        invariant: bool = False,
        dropout: float = 0.0,
        act: str = "gelu",
    ) -> None:
        super().__init__()
        sizes = {"k": k, "out_channels": out_channels, "hidden_channels": hidden_channels}
        for name, value in (*sizes.items(), ("num_layers", num_layers)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}")
        self.k = k
        self.out_channels = out_channels
        self.hidden_channels = hidden_channels
        self.invariant = invariant
        self.dropout = nn.Dropout(dropout)

        def mlp(first: int, last: int, plain_last: bool) -> MLP:
            channels = [first, *[hidden_channels] * (num_layers - 1), last]
            return MLP(channels, act=act, norm=None, plain_last=plain_last)

        if invariant:
            self.filter = mlp(1, hidden_channels, True)
            self.rho = mlp(_READINGS * hidden_channels, out_channels, True)
        else:
            self.phi = mlp(2, hidden_channels, False)
            self.rho = mlp(k * (hidden_channels + 1), out_channels, True)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.children():
            if isinstance(module, MLP):
                module.reset_parameters()

    def forward(
        self,
        eigenvectors: Tensor,
        eigenvalues: Tensor,
        mask: Tensor | None = None,
        batch: Tensor | None = None,
        edge_index: Any = None,
    ) -> Tensor:
        """Encode the nodes.

        Args:
            eigenvectors: ``[N, k]`` complex, or ``[N, k, 2]`` real.
            eigenvalues: ``[B, k]``, those of each graph.
            mask: ``[B, k]``, which of them are there; default all.
            batch: ``[N]``, the graph of each node; default one graph.
            edge_index: the graph, anything :meth:`gnnlib.Adjacency.of` takes; only looked at, and
                then needed, with ``invariant=True``.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ValueError: shapes disagree, or the graph is not given where it is needed.
        """
        v, values, present, owner = self._checked(eigenvectors, eigenvalues, mask, batch)
        if self.invariant:
            if edge_index is None:
                raise ValueError(
                    "`edge_index` is needed with invariant=True, whose neighbours it reads"
                )
            adj = Adjacency.of(edge_index, v.size(0))
            read = self._readings(v, values, present, owner, adj)
        else:
            v = v * _sizes(v, owner, len(values)).sqrt()
            embedded = (self.phi(v) + self.phi(-v)) * _of_nodes(present, owner).unsqueeze(-1)
            level = _of_nodes(values * present, owner).expand(v.size(0), self.k)
            read = torch.cat([embedded, level.unsqueeze(-1)], dim=-1)
        out: Tensor = self.rho(self.dropout(read.flatten(1)))
        return out

    def pair_kernel(
        self,
        eigenvectors: Tensor,
        eigenvalues: Tensor,
        pairs: Tensor,
        mask: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        r"""The kernel of pairs of nodes: features of edges, or a bias of attention.

        Args:
            eigenvectors: as in :meth:`forward`.
            eigenvalues: likewise.
            pairs: ``[2, P]`` nodes :math:`j` and :math:`i` of one graph, as ``edge_index`` has
                them.
            mask: as in :meth:`forward`.
            batch: likewise.

        Returns:
            ``[P, 2 * hidden_channels]``: real and imaginary parts of :math:`\kappa_{ij}`. The pair
            the other way has the same real, and the opposite imaginary part.

        Raises:
            ValueError: shapes disagree, or the encoder is not invariant.
        """
        if not self.invariant:
            raise ValueError("the pair kernel belongs to MagneticEncoder(..., invariant=True)")
        v, values, present, owner = self._checked(eigenvectors, eigenvalues, mask, batch)
        j, i = pairs
        size = _sizes(v, owner, len(values))
        products = _product(v[i], v[j]) * (size if owner is None else size[i])
        owner = None if owner is None else owner[i]
        return self._filtered(products, values, present, owner).flatten(1)

    def _checked(
        self, vectors: Tensor, values: Tensor, mask: Tensor | None, batch: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """``[N, k, 2]`` vectors, ``[B, k]`` values and presence, and the graph of each node."""
        vectors = torch.view_as_real(vectors) if vectors.is_complex() else vectors
        if vectors.dim() != 3 or vectors.shape[1:] != (self.k, 2):
            raise ValueError(
                f"`eigenvectors` must be [N, {self.k}] complex or [N, {self.k}, 2] real, got "
                f"{list(vectors.shape)} (the transform's `k`, or its `as_real`?)"
            )
        if values.dim() != 2 or values.size(1) != self.k:
            raise ValueError(f"`eigenvalues` must be [B, {self.k}], got {list(values.shape)}")
        if mask is not None and mask.shape != values.shape:
            raise ValueError(
                f"`mask` must be {list(values.shape)} as `eigenvalues`, got {list(mask.shape)}"
            )
        if batch is None and values.size(0) != 1:
            raise ValueError(f"`batch` is needed for {values.size(0)} graphs")
        if batch is not None and batch.shape != vectors.shape[:1]:
            raise ValueError(f"`batch` must be [{vectors.size(0)}], got {list(batch.shape)}")
        dtype = next(self.parameters()).dtype
        present = torch.ones_like(values, dtype=dtype) if mask is None else mask.to(dtype)
        return vectors.to(dtype), values.to(dtype), present, batch if len(values) > 1 else None

    def _readings(
        self, v: Tensor, values: Tensor, present: Tensor, owner: Tensor | None, adj: Adjacency
    ) -> Tensor:
        """``[N, 7, C]``: what a node reads off the kernel."""
        size = _sizes(v, owner, len(values))
        if owner is None:
            total = v.sum(0, keepdim=True)
        else:
            total = ops.scatter_sum(v, owner, dim=0, dim_size=len(values))[owner]
        heard = [ops.gather_reduce(v, graph, reduce="mean") for graph in (adj, adj.T)]
        # The graph's mean of n V_j is the sum of V_j.
        products = [v.square().sum(-1).unsqueeze(1) * size, _product(v, total)]
        products += [_product(v, other) * size for other in heard]
        return self._filtered(torch.cat(products, dim=1), values, present, owner)

    def _filtered(
        self, products: Tensor, values: Tensor, present: Tensor, owner: Tensor | None
    ) -> Tensor:
        """``[M, *, C]``, sums over eigenpairs of ``[M, *, k]`` products, each by its filter."""
        response = self.filter(values.unsqueeze(-1)) * present.unsqueeze(-1)
        return torch.matmul(products, response[0] if owner is None else response[owner])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.k}, {self.out_channels}, "
            f"hidden_channels={self.hidden_channels}, invariant={self.invariant})"
        )


def _sizes(v: Tensor, owner: Tensor | None, num_graphs: int) -> Tensor:
    """``[N, 1, 1]``: the size of each node's graph; ``[1, 1, 1]`` where there is one."""
    if owner is None:
        return v.new_full((1, 1, 1), v.size(0))
    sizes = ops.scatter_sum(torch.ones_like(owner), owner, dim=0, dim_size=num_graphs)
    return sizes[owner].to(v.dtype).view(-1, 1, 1)


def _of_nodes(per_graph: Tensor, owner: Tensor | None) -> Tensor:
    """Each node's row of its graph; one row for all, where there is one graph."""
    return per_graph if owner is None else per_graph[owner]


def _product(v: Tensor, w: Tensor) -> Tensor:
    """``[M, 2, k]``: real and imaginary part of each entry of v times the conjugate of w's."""
    (a, b), (c, d) = v.unbind(-1), w.unbind(-1)
    return torch.stack([a * c + b * d, b * c - a * d], dim=1)
