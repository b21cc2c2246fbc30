"""The convs of a model, and which of them are meant."""

import inspect
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch_geometric.nn.conv import MessagePassing

from gnnlib.lowering import class_of
from gnnlib.swap._swapped import SIGNALS, SwappedConv

Selection = str | type | Collection[str | type] | None


@dataclass
class Place:
    """A conv, and where it is in a model: in several places, if it is used several times."""

    conv: nn.Module
    names: list[str]

    @property
    def name(self) -> str:
        """Where it is first."""
        return self.names[0]

    @property
    def title(self) -> str:
        """What an error calls it."""
        return f"{class_of(self.conv).__name__} at {self.name or '(the model itself)'}"

    @property
    def way_out(self) -> str:
        """What to do where it cannot be swapped."""
        return f"leave it out with exclude={self.name!r}" if self.name else "take another conv"


def places_of(model: nn.Module, only: Selection = None, exclude: Selection = None) -> list[Place]:
    """The PyG convs of a model that are meant, in its order; gnnlib's own layers, and convs that
    were swapped before, are left alone.

    Raises:
        ValueError: there are none, or what is selected is not there.
    """
    found: dict[int, Place] = {}
    inside: set[int] = set()
    swapped: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if id(module) in found:
            found[id(module)].names.append(name)
        elif id(module) in inside:
            continue
        elif isinstance(module, (SwappedConv, MessagePassing)) or hasattr(module, "forward_edges"):
            swapped += [name] if isinstance(module, SwappedConv) else []
            inside.update(id(part) for part in module.modules())
            if isinstance(module, MessagePassing) and not hasattr(module, "forward_edges"):
                found[id(module)] = Place(module, [name])
    places = list(found.values())
    if not places and swapped:
        raise ValueError(
            f"`model` has been swapped already, got a SwappedConv at {swapped[0] or '(itself)'} "
            "and no other conv (ask for all axes of a conv in one call, of the model as it was)"
        )
    if not places:
        raise ValueError(
            "`model` must have PyG convs (MessagePassing layers) in it, and there are none among "
            f"{_classes(model)} (is it the part of the model that holds the layers?)"
        )
    return _selected(places, only, exclude)


def _classes(model: nn.Module) -> str:
    names = dict.fromkeys(type(module).__name__ for module in model.modules())
    return ", ".join(names)


def _selected(places: list[Place], only: Selection, exclude: Selection) -> list[Place]:
    for argument, selection in (("only", only), ("exclude", exclude)):
        for what in _each(argument, selection):
            if not any(_matches(place, what) for place in places):
                known = ", ".join(place.title for place in places)
                raise ValueError(
                    f"`{argument}` must name convs of the model, their classes, or what holds "
                    f"them; got {_name(what)}, and there are {known}"
                )
    chosen = [
        place
        for place in places
        if (only is None or any(_matches(place, what) for what in _each("only", only)))
        and not any(_matches(place, what) for what in _each("exclude", exclude))
    ]
    if not chosen:
        raise ValueError("`only` and `exclude` leave none of the model's convs")
    return chosen


def _each(argument: str, selection: Selection) -> Iterable[str | type]:
    if selection is None:
        return ()
    parts = (selection,) if isinstance(selection, (str, type)) else tuple(selection)
    for part in parts:
        if not isinstance(part, (str, type)):
            raise ValueError(
                f"`{argument}` must be names such as 'convs.0' or 'convs.*', classes, or a list of "
                f"such; got {part!r}"
            )
    return parts


def _matches(place: Place, what: str | type) -> bool:
    if isinstance(what, type):
        return isinstance(place.conv, what)
    return any(fnmatchcase(name, what) or name.startswith(f"{what}.") for name in place.names)


def _name(what: str | type) -> str:
    return what.__name__ if isinstance(what, type) else repr(what)


def arguments_of(place: Place) -> tuple[str, ...]:
    """The names of the arguments of a conv that a layer can be put around.

    Raises:
        ValueError: it is called in another way.
    """
    known: Any = place.conv
    parameters = inspect.signature(known.forward).parameters
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if list(parameters)[:2] != list(SIGNALS[:2]) or set(needed) - set(SIGNALS):
        raise ValueError(
            f"a conv must be called as conv(x, edge_index, edge_weight=..., edge_attr=...) to be "
            f"cooperative, directed or delayed, and {place.title} is called with "
            f"{', '.join(parameters)} ({place.way_out})"
        )
    return tuple(parameters)
