"""Which layer of a model runs how, and why not faster."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch_geometric.nn.conv import MessagePassing

from gnnlib._rich import as_text
from gnnlib.accelerate import is_accelerated
from gnnlib.lowering import class_of, row_of, watched, why_not
from gnnlib.swap import Swapped


@dataclass(frozen=True)
class LayerReport:
    """How one message passing layer runs.

    Args:
        name: where it is in the model.
        layer: its class.
        fused: whether it runs on the fused kernels.
        kernels: those that it runs on, or would once accelerated; ``None`` if there are none.
        why_not: why it runs as PyG wrote it; ``None`` if it does not.
    """

    name: str
    layer: str
    fused: bool
    kernels: str | None
    why_not: str | None


class Report:
    """The message passing layers of a model, and how each runs; printed as a table.

    Args:
        layers: one entry a layer, in the model's order.
        swapped: one entry a conv that :func:`gnnlib.swap` has swapped.
    """

    def __init__(self, layers: tuple[LayerReport, ...], swapped: tuple[Swapped, ...] = ()) -> None:
        self.layers = layers
        self.swapped = swapped

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        return as_text(self.__rich__())

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("layer", "class", "runs", "why not faster"):
            table.add_column(column)
        for layer in self.layers:
            runs = f"fused: {layer.kernels}" if layer.fused else "as PyG wrote it"
            cells = (layer.name or "(model)", layer.layer, runs, layer.why_not or "")
            table.add_row(*(Text(cell) for cell in cells))
        parts: list[Any] = [table, Text(self._summary())]
        if self.swapped:
            weights = Table(box=SIMPLE_HEAD, pad_edge=False)
            for column in ("layer", "was", "is", "weights"):
                weights.add_column(column)
            for swap in self.swapped:
                cells = (swap.name or "(model)", swap.was, swap.now, _weights(swap))
                weights.add_row(*(Text(cell) for cell in cells))
            parts += [Text(), weights]
        return Group(*parts)

    def _summary(self) -> str:
        fused = sum(layer.fused for layer in self.layers)
        return f"{fused} of {len(self.layers)} message passing layers run on the fused kernels"


def _weights(swap: Swapped) -> str:
    fates = (("kept", swap.kept), ("copied", swap.copied), ("new", swap.new))
    told = [f"{sum(of.values()):,} {fate}" for fate, of in fates if of]
    frozen = {**swap.kept, **swap.copied, **swap.new}
    told += [f"{sum(frozen[path] for path in swap.frozen):,} frozen"] if swap.frozen else []
    return ", ".join(told)


def report(model: nn.Module) -> Report:
    """Tell which message passing layers of a model run on the fused kernels, why others do not, and
    what became of the weights of those that were swapped.

    Args:
        model: any module, accelerated or not.

    Returns:
        One entry a layer; ``print`` shows them as a table.

    Example:
        >>> import gnnlib
        >>> from torch_geometric.nn import EdgeConv, GCNConv, Sequential
        >>> mlp = nn.Linear(16, 8)
        >>> model = Sequential(
        ...     "x, edge_index",
        ...     [(GCNConv(8, 8), "x, edge_index -> x"), (EdgeConv(mlp), "x, edge_index -> x")],
        ... )
        >>> for layer in report(gnnlib.accelerate(model)):
        ...     print(layer.name, layer.layer, layer.kernels or layer.why_not)
        module_0 GCNConv gather_reduce sum
        module_1 EdgeConv no fused form
    """
    layers = []
    wrapped: set[nn.Module] = set()  # by gnnlib's layers, whose innermost call is the table itself
    for name, module in model.named_modules():
        if hasattr(module, "forward_edges"):
            wrapped.update(module.modules())
            kernels = "gnnlib's own layer"
            layers.append(LayerReport(name, type(module).__name__, True, kernels, None))
        elif isinstance(module, MessagePassing):
            layers.append(_layer(name, module, module in wrapped))
    swapped = tuple(
        replace(swap, name=f"{name}.{swap.name}".strip("."))
        for name, module in model.named_modules()
        for swap in getattr(module, "_swaps", ())
    )
    return Report(tuple(layers), swapped)


def _layer(name: str, conv: MessagePassing, behind_gates: bool) -> LayerReport:
    row, reason = row_of(conv), why_not(conv)
    kernels = row.how(conv) if row is not None and reason is None else None
    reason = reason or watched(conv)
    if row is not None and reason is None:
        if behind_gates and not row.gates:
            reason = "gates multiply whole messages"
        elif not behind_gates and not is_accelerated(conv):
            reason = "not accelerated: call gnnlib.accelerate(model)"
    return LayerReport(name, class_of(conv).__name__, reason is None, kernels, reason)
