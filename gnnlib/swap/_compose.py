"""A conv inside the layers that its axes ask for."""

from typing import Any

import torch
from torch import nn
from torch_geometric.nn.dense import Linear

from gnnlib.layers import ActionNet, CooperativeConv, DelayedConv, DirectedConv, Temperature
from gnnlib.swap._axes import Axes
from gnnlib.swap._find import Place
from gnnlib.swap._trial import Trial, width_heard
from gnnlib.swap._widths import width_of


class Composer:
    """Puts layers around the convs of one model, from the inside out.

    Args:
        axes: what is asked for.
        places: the model's convs, in its order.
    """

    def __init__(self, axes: Axes, places: list[Place]) -> None:
        self.axes = axes
        self.widths = [width_heard(place.conv) for place in places]
        # Layers of one width share their action network, as in the paper.
        self._actors: dict[int, tuple[nn.Module, float | nn.Module]] = {}

    def compose(self, place: Place, position: int) -> nn.Module:
        """The layer that stands in the place of a conv, which may become part of it.

        Raises:
            TypeError, ValueError: an axis has no meaning for the conv.
        """
        conv: Any = place.conv
        trial = Trial.of(conv)
        if trial is not None and not trial.propagates:
            raise ValueError(
                f"{place.title} looks at no edges, so that there is nothing to gate, to turn "
                f"around or to delay ({place.way_out})"
            )
        layer: nn.Module = conv
        try:
            if self.axes.delayed is not None:
                layer = self._delayed(layer, position)
            if self.axes.directed is not None:
                layer = _directed(layer, self.axes.directed)
            if self.axes.cooperative is not None:
                layer = self._cooperative(layer, place, position)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"{place.title} cannot be swapped ({place.way_out}): {error}"
            ) from error
        return layer

    def _delayed(self, conv: nn.Module, position: int) -> nn.Module:
        options: Any = self.axes.delayed
        hops = self.axes.hops or position + 1
        if self.axes.growing:
            hops = min(hops, position + 1)
        width, projections = self.widths[position], {}
        for hop in range(int(min(options["delay"], hops)) + 1, hops + 1):
            age = hop - options["delay"]
            before = self.widths[position - age]
            if before != width and before is not None and width is not None:
                projections[age] = _like(conv, Linear(before, width, bias=False))
        layer = DelayedConv(conv, hops, **options, projections=projections)
        for other in layer.convs[1:]:
            _begin_as(layer.convs[0], other)
        if layer.hop_logits is not None:
            layer.hop_logits = nn.Parameter(_like(conv, layer.hop_logits.detach()))
        return layer

    def _cooperative(self, layer: nn.Module, place: Place, position: int) -> nn.Module:
        options: Any = self.axes.cooperative
        net, temperature = self._actor(place, self.widths[position])
        return CooperativeConv(
            layer,
            net,
            actions=options["actions"],
            temperature=temperature,
            eval_mode=options["eval_mode"],
        )

    def _actor(self, place: Place, width: int | None) -> tuple[nn.Module, float | nn.Module]:
        options: Any = self.axes.cooperative
        action = options["action"]
        if isinstance(action, nn.Module):
            expected = width_of(action)
            if None not in (expected, width) and expected != width:
                raise ValueError(
                    f"the action network expects {expected} features of a node and the conv "
                    f"{width} (take only convs of one width, or cooperative='mean')"
                )
        if width is None and (options["learn_temperature"] or not isinstance(action, nn.Module)):
            raise ValueError(
                f"{type(place.conv).__name__} does not tell how many features of a node it expects "
                "(pass an action network, as in cooperative=ActionNet(64))"
            )
        known = self._actors.get(width or 0)
        if known is None:
            known = self._actors[width or 0] = self._new_actor(width or 0, place.conv)
        return known

    def _new_actor(self, width: int, conv: nn.Module) -> tuple[nn.Module, float | nn.Module]:
        options: Any = self.axes.cooperative
        net, temperature = options["action"], options["temperature"]
        if not isinstance(net, nn.Module):
            made = ActionNet(
                width,
                options["action_channels"],
                options["action_layers"],
                net,
                dropout=options["dropout"],
                act=options["act"],
            )
            net = _like(conv, made)
        if options["learn_temperature"]:
            temperature = _like(conv, Temperature(width, options["tau0"]))
        return net, temperature


def _directed(layer: nn.Module, options: dict[str, Any]) -> nn.Module:
    directed = DirectedConv(layer, **options)
    if directed.conv_in is not None and directed.conv_out is not None:
        _begin_as(directed.conv_in, directed.conv_out)
    if options["learn_alpha"]:
        _like(layer, directed.alpha)
    return directed


def _like(conv: nn.Module, new: Any) -> Any:
    """What is new in a layer, where the conv's weights are and of their dtype."""
    like = next((p for p in conv.parameters() if p.is_floating_point()), None)
    return new if like is None else new.to(like.device, like.dtype)


def _begin_as(conv: nn.Module, other: nn.Module) -> None:
    """Give a copy of a conv, which may lack parts of it, the same numbers."""
    # Not by state_dict, which is not what load_state_dict takes of parametrized layers of PyG.
    numbers = {**dict(conv.named_parameters()), **dict(conv.named_buffers())}
    with torch.no_grad():
        for name, value in (*other.named_parameters(), *other.named_buffers()):
            value.copy_(numbers[name])
