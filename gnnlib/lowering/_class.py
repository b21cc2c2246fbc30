"""What a module is, whoever stands before it."""

from typing import Any

from torch import nn


def class_of(module: nn.Module | None) -> type:
    """A module's class as its author wrote it, accelerated or not."""
    kind: Any = type(module)
    # torch.export shows a module that is used in several places as a proxy, of a subclass.
    if kind.__bases__[0].__module__ == "torch.fx.experimental.proxy_tensor":
        kind = kind.__bases__[-1]
    written: type = getattr(kind, "_written_class", kind)
    return written
