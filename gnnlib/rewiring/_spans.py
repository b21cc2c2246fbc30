"""Places of many lists, some millions at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

_AT_ONCE = 2**20


def spans(
    first: Tensor, count: Tensor, at_once: int = _AT_ONCE
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Go through ``first[k], ..., first[k] + count[k] - 1`` for every k.

    Args:
        first: ``[K]``.
        count: ``[K]``.
        at_once: how many places come together, more only where one k has more.

    Yields:
        The ks of this part; for each of its places, which of these ks (from 0 on) and the place.
    """
    before = count.cumsum(0) - count
    begin = 0
    for size in torch.bincount(before // at_once).tolist():
        part = slice(begin, begin + size)
        begin += size
        own = count[part]
        item = torch.arange(size).repeat_interleave(own)
        shift = first[part] - (own.cumsum(0) - own)
        yield part, item, torch.arange(item.numel()) + shift[item]
