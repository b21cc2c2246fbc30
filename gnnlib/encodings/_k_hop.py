"""Pairs of nodes up to some hops apart, stored with a graph."""

from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from gnnlib.adjacency import Adjacency
from gnnlib.ops import k_hop
from gnnlib.ops._k_hop import MAX_PAIRS, check_counts


@functional_transform("add_k_hop")
class AddKHop(BaseTransform):  # type: ignore[misc]
    r"""Store the pairs of nodes one to ``k`` hops apart (functional name: ``add_k_hop``).

    .. math::
        \{\, (j, i) : 1 \le d(j \to i) \le k \,\}

    as :func:`gnnlib.ops.k_hop` finds them, once and not in every epoch (Gutteridge et al., 2023,
    "DRew: Dynamically Rewired Message Passing with Delay", section 3). The graph gets
    ``k_hop_index [2, P]``, sources and targets, and ``k_hop_distance [P]``, which PyG's loaders
    join as they join edges; edges and their features stay as they are. A layer reads them as

    .. code-block:: python

        k_hop = KHop.of(data.k_hop_index, data.k_hop_distance, k, data.num_nodes)

    Differs: the paper's code puts the pairs in the place of the edges and the distances in that of
    their features, both of which are lost; and leaves out isolated nodes at the end.

    Args:
        k: the largest distance, at least 1.
        undirected: whether edges are followed both ways.
        num_samples: how many nodes to keep of each distance and node, drawn uniformly; all by
            default.
        max_pairs: the largest result, of one graph.
        seed: of ``num_samples``: the same seed draws the same nodes of a graph in every call. By
            default torch's global generator draws others each time.

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
        check_counts(k, num_samples)
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
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        pairs = k_hop(
            _adjacency(data),
            self.k,
            undirected=self.undirected,
            max_pairs=self.max_pairs,
            num_samples=self.num_samples,
            generator=generator,
        )
        data.k_hop_index, data.k_hop_distance = pairs.pairs, pairs.distance
        return data

    def __repr__(self) -> str:
        options = f"num_samples={self.num_samples}, max_pairs={self.max_pairs}, seed={self.seed}"
        return f"{type(self).__name__}(k={self.k}, undirected={self.undirected}, {options})"


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
