"""What a model's layers saw so far in the present call, for those that listen to the past."""

import threading
from typing import Any

import torch
from torch import Tensor

from gnnlib.adjacency import Adjacency
from gnnlib.history import History
from gnnlib.ops import KHop, k_hop
from gnnlib.swap._recall import stretch

# Of a thread: DataParallel calls a replica in each.
_present = threading.local()


class Memory:
    """The histories of one call of a model, one for each set of nodes; open in a ``with`` block.

    Calls may be nested, and each has its own. Pooling leaves fewer nodes, whose history begins
    anew; where they are unpooled, that of before goes on.

    Args:
        depth: how many states a history keeps.
        hops: the farthest hop that any layer hears.
    """

    def __init__(self, depth: int, hops: int) -> None:
        self.depth = depth
        self.hops = hops
        self.histories: list[History] = []
        self.learns = torch.is_grad_enabled()
        self.stretch = stretch()
        self._task = _task()
        self._found: list[tuple[Any, KHop]] = []
        self._outer: Memory | None = None

    @staticmethod
    def present() -> "Memory | None":
        """That of the innermost call under way in this thread; ``None`` in a backward pass, where
        what a call did before it is done again.
        """
        memory: Memory | None = getattr(_present, "memory", None)
        return None if memory is None or memory._task != _task() else memory

    def __enter__(self) -> "Memory":
        self._outer = getattr(_present, "memory", None)
        _present.memory = self
        return self

    def __exit__(self, *_: Any) -> None:
        _present.memory = self._outer

    def history(self, x: Tensor) -> History:
        """What earlier layers saw of the nodes of ``x [N, F]``."""
        for known in self.histories:
            if known.states[0].size(0) == x.size(0):
                return known
        return History(self.depth)

    def push(self, x: Tensor) -> None:
        """Remember that a layer saw ``x [N, F]``.

        Raises:
            RuntimeError: the model learns, but not the part that this layer is in.
        """
        if self.depth == 0:
            return
        if self.learns and not torch.is_grad_enabled():
            raise RuntimeError(
                "a layer that later ones hear with a delay ran without gradients, while the model "
                "learns: pass use_reentrant=False to torch.utils.checkpoint, or leave a part that "
                "runs under torch.no_grad() out of the swap (exclude=...)"
            )
        history = self.history(x)
        others = [known for known in self.histories if known is not history]
        self.histories = [history.push(x), *others]

    def k_hop(self, graph: Any, adj: Adjacency) -> KHop:
        """The pairs of nodes up to ``hops`` apart, found once a graph.

        Args:
            graph: what the layer was given.
            adj: its adjacency.
        """
        # Other than in a compiled call, a graph has one adjacency until it changes.
        key = graph if torch.compiler.is_compiling() else adj
        for known, pairs in self._found:
            if known is key:
                return pairs
        self._found.append((key, k_hop(adj, self.hops)))
        return self._found[-1][1]


def _task() -> int:
    """The number of the backward pass that runs at present; -1 outside of any."""
    return -1 if torch.compiler.is_compiling() else torch._C._current_graph_task_id()
