"""What was built for a tensor, found again for as long as the tensor lives and is not edited."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric import EdgeIndex

Size = int | tuple[int, int] | None


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """``(num_src, num_dst)`` of a size, which for a square graph may be one number."""
    return (size[0], size[1]) if isinstance(size, (tuple, list)) else (size, size)


def version(edges: Any) -> tuple[int, ...] | None:
    """How often a tensor was edited in place; ``None`` for what does not count it."""
    if not isinstance(edges, Tensor):
        return None
    parts = (edges, edges.as_tensor()) if isinstance(edges, EdgeIndex) else (edges,)
    return None if any(t.is_inference() for t in parts) else tuple(t._version for t in parts)


class AdjacencyCache:
    """Adjacencies by the identity of their tensor; an entry dies with it, or with its version."""

    def __init__(self, build: Callable[[Any, Size], Any]) -> None:
        self._build = build
        self._entries: Any = WeakTensorKeyDictionary()
        self._lock = threading.Lock()

    def find(self, edges: Any, size: Size) -> Any:
        """What was built for ``edges`` and ``size``, built now if need be."""
        current = version(edges)
        if current is None:
            return self._built(edges, size)
        key = None if size is None else pair(size)
        with self._lock:
            known, by_size = self._entries.get(edges, (None, {}))
            if current == known and key in by_size:
                return by_size[key]
        built = self._built(edges, size)
        with self._lock:
            known, by_size = self._entries.get(edges, (None, {}))
            if current != known:
                by_size = {}
                self._entries[edges] = (current, by_size)
            by_size[key] = built
        return built

    def _built(self, edges: Any, size: Size) -> Any:
        with torch.inference_mode(False):  # what is kept must serve a later training step too
            return self._build(edges, size)
