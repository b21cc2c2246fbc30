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
    if edges.is_inference():
        return None
    if isinstance(edges, EdgeIndex):
        inner = edges.as_tensor()
        return None if inner.is_inference() else (edges._version, inner._version)
    return (edges._version,)  # every layer comes by here, so that each step counts


def capturing(source: Any) -> bool:
    """Whether a CUDA graph is being captured of what reads ``source``.

    What is built meanwhile has its values only once the graph was replayed, and in the graph's own
    memory: it serves the graph alone.
    """
    on_gpu = isinstance(source, Tensor) and source.is_cuda
    # A CPU build of torch may still trace for a GPU, but captures nothing.
    return on_gpu and torch.version.cuda is not None and torch.cuda.is_current_stream_capturing()


_MOST = 32


class TensorCache:
    """What was built for a tensor, by key; an entry dies with its tensor, or with its version."""

    def __init__(self) -> None:
        self._entries: Any = WeakTensorKeyDictionary()
        self._lock = threading.Lock()

    def find(self, source: Any, key: Any, build: Callable[[], Any]) -> Any:
        """What was built for ``source`` and ``key``, built now if need be."""
        current = version(source)
        if current is None:
            return _built(build)
        with self._lock:
            known, by_key = self._entries.get(source, (None, {}))
            if current == known and key in by_key:
                return by_key[key]
        built = _built(build)
        if capturing(source):
            return built
        with self._lock:
            known, by_key = self._entries.get(source, (None, {}))
            if current != known:
                by_key = {}
                self._entries[source] = (current, by_key)
            by_key[key] = built
            if len(by_key) > _MOST:  # of one tensor, as of windows of a long list: the oldest goes
                del by_key[next(iter(by_key))]
        return built


def _built(build: Callable[[], Any]) -> Any:
    with torch.inference_mode(False):  # what is kept must serve a later training step too
        return build()
