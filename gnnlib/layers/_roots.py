"""What a conv says of a node itself, taken out of it: the rest is about neighbours alone."""

from collections.abc import Callable
from typing import Any

import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnnlib.layers._gated import GatedGCNConv
from gnnlib.lowering import class_of


class TakenOut(nn.Module):
    """Stands where a conv's class expects a map that was taken out: holds nothing, adds nothing."""

    def reset_parameters(self) -> None:
        """There is nothing to draw."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero, of any shape."""
        return x.new_zeros(())


def take_root(conv: nn.Module) -> nn.Module | None:
    """Take the linear map of the node's own features out of a conv, which is changed.

    Afterwards the conv hears neighbours only, and holds no parameters that nothing depends on.

    Returns:
        The map, or ``None`` where the conv has none, or none that can be told from the rest.
    """
    take = ROOTS.get(class_of(conv))
    return None if take is None else take(conv)


def drop_root(conv: nn.Module) -> None:
    """As :func:`take_root`, where the map is not wanted, even if the rest is weighed against it."""
    known: Any = conv
    if class_of(conv) is pyg.TransformerConv:
        known.beta, known.lin_beta = False, None
    take_root(conv)


def _of_sage(conv: Any) -> nn.Module | None:
    return _deleted(conv, "lin_r")


def _of_nn_conv(conv: Any) -> nn.Module | None:
    return _deleted(conv, "lin")


def _deleted(conv: Any, name: str) -> nn.Module | None:
    if not conv.root_weight:
        return None
    root: nn.Module = getattr(conv, name)
    conv.root_weight = False
    delattr(conv, name)
    return root


def _of_graph_conv(conv: Any) -> nn.Module | None:
    root, conv.lin_root = conv.lin_root, TakenOut()
    return None if isinstance(root, TakenOut) else root


def _of_attention(conv: Any) -> nn.Module | None:
    root: nn.Module | None = conv.res
    conv.res, conv.residual = None, False
    return root


def _of_transformer(conv: Any) -> nn.Module | None:
    if conv.root_weight and conv.lin_beta is not None:
        return None  # its beta weighs the root against what is heard
    # PyG holds the map, and draws it, even where it is not used.
    root: nn.Module = conv.lin_skip
    used, conv.root_weight, conv.lin_skip = conv.root_weight, False, TakenOut()
    return root if used else None


def _of_res_gated(conv: Any) -> nn.Module | None:
    root: nn.Module | None = conv.lin_skip
    conv.root_weight, conv.lin_skip = False, None
    return root


def _of_tag(conv: Any) -> nn.Module | None:
    if conv.K == 0:
        return None  # it is nothing else
    root, *others = conv.lins
    conv.lins = nn.ModuleList([TakenOut(), *others])
    return None if isinstance(root, TakenOut) else root


# Layers that hold a root of their own add themselves.
ROOTS: dict[type, Callable[[Any], nn.Module | None]] = {
    pyg.SAGEConv: _of_sage,
    pyg.GraphConv: _of_graph_conv,
    pyg.GATConv: _of_attention,
    pyg.GATv2Conv: _of_attention,
    pyg.TransformerConv: _of_transformer,
    pyg.ResGatedGraphConv: _of_res_gated,
    GatedGCNConv: _of_res_gated,
    pyg.NNConv: _of_nn_conv,
    pyg.TAGConv: _of_tag,
}
