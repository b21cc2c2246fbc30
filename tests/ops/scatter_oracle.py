"""The functions of torch_scatter by their definition: which elements a group has, one by one."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

Place = tuple[int, ...]


def aligned(index: Tensor, src: Tensor, dim: int) -> Tensor:
    """An index as torch_scatter broadcasts it: one dimension is `dim`, several are the first."""
    if index.dim() == 1:
        index = index.view(*[1] * dim, -1)
    return index.view(*index.shape, *[1] * (src.dim() - index.dim())).expand(src.shape)


def members_by_index(
    src: Tensor, index: Tensor, dim: int, size: int | None
) -> tuple[Place, dict[Place, list[Place]]]:
    """The shape of the result, and the elements of every group."""
    if size is None:
        size = int(index.max()) + 1 if src.numel() else 0
    index = aligned(index, src, dim)
    shape = (*src.shape[:dim], size, *src.shape[dim + 1 :])
    members: dict[Place, list[Place]] = {group: [] for group in product(*map(range, shape))}
    for place in product(*map(range, src.shape)):
        members[(*place[:dim], int(index[place]), *place[dim + 1 :])].append(place)
    return shape, members


def members_by_ptr(src: Tensor, indptr: Tensor) -> tuple[Place, dict[Place, list[Place]]]:
    dim = indptr.dim() - 1
    indptr = indptr.expand(*src.shape[:dim], -1)
    shape = (*src.shape[:dim], indptr.size(dim) - 1, *src.shape[dim + 1 :])
    members = {}
    for group in product(*map(range, shape)):
        lead, i, rest = group[:dim], group[dim], group[dim + 1 :]
        begin, end = indptr[lead][i : i + 2].tolist()
        members[group] = [(*lead, e, *rest) for e in range(begin, end)]
    return shape, members


def reduced(
    src: Tensor,
    shape: Place,
    members: dict[Place, list[Place]],
    reduce: str,
    out: Tensor | None = None,
) -> Tensor:
    """Each group's elements reduced; those that tie share the gradient. `out` takes part."""
    values = []
    for group in product(*map(range, shape)):
        elements = [src[place] for place in members[group]]
        value: Any = torch.stack(elements) if elements else None
        if reduce in ("sum", "add", "mean"):
            value = src.new_tensor(0) if value is None else value.sum().to(src.dtype)
            value = value if out is None else value + out[group]
            if reduce == "mean":
                count = max(len(elements), 1)
                value = value / count if src.is_floating_point() else value // count
        elif reduce == "mul":
            value = src.new_tensor(1) if value is None else value.prod().to(src.dtype)
            value = value if out is None else value * out[group]
        elif value is None:
            value = src.new_tensor(0) if out is None else out[group]
        else:
            value = value.amin() if reduce == "min" else value.amax()
            if out is not None and not _beats(value, out[group], reduce):
                value = out[group]
        values.append(value)
    return torch.stack(values).view(shape) if values else src.new_zeros(shape)


def _beats(a: Tensor, b: Tensor, reduce: str) -> bool:
    if a.isnan() or b.isnan():
        return bool(a.isnan() and not b.isnan())
    return bool(a < b if reduce == "min" else a > b)


def extremum(
    src: Tensor,
    dim: int,
    shape: Place,
    members: dict[Place, list[Place]],
    reduce: str,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The first element that no other beats, and where it is along `dim`."""
    values, places = [], []
    for group in product(*map(range, shape)):
        best, where = (src.new_tensor(0), src.size(dim)) if out is None else (
            out[group], src.size(dim)
        )  # fmt: skip
        for k, place in enumerate(members[group]):
            if (k == 0 and out is None) or _beats(src[place], best, reduce):
                best, where = src[place], place[dim]
        values.append(best)
        places.append(where)
    value = torch.stack(values).view(shape) if values else src.new_zeros(shape)
    return value, torch.tensor(places, dtype=torch.long).view(shape)


def gathered(
    src: Tensor, shape: Place, members: dict[Place, list[Place]], out: Tensor | None = None
) -> Tensor:
    """Every element of a tensor of `shape` what its group holds; the rest is as it was, or 0."""
    values = {place: src[group] for group, places in members.items() for place in places}
    rest = src.new_zeros(shape) if out is None else out
    filled = [values.get(place, rest[place]) for place in product(*map(range, shape))]
    return torch.stack(filled).view(shape) if filled else src.new_zeros(shape)
