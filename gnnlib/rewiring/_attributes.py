"""Which attributes of graphs are of their edges, and what they are of new ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnlib.encodings._graphs import ptr_of

Fill = float | Sequence[float] | Tensor | Mapping[str, float | Sequence[float] | Tensor]

# What must have a value for each edge, and of those what the rewiring writes itself.
_OWN = ("edge_type", "parent_id")
_OF_EDGES = ("edge_attr", "edge_weight", *_OWN)


def rows_of_new(graphs: list[Any], fill: Fill | None, asker: str) -> list[dict[str, Tensor]]:
    """What a new edge has of every attribute of edges, for each graph.

    Of edges is a tensor with a row for each edge of every graph that has it, if its name has "edge"
    in it or is named in ``fill``. What has an index of its own (``edge_label`` beside
    ``edge_label_index``) is not, nor are vectors of ``follow_batch``.

    Args:
        graphs: those of one call.
        fill: see :class:`Rewiring`.
        asker: who wants it, for the messages.

    Raises:
        TypeError: a ``fill`` is no number or row of numbers.
        ValueError: an attribute cannot follow its edges, has no ``fill`` or one that does not fit,
            or ``fill`` names what is not of edges.
    """
    pairs = [(data, dict(data.items())) for data in graphs]
    for _, store in pairs:
        _require_values(store, asker)
    named = list(fill) if isinstance(fill, Mapping) else []
    keys = []
    for key in dict.fromkeys(key for _, store in pairs for key in store):
        having = [pair for pair in pairs if key in pair[1]]
        if not all(_has_rows(*pair, key) for pair in having):
            continue
        if "edge" in key or key == "parent_id" or key in named:
            keys.append(key)
        elif not all(_may_be_of_others(data, key, asker) for data, _ in having):
            raise ValueError(
                f"`{key}` has a row for each edge, but nothing says that it is of edges: name it "
                "in `fill`, or rename it to one with 'edge' in it; if it is of the graph, make it "
                "[1, ...]"
            )
    known = [key for key in keys if key not in _OWN]
    if graphs and (unknown := [key for key in named if key not in known]):
        raise ValueError(
            f"`fill` must name attributes with a row for each edge, got {unknown} (there are "
            f"{known})"
        )
    return [
        {key: _row(fill, key, store[key], asker) for key in keys if key in store}
        for _, store in pairs
    ]


def shown(fill: Any) -> Any:
    """``fill`` as ``repr`` has it: numbers, to the last digit."""
    if isinstance(fill, Mapping):
        return {key: shown(value) for key, value in fill.items()}
    return fill.tolist() if isinstance(fill, (Tensor, np.ndarray, np.generic)) else fill


def _require_values(store: dict[str, Any], asker: str) -> None:
    """Raise ValueError unless all that is of edges can follow them."""
    size = store["edge_index"].size(1)
    for key in ("adj", "adj_t"):
        if store.get(key) is not None:
            raise ValueError(
                f"{asker} changes `edge_index` and would leave `{key}` as it is: rewire before "
                f"ToSparseTensor, or remove `{key}`"
            )
    for key, value in store.items():
        if isinstance(value, Tensor):
            if key in _OF_EDGES and f"{key}_index" not in store:
                _require_shape(key, value, size)
        elif "edge" in key and size and size in _lengths(value):
            raise ValueError(
                f"`{key}` has a value for each edge, but a {type(value).__name__} cannot follow "
                "edges: make it a tensor, or remove it"
            )


def _require_shape(key: str, value: Tensor, size: int) -> None:
    """Raise ValueError unless there is a row for each edge, or a whole number if it is our own."""
    if key not in _OWN:
        if value.shape[:1] != (size,):
            raise ValueError(
                f"`{key}` must have a row for each of {size} edges, got {list(value.shape)}"
            )
        return
    if value.shape != (size,):
        fix = f" (use {key}.flatten())" if value.numel() == size else ""
        raise ValueError(
            f"`{key}` must be [{size}], a value for each edge, got {list(value.shape)}{fix}"
        )
    if value.is_floating_point() or value.is_complex() or not value.dtype.is_signed:
        raise ValueError(
            f"`{key}` must hold integers with a sign, got {value.dtype} (use {key}.long())"
        )


def _lengths(value: Any) -> set[int]:
    """How many values there are, in a batch in all of its graphs; none of a text or a mapping."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
        return set()
    parts = [_lengths(part) for part in value] if isinstance(value, list) else []
    return {len(value), sum(max(part, default=0) for part in parts)}


def _is_apart(key: str, store: dict[str, Any]) -> bool:
    """Whether it is ids of nodes, what belongs to such, or where the graphs of a batch are."""
    if "index" in key or f"{key}_index" in store or key in ("batch", "ptr", "edge_type"):
        return True
    return any(key.endswith(end) and key.removesuffix(end) in store for end in ("_batch", "_ptr"))


def _has_rows(data: Any, store: dict[str, Any], key: str) -> bool:
    """Whether there is a row for each edge, in a batch that knows its graphs in each of them."""
    value, size = store[key], store["edge_index"].size(1)
    if _is_apart(key, store) or not isinstance(value, Tensor) or value.shape[:1] != (size,):
        return False
    slices = getattr(data, "_slice_dict", None) or {}
    rows, edges = slices.get(key), slices.get("edge_index")
    if rows is None or edges is None or rows[-1] != size or edges[-1] != size:
        return True
    return bool(torch.equal(torch.as_tensor(rows), torch.as_tensor(edges)))


def _may_be_of_others(data: Any, key: str, asker: str) -> bool:
    """Whether there is as well a row for each node, or for each graph, or none at all."""
    return data[key].size(0) in (0, data.num_nodes, len(ptr_of(data, asker)) - 1)


def _row(fill: Fill | None, key: str, like: Tensor, asker: str) -> Tensor:
    """The value of an attribute for a new edge."""
    shape = list(like.shape[1:])
    value: Any = fill
    if key == "parent_id":
        value = -1
    elif isinstance(fill, Mapping):
        value = fill.get(key, 1 if key == "edge_weight" else None)
    elif key == "edge_weight":
        value = 1  # whatever one value for all is
    if value is None:
        raise ValueError(
            f"new edges need a value of `{key}` {shape}, which {asker} is not told: pass "
            f"fill={{{key!r}: ...}}, a number or a row"
        )
    row = _exactly(key, value, like)
    try:
        return row.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"`fill` of `{key}` must be a number or a row {shape}, got {list(row.shape)}"
        ) from None


def _exactly(key: str, value: Any, like: Tensor) -> Tensor:
    """As a tensor like another one, on the same device.

    Raises:
        TypeError: it is no number or row of numbers.
        ValueError: numbers like those of the other are not what it is; rounding aside.
    """
    try:
        given = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError):
        raise TypeError(f"`fill` of `{key}` must be a number or a row, got {value!r}") from None
    given = given.to(like.device)
    row = given.to(like.dtype) if like.is_complex() else given.real.to(like.dtype)
    if like.is_floating_point():
        fits = not given.is_complex() and torch.equal(row.isinf(), given.isinf())
    else:
        fits = torch.equal(row.to(given.dtype), given)
    if not fits:
        raise ValueError(
            f"`fill` of `{key}` must be what its {like.dtype} can hold, got {shown(value)} (give "
            f"another value, or convert `{key}`)"
        )
    return row
