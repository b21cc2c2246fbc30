"""`swap`: another layer in the place of every PyG conv of a model."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch_geometric.nn.aggr import Aggregation

from gnnlib.accelerate import fuse
from gnnlib.lowering import class_of
from gnnlib.swap._aggr import exchange
from gnnlib.swap._axes import Axes
from gnnlib.swap._compose import Composer
from gnnlib.swap._fates import Swapped
from gnnlib.swap._find import Place, Selection, arguments_of, places_of
from gnnlib.swap._remember import remember, remembers
from gnnlib.swap._swapped import SwappedConv
from gnnlib.swap._widths import is_unmade

T = TypeVar("T")
Model = TypeVar("Model", bound=nn.Module)


def swap(
    model: Model,
    *,
    cooperative: bool | str | nn.Module | Mapping[str, Any] = False,
    directed: bool | float | Mapping[str, Any] = False,
    delay: float | Mapping[str, Any] | None = None,
    hops: int | None = None,
    aggr: str | Aggregation | list[str | Aggregation] | None = None,
    only: Selection = None,
    exclude: Selection = None,
    inplace: bool = False,
) -> Model:
    r"""Make the PyG convs of a model cooperative, directed or delayed, or give them another
    aggregation; or several at once.

    The convs are found wherever they are in the model, and its ``forward`` stays as it is: it calls
    what stands in their places as it called them. From the outside in that is

    .. code-block:: text

        CooperativeConv(DirectedConv(DelayedConv(conv with another aggregation)))

    of which those are left out that are not asked for. Weights are kept where they mean the same:
    the conv of the first hop, along the edges, has those of the conv that stood there; those of
    other hops and of the other direction begin as copies; action networks, aggregations and
    projections are drawn anew. ``print(gnnlib.report(model))`` tells which is which.

    With ``delay``, layer :math:`\ell` of the model hears :math:`\ell + 1` hops as in DRew, and
    earlier states through a memory that opens and closes with each call of the smallest module that
    holds all delayed layers. States of another width pass through a learned linear map. States are
    those of the same number of nodes.

    All runs on the fused kernels, as after :func:`gnnlib.accelerate`.

    Args:
        model: any module with PyG convs inside it. Lazy convs have to have been called once.
        cooperative: whether nodes decide to listen and to broadcast (Co-GNN); or the layer of the
            action networks, ``"mean"``, ``"sum"``, ``"gcn"``, ``"gin"`` or ``"lin"``; an action
            network, which is used itself and shared by all layers; or a dictionary of
            ``action``, ``action_channels``, ``action_layers``, ``dropout``, ``act``, ``actions``,
            ``temperature``, ``learn_temperature``, ``tau0`` and ``eval_mode``, as of
            :class:`~gnnlib.models.CoGNN`. Layers of one width share their action network.
        directed: whether both directions of an edge are heard apart (Dir-GNN); or the share
            ``alpha`` of the out-neighbours; or a dictionary of the options of
            :class:`~gnnlib.layers.DirectedConv`.
        delay: how many layers late farther nodes are heard (DRew: 1), ``math.inf`` for at once; or
            a dictionary of ``delay``, ``share_weights`` and ``learn_hop_weights``, as of
            :class:`~gnnlib.layers.DelayedConv`.
        hops: the most hops that a layer hears. Without ``delay``, every layer hears so many, at
            once.
        aggr: how messages are combined: what PyG resolves, such as ``"lcm"``, ``"gru"``, ``"max"``
            or an Aggregation, which is copied for every conv. Where it makes rows of another width,
            a linear map follows.
        only: swap only these convs: names, of a conv or of what holds it, with wildcards as in
            ``"convs.*"``; classes; or a list of them.
        exclude: leave these as they are.
        inplace: change the model itself, whose parameters stay the same objects. If something is
            wrong, it is left as it was.

    Returns:
        A new model with weights of its own, or the same with ``inplace``. With nothing asked for,
        it is equal to the model.

    Raises:
        TypeError: ``model`` is no module, cannot be copied, or is compiled, scripted or distributed
            already.
        ValueError: there is no conv to be swapped, an axis has an unknown value, or it has no
            meaning for a conv; the message says which and why.

    Example:
        >>> import gnnlib
        >>> from torch_geometric.nn.models import GraphSAGE
        >>> model = GraphSAGE(8, 16, num_layers=2, out_channels=3)
        >>> swapped = gnnlib.swap(model, cooperative=True, directed=True, delay=1)
        >>> x, edge_index = torch.randn(4, 8), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> swapped(x, edge_index).shape
        torch.Size([4, 3])
    """
    axes = Axes.of(cooperative, directed, delay, hops, aggr)
    _check_model(model)
    if not inplace:
        return _swapped(_copied(model), axes, only, exclude)
    with torch.random.fork_rng(devices=[]):  # a trial on a copy, so that a failure changes nothing
        if _swapped(_copied(model), axes, only, exclude).__class__ is SwappedConv:
            raise ValueError(
                "`inplace` must be False for a conv alone, which cannot become another object; got "
                f"a {class_of(model).__name__} (take what swap returns)"
            )
    return _swapped(model, axes, only, exclude)


def _check_model(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`model` must be a torch.nn.Module, got {type(model).__name__} "
            "(is it the class, and not yet a model?)"
        )
    for name, module in model.named_modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None
        kinds = (
            torch.jit.ScriptModule,
            torch._dynamo.OptimizedModule,
            nn.parallel.DistributedDataParallel,
        )
        if compiled or isinstance(module, kinds):
            what = "compiled" if compiled else type(module).__name__
            raise TypeError(
                f"`model` must not be compiled, scripted or distributed yet, got {what} at "
                f"{name or '(the model itself)'} (swap first, then compile, script or wrap it)"
            )


def _copied(model: Model) -> Model:
    try:
        return copy.deepcopy(model)
    except (TypeError, RuntimeError) as error:  # what pickle and torch say of a lock or a non-leaf
        raise TypeError(
            f"`model` cannot be copied, as something in it cannot: {error} (swap the part of "
            "the model that holds the layers, as in model.encoder = gnnlib.swap(model.encoder, "
            "...); torch.nn.utils.parametrizations has norms of weights that can be copied)"
        ) from error


def _swapped(model: Model, axes: Axes, only: Selection, exclude: Selection) -> Model:
    """Swap the convs of a model that may be changed."""
    places = places_of(model, only, exclude)
    if axes.nothing:
        return model
    for place in places:
        _check_place(model, place, axes)
    for place in places:
        _forget(place.conv)
    arguments = _of_each(places, lambda place, _: arguments_of(place)) if axes.wraps else []
    if axes.aggr is not None:
        _of_each(places, lambda place, _: exchange(place, axes.aggr))
    layers = _of_each(places, Composer(axes, places).compose) if axes.wraps else []
    whole: Any = model
    swaps = []
    for position, place in enumerate(places):
        now, was = place.conv, class_of(place.conv).__name__
        if axes.wraps:
            now = SwappedConv(layers[position], was, arguments[position])
            if not place.conv.training:
                now.eval()
            for name in place.names:
                parent, _, last = name.rpartition(".")
                if name:
                    setattr(model.get_submodule(parent), last, now)
                else:
                    whole = now
        else:
            fuse(now)
        swaps += [Swapped.of(name, was, now, axes.aggr is not None) for name in place.names]
    delayed = [part for part in whole.modules() if isinstance(part, SwappedConv) and part.delayed]
    if axes.delayed is not None and any(layer.hops > 1 for layer in delayed):
        _remember(whole, places, delayed)
    whole._swaps = (*getattr(whole, "_swaps", ()), *swaps)
    changed: Model = whole
    return changed


def _of_each(places: list[Place], make: Callable[[Place, int], T]) -> list[T]:
    """What becomes of every conv; if some are refused, one error names them all."""
    made, refused = [], []
    for position, place in enumerate(places):
        try:
            made.append(make(place, position))
        except (TypeError, ValueError) as error:  # noqa: PERF203 (to go on with the next)
            refused.append((place, error))
    if len(refused) == 1:
        raise refused[0][1]
    if refused:
        first = refused[0][1]
        others = ", ".join(place.title for place, _ in refused[1:])
        names = [place.name for place, _ in refused]
        raise type(first)(
            f"{first}; nor can {others} (exclude={names!r} leaves all of these out)"
        ) from first
    return made


def _check_place(model: nn.Module, place: Place, axes: Axes) -> None:
    if is_unmade(place.conv):
        raise ValueError(
            f"{place.title} is lazy, and does not know yet how wide its input is: call the model "
            "once, with torch.no_grad(), before it is swapped"
        )
    if axes.directed is None:
        return
    own = {id(parameter) for parameter in place.conv.parameters()}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        inside = any(path.startswith(f"{name}.") for name in place.names)
        if id(parameter) in own and not inside and place.name:
            raise ValueError(
                f"{place.title} shares a parameter with {path}, and a directed layer has copies of "
                f"its own (untie them, or {place.way_out})"
            )


def _forget(conv: Any) -> None:
    """Drop the graph that a conv has cached: gnnlib finds a graph again by itself."""
    if hasattr(conv, "cached"):
        conv.cached = False
        for name in vars(conv):
            if name.startswith("_cached_"):  # PyG uses what is there, whatever `cached` says
                setattr(conv, name, None)


def _remember(model: Any, places: list[Place], layers: list[SwappedConv]) -> None:
    """Open a memory in every call of the smallest module that holds all delayed layers."""
    paths = [name.split(".")[:-1] for place in places for name in place.names]
    shared = 0
    while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    path = paths[0][:shared]
    # Lists of modules, and what else only holds them, are not called themselves.
    while path and not _is_called(model.get_submodule(".".join(path))):
        path = path[:-1]
    # What was swapped before around these goes on remembering, and a memory inside would hide it.
    around = [path[:length] for length in range(len(path))]
    path = next((p for p in around if remembers(model.get_submodule(".".join(p)))), path)
    whole = model.get_submodule(".".join(path))
    if not _is_called(whole):
        raise ValueError(
            f"`model` must have a forward that calls its layers, as delayed ones hear those before "
            f"them in the same call, got a {type(whole).__name__}, which is not called itself "
            "(swap the model that holds it)"
        )
    remember(
        whole,
        max(layer.memory for layer in layers),
        max(layer.hops for layer in layers),
    )


def _is_called(model: nn.Module) -> bool:
    return type(model).forward is not nn.Module.forward or "forward" in vars(model)
