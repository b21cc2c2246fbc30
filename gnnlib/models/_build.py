"""A network from a config, for the command line."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch_geometric.nn import GCN, GIN, GraphSAGE

from gnnlib.layers import ActionNet, CooperativeConv, Temperature
from gnnlib.layers._action_net import ActionConv
from gnnlib.layers._actions import ActionSpace, EvalMode
from gnnlib.models._cognn import CoGNN, Environment

_PYG = {"gcn": GCN, "sage": GraphSAGE, "gin": GIN}


@dataclass(frozen=True)
class ModelConfig:
    """Which network to build."""

    name: Literal["cognn", "gcn", "sage", "gin"] = "cognn"
    """Co-GNN, or one of PyG's own models."""
    cooperative: bool = False
    """Make each conv of a PyG model cooperative (cognn is, unless action is none)."""
    hidden_channels: int = 64
    """Width of the layers."""
    num_layers: int = 3
    """Number of message passing layers."""
    dropout: float = 0.0
    """Probability of dropout."""
    act: str = "relu"
    """Activation between layers."""
    conv: Environment = "mean"
    """Environment layer of cognn."""
    action: ActionConv | Literal["none"] = "mean"
    """Action network's layer; none for the same network without actions."""
    action_channels: int = 16
    """Width of the action networks' hidden layers."""
    action_layers: int = 1
    """Number of layers of the action networks."""
    actions: ActionSpace = "factorised"
    """Two binary decisions a node, or one among four."""
    temperature: float = 0.01
    """Temperature of the actions' noise, when it is not learned."""
    learn_temperature: bool = False
    """Learn a temperature per node."""
    tau0: float = 0.1
    """Inverse of the largest learned temperature."""
    eval_mode: EvalMode = "argmax"
    """How actions are chosen in evaluation."""
    skip: bool = True
    """Skip connections; of cognn, like the next two."""
    layer_norm: bool = True
    """Layer norm of cognn."""
    decoder_layers: int = 1
    """Linear layers in cognn's decoder."""


def build(config: ModelConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Build a node-level network.

    Args:
        config: which one.
        in_channels: width of the node features.
        out_channels: width of the output.

    Raises:
        ValueError: a size is not positive, or the config asks for actions and for none.
    """
    for name in ("hidden_channels", "num_layers"):
        if getattr(config, name) < 1:
            raise ValueError(f"`{name}` must be at least 1, got {getattr(config, name)}")
    action = None if config.action == "none" else config.action
    if config.name == "cognn":
        return CoGNN(
            in_channels,
            config.hidden_channels,
            config.num_layers,
            out_channels,
            conv=config.conv,
            action=action,
            action_channels=config.action_channels,
            action_layers=config.action_layers,
            actions=config.actions,
            temperature=config.temperature,
            learn_temperature=config.learn_temperature,
            tau0=config.tau0,
            eval_mode=config.eval_mode,
            dropout=config.dropout,
            act=config.act,
            skip=config.skip,
            layer_norm=config.layer_norm,
            decoder_layers=config.decoder_layers,
        )
    model: nn.Module = _PYG[config.name](
        in_channels,
        config.hidden_channels,
        config.num_layers,
        out_channels,
        dropout=config.dropout,
        act=config.act,
    )
    if config.cooperative:
        if action is None:
            raise ValueError("`cooperative` needs an action network, got `action`=none")
        _make_cooperative(model, config, action)
    return model


def _make_cooperative(model: Any, config: ModelConfig, action: ActionConv) -> None:
    """Wrap each conv in place; convs of one width share their action network and temperature."""
    nets: dict[int, tuple[ActionNet, Temperature | None]] = {}
    for k, conv in enumerate(model.convs):
        width = model.in_channels if k == 0 else model.hidden_channels
        if width not in nets:
            net = ActionNet(
                width,
                config.action_channels,
                config.action_layers,
                action,
                dropout=config.dropout,
                act=config.act,
            )
            tau = Temperature(width, config.tau0) if config.learn_temperature else None
            nets[width] = net, tau
        net, tau = nets[width]
        model.convs[k] = CooperativeConv(
            conv,
            net,
            actions=config.actions,
            temperature=tau or config.temperature,
            eval_mode=config.eval_mode,
        )
