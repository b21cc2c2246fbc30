"""Which history a layer heard in a forward pass that is computed again, as checkpoints do."""

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.history import History


class _Call:
    """What one call of a layer was given."""

    def __init__(self, x: Tensor, history: History) -> None:
        self.x, self.history = x, history


# A call is held by the graph of autograd that it made, and goes with it.
_calls: "weakref.WeakKeyDictionary[Any, weakref.WeakSet[_Call]]" = weakref.WeakKeyDictionary()


def keep(layer: nn.Module, x: Tensor, history: History, out: Tensor) -> None:
    """Remember what a layer made ``out`` of for as long as gradients may come back to it."""
    if torch.compiler.is_compiling() or out.grad_fn is None:
        return
    call = _Call(x, history)
    node: Any = out.grad_fn
    node.metadata["gnnlib.swap"] = call
    _calls.setdefault(layer, weakref.WeakSet()).add(call)


def recall(layer: nn.Module, x: Tensor) -> History:
    """The history that a layer heard when it was called with the same ``x`` before.

    Raises:
        RuntimeError: it was not, so that it is called outside of its model.
    """
    if not torch.compiler.is_compiling():
        for call in _calls.get(layer, ()):
            if call.x.shape == x.shape and torch.equal(call.x, x):
                return call.history
    raise RuntimeError(
        "a delayed layer was called outside of its model, whose earlier layers it hears: call the "
        "model itself and not a part of it or another method (or swap that part alone, as in "
        "model.encoder = gnnlib.swap(model.encoder, delay=1)); with torch.utils.checkpoint, pass "
        "use_reentrant=False"
    )
