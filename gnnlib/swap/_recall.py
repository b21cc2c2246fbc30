"""Which history a layer heard in a stretch of a model that runs again, as checkpoints have it."""

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnnlib.history import History

# How far the bits of a GPU may be from those of its first run, relative to 1.
_NOISE = 1e-3


@dataclass(frozen=True, eq=False)
class _Call:
    layer: nn.Module
    x: Tensor
    history: History


# By the function that gives a checkpoint's tensors back: the graph of autograd holds it for as long
# as it may run the stretch again, and so these calls, which are without graphs of their own.
_calls: "weakref.WeakKeyDictionary[Any, list[_Call]]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def stretch() -> Any:
    """What tells the present checkpoint from others; ``None`` outside of any."""
    if torch.compiler.is_compiling():
        return None
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    # Those of a checkpoint are made for it and go with it; others may be kept, and calls with them.
    passing = hooks is not None and "<locals>" in getattr(hooks[1], "__qualname__", "")
    return hooks[1] if passing else None


def keep(layer: nn.Module, x: Tensor, history: History) -> None:
    """Remember what a layer heard in the present checkpoint."""
    states = tuple(map(_alone, history.states))
    call = _Call(layer, _alone(x), History(history.depth, states))
    with _lock:
        _calls.setdefault(stretch(), []).append(call)


def recall(layer: nn.Module, x: Tensor) -> History:
    """The history that a layer heard when it was called with the same ``x`` before.

    Raises:
        RuntimeError: it was not, so that it is called outside of its model; or it was more than
            once, and heard different histories.
    """
    with _lock:
        calls = [call for each in _calls.values() for call in each if call.layer is layer]
    calls = [call for call in calls if (call.x.shape, call.x.dtype) == (x.shape, x.dtype)]
    near = [call for call in calls if torch.allclose(call.x, x, rtol=_NOISE, atol=_NOISE)]
    heard = [call.history for call in near if torch.equal(call.x, x)]
    heard = heard or [call.history for call in near]
    if not heard:
        raise RuntimeError(
            "a delayed layer was called outside of its model, whose earlier layers it hears: call "
            "the model itself and not a part of it or another method (or swap that part alone, as "
            "in model.encoder = gnnlib.swap(model.encoder, delay=1)); with torch.utils.checkpoint, "
            "pass use_reentrant=False"
        )
    if not all(_same(heard[0], other) for other in heard[1:]):
        raise RuntimeError(
            "a checkpoint runs a delayed layer again that heard different layers before it in "
            "several calls with the same input, and cannot tell which is meant (run the layer "
            "outside of torch.utils.checkpoint)"
        )
    return heard[0]


def _alone(x: Tensor) -> Tensor:
    # What is computed again is not learned from, but has to save the tensors that it saved.
    return x.detach().requires_grad_(x.requires_grad)


def _same(a: History, b: History) -> bool:
    pairs = zip(a.states, b.states, strict=False)
    return len(a) == len(b) and all(torch.equal(s, t) for s, t in pairs)
