"""RingTransfer, the task on which what is asked for is as far away as it can be."""

from collections.abc import Callable

import torch
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)

from gnnlib._check import check_whole


class RingTransfer(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    r"""Rings on which a node must learn what the node opposite to it knows.

    RingTransfer of Bodnar et al., 2021, "Weisfeiler and Lehman Go Cellular: CW Networks", in the
    form of Gutteridge et al., 2023, "DRew: Dynamically Rewired Message Passing with Delay". On a
    ring of :math:`n` nodes, node :math:`\lfloor n/2 \rfloor` has a class, one-hot, node 0 has
    zeros, and all others have ones. Node 0 is asked for the class, which a network of fewer than
    :math:`\lfloor n/2 \rfloor` layers cannot have heard of.

    There are only ``num_classes`` different graphs of a size, so that held-out ones are none that
    training has not shown: what is measured is whether anything arrives, not whether it
    generalises.

    Differs: classes are shuffled, and occur equally often, or once more, for any number of graphs.
    The authors' code puts them in blocks, and fails if the number is no multiple of the classes.

    Args:
        num_nodes: Length of the rings, even or odd (at least 3; default 10).
        num_graphs: How many graphs (at least 1; default 2000).
        num_classes: How many classes there are (at least 2; default 5).
        seed: Any integer, of the order of the classes (default 0). The global random state is
            neither read nor changed.
        transform: Applied to each graph when it is taken out of the data set.

    Each item is a `Data` with ``x [n, num_classes]``; ``edge_index [2, 2n]``, every edge in both
    directions and sorted by target; ``y [1]``, the class; and ``mask [n]``, ``True`` at node 0, so
    that ``out[batch.mask]`` are the answers to ``batch.y``.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> rings = RingTransfer(num_nodes=6, num_graphs=100, num_classes=3)
        >>> rings, rings[0].x[3].argmax() == rings[0].y
        (RingTransfer(100), tensor([True]))
        >>> train, test = rings[:80], rings[80:]
    """

    def __init__(
        self,
        num_nodes: int = 10,
        num_graphs: int = 2000,
        num_classes: int = 5,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        check_whole(3, num_nodes=num_nodes)
        check_whole(1, num_graphs=num_graphs)
        check_whole(2, num_classes=num_classes)
        super().__init__(transform=transform)
        generator = torch.Generator().manual_seed(seed % 2**63)
        y = torch.randperm(num_graphs, generator=generator) % num_classes

        graph = torch.arange(num_graphs)
        x = torch.ones(num_graphs, num_nodes, num_classes)
        x[:, [0, num_nodes // 2]] = 0
        x[graph, num_nodes // 2, y] = 1
        mask = torch.zeros(num_graphs, num_nodes, dtype=torch.bool)
        mask[:, 0] = True
        node = torch.arange(num_nodes)
        source = torch.stack([node - 1, node + 1], dim=1) % num_nodes
        edge_index = torch.stack([source.flatten(), node.repeat_interleave(2)])

        nodes = torch.arange(num_graphs + 1) * num_nodes
        self._data = Data(
            x=x.flatten(0, 1), edge_index=edge_index.repeat(1, num_graphs), y=y, mask=mask.flatten()
        )
        self.slices = {
            "x": nodes,
            "edge_index": 2 * nodes,
            "y": torch.arange(num_graphs + 1),
            "mask": nodes,
        }
