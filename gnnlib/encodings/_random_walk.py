"""Random walks both ways along directed edges, as an encoding."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from gnnlib._check import check_whole
from gnnlib._warning import warn
from gnnlib.encodings._graphs import Graph, check_name, graphs_of, store
from gnnlib.encodings._walks import edge_form, node_form, pair_form, transition

Form = Literal["node", "edge", "pair"]

_NAMES = {"node": "", "edge": "edge_", "pair": "pair_"}


@functional_transform("add_directed_random_walk_pe")
class AddDirectedRandomWalkPE(BaseTransform):  # type: ignore[misc]
    r"""Add the probabilities of random walks along the edges and against them (functional name:
    ``add_directed_random_walk_pe``).

    .. math::
        T = D_{\mathrm{out}}^{-1} A, \qquad R = D_{\mathrm{in}}^{-1} A^\top, \qquad
        \Pi(T) = p \, \big(I - (1 - p) T\big)^{-1},

    from Geisler et al., 2023, "Transformers Meet Directed Graphs", section 4. A walker stays where
    no edge leads on: :math:`T` has a self loop at sinks, :math:`R` at sources.
    :math:`A_{ij}` is the number of edges from :math:`i` to :math:`j`, or the sum of their
    ``edge_weight``.

    ``"pair"``: :math:`[T, \dots, T^K, \Pi(T), R, \dots, R^K, \Pi(R)]_{ij}` of all pairs, the
    paper's encoding of relative positions.

    ``"edge"``: of each edge :math:`i \to j` the first half at :math:`(i, j)`, along the edge, and
    the second at :math:`(j, i)`, back along it.

    ``"node"``: of each node, for :math:`k = 1, \dots, K`,

    .. math::
        (T^k)_{ii}, \quad (R^k)_{ii}, \quad (T^k R^k)_{ii}, \quad (R^k T^k)_{ii}, \quad
        \log\Big(1 + \sum_s (T^k)_{si}\Big), \quad \log\Big(1 + \sum_s (R^k)_{si}\Big),

    one group of :math:`K` columns after the other, and last :math:`\log(1 + \sum_s \Pi(T)_{si})`
    and :math:`\log(1 + \sum_s \Pi(R)_{si})`. The diagonals of powers, all that PyG's
    ``AddRandomWalkPE`` has, are 0 on a DAG except at its ends, as no walk returns. One that goes
    :math:`k` steps forth and :math:`k` back, or back and forth, does: its probability falls with
    the number of nodes that share the node's successors, or its predecessors. The sums are the
    walkers that arrive if one starts at each node (PageRank times :math:`N` is the last of them),
    which tells how much of the graph is upstream of a node, or downstream; logarithms keep hubs in
    bounds.

    Differs: on a DAG :math:`R_{ij}` is 0 for every edge :math:`i \to j`, so at edges the second
    half is taken the other way round. The paper has no node form.

    Cost: up to ``dense_limit`` nodes :math:`O(K N E)` time and :math:`O(N^2)` memory; above, sparse
    powers by blocks of rows, in memory that is bounded; there :math:`\Pi` at the edges takes
    :math:`O(N E \log(10^7) / p)`, so for large graphs set ``restart=None``.

    Args:
        walk_length: :math:`K`, at least 1.
        form: ``"node"`` (default), ``"edge"`` or ``"pair"``.
        restart: :math:`p`, in (0, 1) (default 0.2), or ``None`` to leave :math:`\Pi` out.
        attr_name: where it is stored; default ``"directed_rw_pe"``, ``"edge_directed_rw_pe"`` or
            ``"pair_directed_rw_pe"``.
        dense_limit: the most nodes of a graph whose powers are kept densely, and of one that may
            have all its pairs encoded (default 2000).

    Returns the graph with ``directed_rw_pe [N, 6K + 2]`` in the node form,
    ``edge_directed_rw_pe [E, 2K + 2]`` in the edge form, or ``pair_directed_rw_pe [N * N, 2K + 2]``
    and ``pair_directed_rw_pe_index [2, N * N]`` in the pair form: of one graph,
    ``.view(N, N, -1)``; of a batch, PyG's ``to_dense_adj(index, batch, pe)`` pads to
    ``[B, N, N, 2K + 2]``. Without :math:`\Pi` there are two columns less.

    Raises:
        ValueError: an argument is out of its range; or, when called, a graph is too large for the
            pair form, has no ``edge_index``, several kinds of nodes, or negative weights.

    Warns:
        UserWarning: a graph is undirected: walks both ways are the same.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> AddDirectedRandomWalkPE(2)(path).directed_rw_pe.shape
        torch.Size([3, 14])
        >>> data = AddDirectedRandomWalkPE(2, form="pair", restart=None)(path)
        >>> data.pair_directed_rw_pe.view(3, 3, 4)[0]  # from node 0: T, T^2, R, R^2
        tensor([[0., 0., 1., 1.],
                [1., 0., 0., 0.],
                [0., 1., 0., 0.]])
    """

    def __init__(
        self,
        walk_length: int,
        form: Form = "node",
        restart: float | None = 0.2,
        attr_name: str | None = None,
        *,
        dense_limit: int = 2000,
    ) -> None:
        check_whole(walk_length=walk_length)
        check_whole(0, dense_limit=dense_limit)
        if form not in get_args(Form):
            raise ValueError(f"`form` must be 'node', 'edge' or 'pair', got {form!r}")
        if restart is not None and not 0 < restart < 1:
            raise ValueError(f"`restart` must be in (0, 1), or None, got {restart}")
        self.walk_length = walk_length
        self.form = form
        self.restart = restart
        self.attr_name = f"{_NAMES[form]}directed_rw_pe" if attr_name is None else attr_name
        self.dense_limit = dense_limit
        check_name(self.attr_name)

    def forward(self, data: Any) -> Any:
        """Encode a ``Data`` or a ``Batch``; see the class."""
        graphs = graphs_of(data, type(self).__name__, weighted=True)
        found, undirected = [], 0
        for graph in graphs:
            pe, same = self._encoded(graph)
            found.append(pe)
            undirected += same
        if undirected:
            warn(self._lost(undirected, len(graphs)))
        pe = torch.from_numpy(np.concatenate(found))
        if self.form == "edge":
            order = torch.from_numpy(np.concatenate([graph.edges for graph in graphs]))
            pe = torch.empty_like(pe).index_copy(0, order, pe)
        real = torch.promote_types(torch.get_default_dtype(), torch.float32)
        store(data, self.attr_name, pe.to(real), [len(rows) for rows in found])
        if self.form == "pair":
            self._store_index(data, graphs)
        return data

    def _encoded(self, graph: Graph) -> tuple[Any, bool]:
        """One graph's encoding, and whether it has edges and all go both ways."""
        size, ends = graph.num_nodes, graph.edge_index
        if self.form == "pair" and size > self.dense_limit:
            width = 2 * self.walk_length + (0 if self.restart is None else 2)
            raise ValueError(
                f"the pair form of {size} nodes would take {8 * width * size**2 / 1e9:.1f} GB, "
                f"more than `dense_limit`={self.dense_limit} nodes allow (use form='edge', or a "
                "higher limit)"
            )
        forward = transition(ends, graph.weight, size)
        backward = transition(ends[::-1], graph.weight, size)
        joined = bool((ends[0] != ends[1]).any())
        same = joined and bool(abs(forward - backward).max() < 1e-12)
        walks = (forward, backward, self.walk_length, self.restart)
        if self.form == "node":
            return node_form(*walks, self.dense_limit), same
        if self.form == "edge":
            return edge_form(ends, *walks, self.dense_limit), same
        pe = pair_form(*walks)
        return pe.reshape(size**2, pe.shape[-1]), same

    def _store_index(self, data: Any, graphs: list[Graph]) -> None:
        nodes = [torch.arange(graph.nodes.start, graph.nodes.stop) for graph in graphs]
        parts = [torch.cartesian_prod(own, own).T for own in nodes]
        sizes = [graph.num_nodes**2 for graph in graphs]
        shift = [graph.nodes.start for graph in graphs]
        store(data, f"{self.attr_name}_index", torch.cat(parts, dim=1), sizes, shift)

    def _lost(self, undirected: int, total: int) -> str:
        which = "the graph is" if total == 1 else f"{undirected} of {total} graphs are"
        return (
            f"{type(self).__name__}: {which} undirected (every edge goes both ways), so walks "
            "along edges and against them are the same, half of the columns repeat the others, and "
            "direction is not encoded (had the edges a direction before ToUndirected? for "
            "undirected graphs, use torch_geometric.transforms.AddRandomWalkPE)"
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.walk_length}, form={self.form!r}, "
            f"restart={self.restart}, attr_name={self.attr_name!r}, dense_limit={self.dense_limit})"
        )
