"""A model whose every call opens a memory, and closes it again."""

import copyreg
import functools
from typing import Any

from torch import nn
from torch_geometric.nn import Sequential

from gnnlib.swap._memory import Memory

# Arguments of PyG's models by which layers leave out nodes that no later one hears.
_TRIMS = ("num_sampled_nodes_per_hop", "num_sampled_edges_per_hop")


def remember(model: nn.Module, depth: int, hops: int) -> None:
    """Have every call of a model keep what its layers see, until the call ends.

    The model's class becomes a subclass of the same name.

    Args:
        model: the module in whose ``forward`` all delayed layers run.
        depth: how many earlier states they hear.
        hops: the farthest hop that they hear.
    """
    if isinstance(model, Sequential):
        vars(model).pop("forward", None)  # PyG writes one for every object, to the same effect
    if "forward" in vars(model):
        raise ValueError(
            "`model` must have its forward in its class, where layers that hear earlier ones find "
            f"when a call begins, got a {type(model).__name__} whose forward was replaced on the "
            "object (swap it before it is replaced, or write a subclass)"
        )
    written: Any = type(model)
    model.__class__ = _remembering_class(written)
    known: Any = model
    known._memory_depth, known._memory_hops = depth, hops


def remembers(model: nn.Module) -> bool:
    """Whether every call of a model keeps what its layers see."""
    return isinstance(model, _Remembering)


class _Remembering:
    """What the classes of models that remember have in common."""

    _forgetful_class: type
    # Of a model that is made anew of such a class, as in type(model)(...).
    _memory_depth, _memory_hops = 0, 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so that pickle and copy have to make it again. A module
        # answers with a tuple, where any object may with a name: hence the ignore.
        made: tuple[Any, ...] = self._forgetful().__reduce_ex__(protocol)
        if made[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return (_remade, (made[0], made[1], self._memory_depth, self._memory_hops), *made[2:])
        return (_blank, (self._forgetful_class,), *made[2:])

    def _forgetful(self) -> Any:
        """This object as it would be of its own class."""
        forgetful: Any = nn.Module.__new__(self._forgetful_class)  # that of torch.fx makes a class
        vars(forgetful).update(vars(self))
        return forgetful


def _blank(written: Any) -> Any:
    made: Any = _remembering_class(written)
    return made.__new__(made)


def _remade(make: Any, arguments: Any, depth: int, hops: int) -> Any:
    made = make(*arguments)
    remember(made, depth, hops)
    return made


def _deepcopy(self: Any, memo: Any) -> Any:
    made = self._forgetful().__deepcopy__(memo)
    remember(made, self._memory_depth, self._memory_hops)
    return made


@functools.cache
def _remembering_class(written: Any) -> Any:
    if issubclass(written, _Remembering):
        return written
    original = written.forward

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if any(kwargs.get(name) is not None for name in _TRIMS):
            raise ValueError(
                "a delayed model cannot be trimmed, as its later layers still hear, with a delay, "
                f"nodes that would be left out; got {' and '.join(_TRIMS)} (leave them out)"
            )
        with Memory(self._memory_depth, self._memory_hops):
            return original(self, *args, **kwargs)

    namespace = {
        "forward": forward,
        "_forgetful_class": written,
        "__module__": written.__module__,
        "__qualname__": written.__qualname__,
        "__doc__": written.__doc__,
    }
    if hasattr(written, "__deepcopy__"):
        namespace["__deepcopy__"] = _deepcopy
    return type(written.__name__, (_Remembering, written), namespace)
