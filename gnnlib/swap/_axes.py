"""What is asked of a swap, axis by axis, checked before anything is touched."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

ACTIONS = ("mean", "sum", "gcn", "gin", "lin")
_COOPERATIVE = {
    "action": "mean",
    "action_channels": 16,
    "action_layers": 1,
    "dropout": 0.0,
    "act": "relu",
    "actions": "factorised",
    "temperature": 0.01,
    "learn_temperature": False,
    "tau0": 0.1,
    "eval_mode": "argmax",
}
_DIRECTED = {"alpha": 0.5, "learn_alpha": False, "root_weight": True, "norm": "auto"}
_DELAY = {"delay": 1, "share_weights": False, "learn_hop_weights": False}


@dataclass(frozen=True)
class Axes:
    """The axes that a swap asks for; ``None`` where it does not.

    Args:
        cooperative: options of the action networks and of ``CooperativeConv``.
        directed: those of ``DirectedConv``.
        delayed: those of ``DelayedConv``, without the number of hops.
        hops: the most hops that a layer hears, ``None`` for as many as there are layers.
        growing: whether every layer hears one hop more.
        aggr: what PyG resolves to an aggregation.
    """

    cooperative: dict[str, Any] | None
    directed: dict[str, Any] | None
    delayed: dict[str, Any] | None
    hops: int | None
    growing: bool
    aggr: Any

    @staticmethod
    def of(cooperative: Any, directed: Any, delay: Any, hops: Any, aggr: Any) -> "Axes":
        """Read the arguments of :func:`gnnlib.swap`.

        Raises:
            ValueError: one has a value that it cannot have.
        """
        delayed = _delayed(delay, hops)
        _check_aggr(aggr)
        return Axes(
            _cooperative(cooperative), _directed(directed), delayed, hops, delay is not None, aggr
        )

    @property
    def wraps(self) -> bool:
        """Whether something is put around the convs."""
        return (self.cooperative, self.directed, self.delayed) != (None, None, None)

    @property
    def nothing(self) -> bool:
        """Whether nothing is asked for."""
        return not self.wraps and self.aggr is None


def _cooperative(value: Any) -> dict[str, Any] | None:
    if value is False or value is None:
        return None
    if value is True:
        return dict(_COOPERATIVE)
    if isinstance(value, nn.Module) or value in ACTIONS:
        return _COOPERATIVE | {"action": value}
    if isinstance(value, Mapping):
        options = _options("cooperative", value, _COOPERATIVE)
        action = options["action"]
        if isinstance(action, nn.Module) or action in ACTIONS:
            return options
        value = action
    raise ValueError(
        f"`cooperative` must be True, False, the layer of the action networks ({_or(ACTIONS)}), an "
        f"action network, or a dictionary of options ({', '.join(_COOPERATIVE)}); got {value!r}"
    )


def _directed(value: Any) -> dict[str, Any] | None:
    if value is False or value is None:
        return None
    if value is True:
        return dict(_DIRECTED)
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return _DIRECTED | {"alpha": value}
    if isinstance(value, Mapping):
        return _options("directed", value, _DIRECTED)
    raise ValueError(
        "`directed` must be True, False, the share `alpha` of out-neighbours in [0, 1], or a "
        f"dictionary of options ({', '.join(_DIRECTED)}); got {value!r}"
    )


def _delayed(delay: Any, hops: Any) -> dict[str, Any] | None:
    if hops is not None and (not isinstance(hops, int) or isinstance(hops, bool) or hops < 1):
        raise ValueError(f"`hops` must be None or a whole number of at least 1, got {hops!r}")
    if delay is None:
        return None if hops is None else _DELAY | {"delay": math.inf}
    options = _options("delay", delay, _DELAY) if isinstance(delay, Mapping) else dict(_DELAY)
    value = options["delay"] if isinstance(delay, Mapping) else delay
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value >= 1 or (value != math.inf and value != int(value)):
        raise ValueError(
            "`delay` must be None, a whole number of at least 1 (1 is that of DRew), math.inf to "
            f"hear all as they are, or a dictionary of options ({', '.join(_DELAY)}); got {value!r}"
        )
    return options | {"delay": value if value == math.inf else int(value)}


def _options(axis: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(
            f"`{axis}` knows the options {', '.join(known)}; got {', '.join(map(repr, unknown))}"
        )
    return dict(known) | dict(given)


def _check_aggr(aggr: Any) -> None:
    if aggr is None:
        return
    parts = aggr if isinstance(aggr, (list, tuple)) else [aggr]
    for part in parts or [aggr]:
        known = isinstance(part, Aggregation)
        if isinstance(part, str):
            try:
                known = isinstance(aggregation_resolver(part), Aggregation)
            except (TypeError, ValueError):  # it is unknown, or needs arguments
                known = False
        if not known:
            raise ValueError(
                "`aggr` must be None, an Aggregation, a list, or a name that PyG resolves without "
                "arguments, such as 'sum', 'mean', 'max', 'std', 'softmax', 'lcm', 'gru', "
                f"'lstm', 'gnp' or 'statistics'; got {part!r}"
            )


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
