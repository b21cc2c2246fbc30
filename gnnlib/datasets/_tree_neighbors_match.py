"""TreeNeighborsMatch, the task that squashes a whole tree into its root."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)

# As many as the authors' code makes: this many orders of the classes, each asked for every key.
ORDERS = 1000
MAX_GRAPHS = 32_000
# Up to this depth all orders are written down, so that none is drawn twice.
SMALL = 3


class TreeNeighborsMatch(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    r"""Binary trees whose root asks for the class of one of :math:`2^r` leaves.

    NeighborsMatch of Alon and Yahav, 2021, "On the Bottleneck of Graph Neural Networks and its
    Practical Implications", section 4.1, on trees of depth :math:`r`. Every leaf has a key,
    different from all others' (the paper's number of neighbours, given as a feature), and a class;
    the root has a key; and the answer is the class of the leaf with the root's key. The root cannot
    tell its children which key it has, as edges point to it: all leaves have to pass, and the
    channels that they pass through are as narrow at any depth.

    As in the authors' code, the ``i``-th leaf has the ``i``-th key, and the classes are a random
    permutation. The paper reports how well this is *fitted*: a network of :math:`r + 1` layers that
    cannot fit its training graphs has squashed too much.

    Differs: there are no self loops, which the authors' code stores and most layers add, and each
    graph draws its own permutation, where there a permutation is asked for all its keys.

    Args:
        depth: Depth :math:`r` of the trees (at least 1; default 2).
        num_graphs: How many graphs (default: as many as the authors', the least of 32,000, 1,000
            per leaf, and all that there are, :math:`2^r! \cdot 2^r`).
        seed: Any integer; the same seed gives the same graphs (default 0). The global random state
            is neither read nor changed.
        transform: Applied to each graph when it is taken out of the data set.

    Each item is a `Data` with ``x [n, 2]``, int64, the key and the class of a node, counted from 1,
    0 for none, for one-hot encoding or two embeddings; ``edge_index [2, n - 1]``, from children to
    parents and sorted by target; ``y [1]``, the class, counted from 0; and ``mask [n]``, ``True``
    at the root, node 0. Nodes are numbered level by level, so that leaves come last. Up to depth 3
    no two graphs are the same, and deeper that two are is unlikely: parts of the data set hold out
    what others have not shown.

    Raises:
        ValueError: ``depth`` or ``num_graphs`` is below 1, or there are not so many graphs.

    Example:
        >>> trees = TreeNeighborsMatch(depth=3)
        >>> trees
        TreeNeighborsMatch(8000)
        >>> key, leaves = trees[0].x[0, 0], trees[0].x[-8:]
        >>> leaves[leaves[:, 0] == key, 1] - 1 == trees[0].y
        tensor([True])
    """

    def __init__(
        self,
        depth: int = 2,
        num_graphs: int | None = None,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        leaves = 2**depth
        possible = math.factorial(leaves) * leaves if depth <= SMALL else math.inf
        if num_graphs is None:
            num_graphs = int(min(MAX_GRAPHS, ORDERS * leaves, possible))
        if not 1 <= num_graphs <= possible:
            raise ValueError(
                f"num_graphs must be at least 1 and at most {possible}, the different graphs of "
                f"depth {depth}, got {num_graphs}"
            )
        super().__init__(transform=transform)
        generator = torch.Generator().manual_seed(seed % 2**63)
        classes, key = (_all if depth <= SMALL else _drawn)(num_graphs, leaves, generator)

        size = 2 * leaves - 1
        x = torch.zeros(num_graphs, size, 2, dtype=torch.int64)
        x[:, 0, 0] = key + 1
        x[:, -leaves:, 0] = torch.arange(leaves) + 1
        x[:, -leaves:, 1] = classes + 1
        mask = torch.zeros(num_graphs, size, dtype=torch.bool)
        mask[:, 0] = True
        child = torch.arange(1, size)
        edge_index = torch.stack([child, (child - 1) // 2])

        graphs = torch.arange(num_graphs + 1)
        self._data = Data(
            x=x.flatten(0, 1),
            edge_index=edge_index.repeat(1, num_graphs),
            y=classes.gather(1, key[:, None]).flatten(),
            mask=mask.flatten(),
        )
        self.slices = {
            "x": graphs * size,
            "edge_index": graphs * (size - 1),
            "y": graphs,
            "mask": graphs * size,
        }


def _all(num: int, leaves: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes of the leaves ``[num, leaves]`` and keys ``[num]``, no two of them the same."""
    orders = torch.tensor(list(itertools.permutations(range(leaves))))
    drawn = torch.randperm(len(orders) * leaves, generator=generator)[:num]
    return orders[drawn // leaves], drawn % leaves


def _drawn(num: int, leaves: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same drawn independently; all keys occur equally often, or once more."""
    classes = torch.rand(num, leaves, generator=generator, dtype=torch.float64).argsort(dim=1)
    return classes, torch.randperm(num, generator=generator) % leaves
