"""Pairs of nodes up to some hops apart, stored with a graph."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from gnnlib.adjacency import Adjacency
from gnnlib.encodings._graphs import ptr_of, store
from gnnlib.ops import KHop, k_hop
from gnnlib.ops._k_hop import MAX_PAIRS, check_counts


@functional_transform("add_k_hop")
class AddKHop(BaseTransform):  # type: ignore[misc]
    r"""Store the pairs of nodes one to ``k`` hops apart (functional name: ``add_k_hop``).

    .. math::
        \{\, (j, i) : 1 \le d(j \to i) \le k \,\}

    as :func:`gnnlib.ops.k_hop` finds them, once and not in every epoch (Gutteridge et al., 2023,
    "DRew: Dynamically Rewired Message Passing with Delay", section 3). The graph gets
    ``k_hop_index [2, P]``, sources and targets, and ``k_hop_distance [P]``, which PyG's loaders
    join as they join edges; edges and their features stay as they are. In a batch every graph gets
    what it would get alone, and ``to_data_list`` gives it back. A layer reads the pairs as

    .. code-block:: python

        k_hop = KHop.of(data.k_hop_index, data.k_hop_distance, k, data.num_nodes)

    Differs: the paper's code puts the pairs in the place of the edges and the distances in that of
    their features, both of which are lost; and leaves out isolated nodes at the end.

    Args:
        k: the largest distance, at least 1.
        undirected: whether edges are followed both ways. Layers take their first hop from
            ``edge_index`` as it is, and further ones from the pairs: the reverse of a one-way
            edge, though a pair at distance 1, is heard only if ``ToUndirected`` comes before.
        num_samples: how many nodes to keep of each distance and node, drawn uniformly; all by
            default.
        max_pairs: the largest result, of one graph.
        seed: of ``num_samples``: the same seed draws the same nodes of a graph in every call, alone
            and in a batch. By default torch's global generator draws others each time.

    Raises:
        TypeError: the graph has nodes or edges of several types.
        ValueError: the graph has no edges to follow (``edge_index`` or ``adj_t``), or what
            :func:`gnnlib.ops.k_hop` raises.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
        >>> data = AddKHop(2)(path)
        >>> data.k_hop_index.tolist(), data.k_hop_distance.tolist()
        ([[0, 1, 0, 2, 1], [1, 2, 2, 3, 3]], [1, 1, 2, 1, 2])
    """

    def __init__(
        self,
        k: int,
        undirected: bool = False,
        num_samples: int | None = None,
        max_pairs: int = MAX_PAIRS,
        seed: int | None = None,
    ) -> None:
        check_counts(k, max_pairs, num_samples)
        self.k = k
        self.undirected = undirected
        self.num_samples = num_samples
        self.max_pairs = max_pairs
        self.seed = seed

    def forward(self, data: Any) -> Any:
        """Add ``k_hop_index`` and ``k_hop_distance`` to a graph or a batch of graphs."""
        if not isinstance(data, Data):
            raise TypeError(
                "`data` must be a Data or a Batch of them, as a distance counts edges of one kind; "
                f"got {type(data).__name__} (use to_homogeneous())"
            )
        graphs = _graphs(data, type(self).__name__)
        found = [self._pairs(adj) for adj in graphs]
        sizes = [pairs.num_pairs for pairs in found]
        starts = [0, *accumulate(adj.num_dst for adj in graphs)][:-1]
        index = [pairs.pairs + start for pairs, start in zip(found, starts, strict=True)]
        store(data, "k_hop_index", torch.cat(index, 1), sizes, starts)
        store(data, "k_hop_distance", torch.cat([pairs.distance for pairs in found]), sizes)
        return data

    def _pairs(self, adj: Adjacency) -> KHop:
        """Of one graph, with draws of its own, so that it is the same alone and in a batch."""
        return k_hop(
            adj,
            self.k,
            undirected=self.undirected,
            max_pairs=self.max_pairs,
            num_samples=self.num_samples,
            generator=None if self.seed is None else torch.Generator().manual_seed(self.seed),
        )

    def __repr__(self) -> str:
        options = f"num_samples={self.num_samples}, max_pairs={self.max_pairs}, seed={self.seed}"
        return f"{type(self).__name__}(k={self.k}, undirected={self.undirected}, {options})"


def _graphs(data: Data, asker: str) -> list[Adjacency]:
    """Each graph of a batch on its own."""
    whole, ptr = _adjacency(data), ptr_of(data, asker).tolist()
    bounds = whole.rowptr[ptr].tolist()
    owner = torch.bucketize(whole.edge_index, torch.tensor(ptr, device=whole.device), right=True)
    if not torch.equal(owner[0], owner[1]):
        raise ValueError(f"{asker} found an edge between two graphs of the batch")
    graphs = []
    for (start, stop), (first, last) in zip(pairwise(ptr), pairwise(bounds), strict=True):
        rowptr, col = whole.rowptr[start : stop + 1] - first, whole.col[first:last] - start
        graphs.append(Adjacency(rowptr, col, None, stop - start, check=False))
    return graphs


def _adjacency(data: Data) -> Adjacency:
    if data.get("edge_index") is not None:
        # As another tensor: a data set must not keep an adjacency and its pairs with every graph.
        return Adjacency.of(data.edge_index.detach(), data.num_nodes)
    if data.get("adj_t") is not None:
        return Adjacency.of(data.adj_t)
    raise ValueError(
        f"`data` must have an `edge_index` or `adj_t`, got {', '.join(data.keys()) or 'nothing'} "
        "(a graph without edges has an empty one, [2, 0])"
    )
