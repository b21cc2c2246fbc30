"""Run the convs of a model on the fused kernels: same maths, same weights."""

import copy
import functools
import inspect
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch_geometric import EdgeIndex

from gnnlib._check import same_device
from gnnlib.adjacency import Adjacency
from gnnlib.edges import Edges
from gnnlib.lowering import Features, message_edges, row_of, serves, watched, why_not

Model = TypeVar("Model", bound=nn.Module)
# What a lowering is told; a forward that is given anything else runs as PyG wrote it.
_KNOWN = frozenset({"x", "edge_index", "edge_weight", "edge_attr", "size"})


def accelerate(model: Model) -> Model:
    """Make every PyG layer of a model that gnnlib understands run on the fused kernels.

    Returns a new model with the same results, gradients and ``state_dict``, which shares its
    parameters and buffers with the given one, as :func:`torch.compile` does: train either, and
    both have learned. The given model stays as it was. Layers that gnnlib does not understand, or
    whose options it does not serve, run as PyG wrote them, and so does, call by call, a layer that
    is being explained, has a hook on its messages, or is given what only PyG serves.
    :func:`gnnlib.report` tells which layer runs how.

    Args:
        model: any module, with PyG layers anywhere inside it. Move it to its device first: where
            that makes new tensors, they are no longer shared.

    Returns:
        A copy of the model. Its fused layers are of subclasses of the same name, and also take an
        :class:`~gnnlib.Adjacency` for ``edge_index``. Tensors in lists and dictionaries of a
        module, which PyTorch does not know as its parameters, are copied and not shared.

    Raises:
        TypeError: ``model`` is no module, or holds something that cannot be copied, such as a lock.

    Example:
        >>> from torch_geometric.nn.models import GraphSAGE
        >>> model = GraphSAGE(8, 16, num_layers=2)
        >>> fast = accelerate(model)
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> torch.allclose(fast(x, edge_index), model(x, edge_index), atol=1e-6)
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`model` must be a torch.nn.Module, got {type(model).__name__} "
            "(is it the class, and not yet a model?)"
        )
    # What a layer keeps as a plain attribute is shared too: it need not be a leaf, to be copied.
    kept = (value for module in model.modules() for value in vars(module).values())
    tensors = (*model.parameters(), *model.buffers(), *kept)
    memo: dict[int, Any] = {id(t): t for t in tensors if isinstance(t, Tensor)}
    try:
        accelerated = copy.deepcopy(model, memo)
    except (TypeError, RuntimeError) as error:  # what pickle and torch say of a lock or a non-leaf
        raise TypeError(
            f"`model` cannot be copied, as something in it cannot: {error} (keep what it is out of "
            "the module, or accelerate the part of the model that holds the layers)"
        ) from error
    for module in accelerated.modules():
        fuse(module)
    return accelerated


def fuse(module: nn.Module) -> None:
    """Make a layer try the fused kernels first, if it is a PyG conv that gnnlib understands."""
    if row_of(module) is not None and why_not(module) is None:
        written: Any = type(module)
        module.__class__ = _accelerated_class(written)


def is_accelerated(module: nn.Module) -> bool:
    """Whether a layer tries the fused kernels first."""
    return isinstance(module, _Accelerated)


class _Accelerated:
    """What the classes of accelerated layers have in common."""

    _written_class: type

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so that pickle and copy have to make it again.
        made: tuple[Any, ...] = super().__reduce_ex__(protocol)  # type: ignore[assignment]
        return (_blank, (self._written_class,), *made[2:])


def _blank(written: Any) -> Any:
    made: Any = _accelerated_class(written)
    return made.__new__(made)


@functools.cache
def _accelerated_class(written: Any) -> Any:
    """A conv class whose ``forward`` tries the fused kernels first; known by the same name."""
    if issubclass(written, _Accelerated):
        return written
    original = written.forward
    names = tuple(inspect.signature(original).parameters)[1:]

    @functools.wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > len(names) or any(name not in names[len(args) :] for name in kwargs):
            return original(self, *args, **kwargs)  # which says what is wrong
        given = dict(zip(names, args, strict=False)) | kwargs
        call = _fused_call(self, given)
        if call is not None:
            return row_of(self).lower(self, *call)  # type: ignore[union-attr]
        if isinstance(given.get("edge_index"), Adjacency):
            given["edge_index"] = given["edge_index"].edge_index
            return original(self, **given)
        return original(self, *args, **kwargs)

    namespace = {
        "forward": forward,
        "_written_class": written,
        "__module__": written.__module__,
        "__qualname__": written.__qualname__,
        "__doc__": written.__doc__,
    }
    return type(written.__name__, (_Accelerated, written), namespace)


def _fused_call(conv: Any, given: dict[str, Any]) -> tuple[Features, Edges] | None:
    """The arguments of a conv's lowering, if it serves this call."""
    row = row_of(conv)
    if row is None or why_not(conv) is not None:
        return None
    # As in PyG, a compiled model has no hooks on messages.
    if not torch.compiler.is_compiling() and (watched(conv) is not None or _transformed()):
        return None
    if any(value is not None for name, value in given.items() if name not in _KNOWN):
        return None
    x: Any = given.get("x")
    x = tuple(x) if isinstance(x, list) else x
    edge_index, weight, attr = (given.get(k) for k in ("edge_index", "edge_weight", "edge_attr"))
    size = _size(conv, x, given.get("size"))
    if size is None or not _is_graph(conv, edge_index, weight, attr):
        return None
    edges = Edges.of(edge_index, weight, attr, size)
    if edges.weight is not None and not _keeps_dtype(x, edges.weight):
        return None
    if not serves(row, x, edges) or _loops_in_matrix(conv, edge_index, edges):
        return None
    features = x[0] if isinstance(x, tuple) else x
    same_device("the graph", edges.adj.device, features)
    if edges.weight is not None:
        same_device("`edge_weight`", edges.weight.device, features)
    return x, message_edges(conv, edges)


