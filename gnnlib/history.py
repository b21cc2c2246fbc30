"""What a network's earlier layers saw, for layers that listen to the past."""

from dataclasses import dataclass, field

from torch import Tensor
from torch.utils._pytree import register_pytree_node


@dataclass(frozen=True, eq=False)
class History:
    r"""The states that a network's earlier layers began with, newest first. Immutable.

    A delayed layer hears a node that is :math:`k` hops away as it was some layers ago
    (:class:`~gnnlib.layers.DelayedConv`). A model pushes the input of each of its layers:

    .. code-block:: python

        history = History(depth=4)
        for conv in convs:
            x, history = conv(x, edge_index, history=history).relu(), history.push(x)

    Args:
        depth: how many states are kept, at least 0; the oldest go. ``None`` keeps all.
        states: ``[N, F]`` each, newest first.

    Raises:
        ValueError: ``depth`` is negative.

    Example:
        >>> import torch
        >>> history = History(depth=2)
        >>> for k in range(3):
        ...     history = history.push(torch.full((4, 1), float(k)))
        >>> len(history), history.state(1)[0], history.state(2)[0]
        (2, tensor([2.]), tensor([1.]))
    """

    depth: int | None = None
    states: tuple[Tensor, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise ValueError(f"`depth` must not be negative, got {self.depth}")

    def __len__(self) -> int:
        return len(self.states)

    def push(self, x: Tensor) -> "History":
        """This history and the state ``[N, F]`` after it.

        Raises:
            ValueError: ``x`` has another number of nodes than the states before it.
        """
        self.check(x)
        return History(self.depth, (x, *self.states)[: self.depth])

    def state(self, age: int) -> Tensor | None:
        """The state of ``age`` layers ago, ``None`` if it is not kept; 1 is the newest."""
        return self.states[age - 1] if 1 <= age <= len(self.states) else None

    def check(self, x: Tensor) -> None:
        """Raise a ValueError if ``x [N, F]`` is not of the graph of these states."""
        for state in self.states:
            if state.size(0) != x.size(0):
                raise ValueError(
                    f"`history` must be of the same graph: it holds states of {state.size(0)} "
                    f"nodes, got `x` of {x.size(0)} (begin every forward pass with a new History)"
                )


register_pytree_node(
    History,
    lambda history: (list(history.states), history.depth),
    lambda states, depth: History(depth, tuple(states)),
    serialized_type_name="gnnlib.History",
)
