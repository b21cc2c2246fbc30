"""The two decisions of a cooperative node, and how they are drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

ActionSpace = Literal["factorised", "categorical"]
EvalMode = Literal["sample", "argmax", "expected"]


@dataclass(frozen=True, eq=False)
class Actions:
    """What every node decided in one layer.

    Args:
        listen: ``[N]`` gate of each node as a target, in ``[0, 1]``.
        broadcast: ``[N]`` gate of each node as a source, in ``[0, 1]``.
    """

    listen: Tensor
    broadcast: Tensor

    @property
    def listens(self) -> Tensor:
        """``[N]`` bool: which nodes listened (in expectation: more often than not)."""
        return self.listen.detach() > 0.5

    @property
    def broadcasts(self) -> Tensor:
        """``[N]`` bool: which nodes broadcast (in expectation: more often than not)."""
        return self.broadcast.detach() > 0.5


def decide(
    logits: Tensor,
    temperature: Tensor | float,
    actions: ActionSpace,
    mode: EvalMode,
    generator: torch.Generator | None,
) -> Actions:
    r"""Turn logits into gates.

    With noise :math:`g` of a standard Gumbel distribution, an action is
    :math:`\arg\max_k (\ell_k + g_k)`; its gradient is that of
    :math:`\mathrm{softmax}((\ell + g) / \tau)` (straight-through Gumbel-softmax, Jang et al.,
    2017).

    Args:
        logits: ``[N, 4]``. ``"factorised"``: (listen, do not, broadcast, do not), two decisions a
            node. ``"categorical"``: one decision among (standard, listen, broadcast, isolate).
        temperature: :math:`\tau > 0`, one number or ``[N, 1]``.
        actions: how to read the logits.
        mode: ``"sample"`` with noise, ``"argmax"`` without, ``"expected"`` for the probabilities.
        generator: source of the noise; ``None`` for torch's own.
    """
    # float16 would overflow at low temperatures
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    noise = 0.0 if mode != "sample" else _gumbel(logits, generator)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(logits.dtype).view(-1, 1)
    if actions == "factorised":
        # Of two classes, the softmax is the sigmoid of their difference.
        margin = (logits + noise)[:, 0::2] - (logits + noise)[:, 1::2]
        if mode == "expected":
            listen, broadcast = margin.sigmoid().unbind(-1)
        else:
            hard = (margin >= 0).to(margin.dtype)
            listen, broadcast = _straight_through(hard, (margin / temperature).sigmoid()).unbind(-1)
        return Actions(listen, broadcast)
    if mode == "expected":
        chosen = logits.softmax(-1)
    else:
        best = (logits + noise).argmax(-1, keepdim=True)
        hard = torch.zeros_like(logits).scatter(-1, best, 1.0)
        chosen = _straight_through(hard, ((logits + noise) / temperature).softmax(-1))
    standard, listen, broadcast, _ = chosen.unbind(-1)
    return Actions(standard + listen, standard + broadcast)


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.empty_like(like, memory_format=torch.contiguous_format)
    return -noise.exponential_(generator=generator).log()


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    return hard + (soft - soft.detach())  # the bracket is exactly zero: gates stay 0 and 1


_recording: ContextVar[list[Actions] | None] = ContextVar("recording", default=None)


@contextmanager
def record_actions() -> Iterator[list[Actions]]:
    """Collect what the nodes decide in every cooperative layer that runs inside the block.

    Yields:
        A list that grows by one :class:`Actions` a layer, in the order in which the layers ran.
        Layers inside ``torch.compile`` are not recorded.

    Example:
        >>> from torch_geometric.nn import GCNConv
        >>> from gnnlib.layers import ActionNet, CooperativeConv
        >>> conv = CooperativeConv(GCNConv(8, 8), ActionNet(8)).eval()
        >>> with record_actions() as actions:
        ...     out = conv(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]]))
        >>> actions[0].listens.shape
        torch.Size([3])
    """
    actions: list[Actions] = []
    token = _recording.set(actions)
    try:
        yield actions
    finally:
        _recording.reset(token)


def record(actions: Actions) -> None:
    """Add to the list of the enclosing :func:`record_actions`, if there is one."""
    if torch.compiler.is_compiling():
        return
    recording = _recording.get()
    if recording is not None:
        recording.append(actions)
