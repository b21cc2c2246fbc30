"""Convs that add nothing of the node itself: what they hear from others, and no more."""

import copy

import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnnlib.layers._gated import GatedGCNConv
from gnnlib.layers._roots import take_root
from gnnlib.lowering import Features

# These leave the node itself out where a target has no features, ...
_SILENT = (pyg.SAGEConv, pyg.GraphConv, pyg.GINConv, pyg.GINEConv)
# ... and these ask the target how to listen.
_ASKING = (
    pyg.GATConv,
    pyg.GATv2Conv,
    pyg.TransformerConv,
    pyg.ResGatedGraphConv,
    GatedGCNConv,
)


def neighbours_only(conv: nn.Module, *, share: bool = False) -> nn.Module:
    """A copy of a conv without its term for the node itself, and without that term's weights.

    Convs that are not known to have such a term are copied as they are.

    Args:
        conv: a PyG conv or a gnnlib layer.
        share: whether the copy has the same weights; otherwise it has copies of them.
    """
    if share and not isinstance(conv, _ASKING):
        return conv  # it leaves the term out when it is asked to, or has none
    twin = _same_weights(conv) if share else copy.deepcopy(conv)
    if isinstance(twin, pyg.TransformerConv):
        twin.beta, twin.lin_beta = False, None  # it weighs the term against the rest
    elif isinstance(twin, (pyg.GINConv, pyg.GINEConv)) and isinstance(twin.eps, nn.Parameter):
        eps = twin.eps.detach()
        del twin.eps
        twin.register_buffer("eps", eps)
    take_root(twin)
    return twin


def _same_weights(conv: nn.Module) -> nn.Module:
    twin = copy.copy(conv)
    for name in ("_parameters", "_buffers", "_modules"):  # so that what is taken out stays in conv
        setattr(twin, name, getattr(conv, name).copy())
    return twin


def features_for(conv: nn.Module, source: Tensor, target: Tensor) -> Features:
    """What a conv is given to hear ``source [N, F]``, the same nodes as ``target``, and no more."""
    if isinstance(conv, _SILENT):
        return source, None
    return (source, target) if isinstance(conv, _ASKING) else source
