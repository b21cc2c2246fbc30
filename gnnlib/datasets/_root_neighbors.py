"""RootNeighbors, the task on which a node must choose whom to listen to."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch_geometric.data import (  # type: ignore[import-untyped, unused-ignore]
    Data,
    InMemoryDataset,
)

Split = Literal["train", "val", "test"]

FEATURES = 5
HUBS = (1, 3)
LEVEL_1 = (3, 10)
LEAVES = (1, 2)
HUB_LEAVES = 5
# Held-out trees have this many more hubs, and start at this many more level-1 nodes.
HELD_OUT = 2


class RootNeighbors(InMemoryDataset):  # type: ignore[misc, unused-ignore]
    """Random trees of depth 2 whose root must find the mean of its neighbours of degree 6.

    RootNeighbors of Finkelshtein et al., "Cooperative Graph Neural Networks", ICML 2024, section
    6.1. A root (node 0) has 3 to 10 neighbours, of which 1 to 3 are hubs; a hub has 5 leaves, hence
    degree 6, and each other neighbour has 1 or 2. In the trees of ``"val"`` and ``"test"`` there
    are 3 to 5 hubs among 5 to 10 neighbours. Every range is drawn from uniformly, ends included;
    features are uniform on [-2, 2). The target of the root is the mean of the features of its hubs.

    Differs: from the paper's text, which gives 5 to 12 neighbours. Ours are those of the authors'
    code, with which the paper's table was made.

    Differs: from the authors' code, which draws all three splits from one generator. Here each
    split has its own, so that the test trees do not depend on how many training trees there are.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        num_trees: How many trees (at least 1; default 1000).
        seed: Any integer; the same seed and split give the same trees (default 0). The global
            random state is neither read nor changed.
        transform: Applied to each tree when it is taken out of the data set.

    Each item is a `Data` with ``x [n, 5]``; ``edge_index [2, 2(n - 1)]``, every edge in both
    directions; ``y [n, 5]``, zero but at the root; and ``train_mask``, ``val_mask`` and
    ``test_mask [n]``, all ``False`` but for the root in the mask of its own split.

    Raises:
        ValueError: The split is unknown, or ``num_trees`` is below 1.

    Example:
        >>> trees = RootNeighbors("train", num_trees=100)
        >>> trees
        RootNeighbors(100)
        >>> int(trees[0].train_mask.sum()), int(trees[0].val_mask.sum())
        (1, 0)
    """

    def __init__(
        self,
        split: Split = "train",
        num_trees: int = 1000,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        if split not in get_args(Split):
            raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
        if num_trees < 1:
            raise ValueError(f"num_trees must be at least 1, got {num_trees}")
        super().__init__(transform=transform)
        self._data, self.slices = _trees(split, num_trees, _generator(split, seed))


def _generator(split: Split, seed: int) -> torch.Generator:
    """A generator of its own for each pair of seed and split."""
    splits = get_args(Split)
    return torch.Generator().manual_seed((len(splits) * seed + splits.index(split)) % 2**63)


def _trees(split: Split, num: int, generator: torch.Generator) -> tuple[Data, dict[str, Tensor]]:
    """All trees at once, as PyG keeps them: side by side, with where each begins.

    A tree numbers its nodes level by level: the root, its hubs, its other neighbours, the leaves.
    """

    def draw(low: int, high: int, size: int) -> Tensor:
        return torch.randint(low, high + 1, (size,), generator=generator)

    extra = 0 if split == "train" else HELD_OUT
    hubs = draw(*HUBS, num) + extra
    level_1 = draw(LEVEL_1[0] + extra, LEVEL_1[1], num)

    # One row a level-1 node: its tree, its place among its siblings, the number of its leaves.
    tree, place = _enumerate(level_1)
    is_hub = place < hubs[tree]
    leaves = torch.where(is_hub, HUB_LEAVES, draw(*LEAVES, len(tree)))
    parent, _ = _enumerate(leaves)  # of each leaf, as a row of these

    leaf_tree = tree[parent]
    leaf_count = leaf_tree.bincount(minlength=num)
    _, leaf_place = _enumerate(leaf_count)

    # From here on by node. `start` is where a tree begins, `up` the parent inside its tree.
    start = _starts(1 + level_1 + leaf_count)
    roots, total = start[:-1], int(start[-1])
    nodes = roots[tree] + 1 + place
    up = torch.zeros(total, dtype=torch.long)
    up[roots[leaf_tree] + 1 + level_1[leaf_tree] + leaf_place] = 1 + place[parent]
    _, child = _enumerate(start.diff())
    child, up = child[child > 0], up[child > 0]

    x = 4 * torch.rand(total, FEATURES, generator=generator) - 2
    sums = torch.zeros(num, FEATURES).index_add(0, tree[is_hub], x[nodes[is_hub]])
    y = torch.zeros_like(x)
    y[roots] = sums / hubs[:, None]

    slices = {"x": start, "edge_index": 2 * (start - torch.arange(num + 1)), "y": start}
    # Both directions of an edge stand together: (child, parent), (parent, child).
    ends = torch.stack([child, up], dim=1)
    edge_index = torch.stack([ends.flatten(), ends.flip(1).flatten()])
    data = Data(x=x, edge_index=edge_index, y=y)
    for name in get_args(Split):
        mask = torch.zeros(total, dtype=torch.bool)
        mask[roots] = name == split
        data[f"{name}_mask"] = mask
        slices[f"{name}_mask"] = start
    return data, slices


def _starts(sizes: Tensor) -> Tensor:
    """Where each of consecutive groups begins, and where the last one ends."""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _enumerate(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """For each member of consecutive groups, its group and its place in it."""
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    return group, torch.arange(len(group)) - _starts(sizes)[group]