def _transformed() -> bool:
    """Whether a function transform is at work that the kernels have no rule for."""
    tracing = torch._C._get_tracing_state() is not None
    functional = torch._C._are_functorch_transforms_active()
    return tracing or functional or forward_ad._current_level >= 0


def _size(conv: Any, x: Any, size: Any) -> tuple[int, int] | None:
    """``(num_src, num_dst)`` as PyG finds it; ``None`` where it would not be found or disagree."""
    if isinstance(x, Tensor):
        known = (x.size(0), x.size(0)) if x.dim() == 2 else None
    elif isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], Tensor):
        # PyG's lift and roots disagree about which side is which against the flow.
        against = conv.flow != "source_to_target"
        given = None if size is None else size[1]
        last = x[1].size(0) if isinstance(x[1], Tensor) else given
        known = None if against else (x[0].size(0), x[0].size(0) if last is None else last)
    else:
        known = None
    if known is None or size is None:
        return known
    agree = all(a is None or a == b for a, b in zip(size, known, strict=False))
    return known if agree else None


def _is_graph(conv: Any, edge_index: Any, weight: Any, attr: Any) -> bool:
    """Whether :meth:`Edges.of` makes of a graph and its signals what PyG does."""
    if isinstance(edge_index, Adjacency):
        return True
    if isinstance(edge_index, EdgeIndex):
        return True
    if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
        return edge_index.dim() == 2 and edge_index.size(0) == 2
    # A matrix has values of its own, which PyG prefers in some convs, and one direction.
    if weight is not None or attr is not None or conv.flow != "source_to_target":
        return False
    if isinstance(edge_index, Tensor):
        return edge_index.dense_dim() == 0
    return hasattr(edge_index, "csr") and hasattr(edge_index, "sparse_sizes")


def _keeps_dtype(x: Features, weight: Tensor) -> bool:
    first = x[0] if isinstance(x, tuple) else x
    return torch.promote_types(first.dtype, weight.dtype) == first.dtype


def _loops_in_matrix(conv: Any, edge_index: Any, edges: Edges) -> bool:
    """Whether PyG adds self loops to a sparse matrix other than those it adds to edges."""
    if isinstance(edge_index, Adjacency) or not getattr(conv, "add_self_loops", False):
        return False
    if isinstance(edge_index, Tensor) and edge_index.layout == torch.strided:
        return False
    return edges.adj.has_self_loops or getattr(conv, "improved", False)
