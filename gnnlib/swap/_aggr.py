"""Another aggregation in a conv, whatever the width of what it makes."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation, MultiAggregation
from torch_geometric.nn.dense import Linear
from torch_geometric.nn.resolver import aggregation_resolver

from gnnlib.swap._find import Place
from gnnlib.swap._trial import Trial


class ProjectedAggregation(Aggregation):  # type: ignore[misc, unused-ignore]
    r"""An aggregation, and a linear map of what it makes to the width that a conv expects.

    Args:
        aggr: the aggregation.
        in_channels: width of what it makes.
        out_channels: the width expected.
    """

    def __init__(self, aggr: Aggregation, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.aggr = aggr
        self.lin = Linear(in_channels, out_channels, bias=False)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.aggr.reset_parameters()
        self.lin.reset_parameters()

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Aggregate every group of rows, as PyG's ``Aggregation`` does; then project."""
        out: Tensor = self.lin(self.aggr(x, index, ptr=ptr, dim_size=dim_size, dim=dim))
        return out

    def __repr__(self) -> str:
        sizes = f"{self.lin.in_channels}, {self.lin.out_channels}"
        return f"{type(self).__name__}({self.aggr}, {sizes})"


def exchange(place: Place, aggr: Any) -> None:
    """Give a conv another aggregation, which is copied, and a projection if the width changes.

    Raises:
        ValueError: the conv aggregates nothing, or its messages do not suit the aggregation.
    """
    conv: Any = place.conv
    trial = Trial.of(conv)
    if trial is None or trial.messages is None:
        why = "it passes no messages" if trial else "its messages are not of one known shape"
        raise ValueError(f"`aggr` cannot be exchanged in {place.title}, as {why} ({place.way_out})")
    new = _made(aggr)
    like = next(conv.parameters(), trial.messages)
    new = new.to(like.device, like.dtype).train(conv.training)
    try:
        with torch.no_grad():
            made = new(trial.messages, trial.index, dim_size=2, dim=conv.node_dim)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"`aggr`={aggr!r} does not suit {place.title}, whose messages are "
            f"{list(trial.messages.shape)}: {error}"
        ) from error
    if made.size(-1) != trial.width:
        new = ProjectedAggregation(new, made.size(-1), trial.width)
        new = new.to(like.device, like.dtype).train(conv.training)
    conv.aggr_module = new
    # As PyG names it.
    conv.aggr = [str(part) for part in aggr] if isinstance(aggr, (list, tuple)) else str(aggr)
    # The matrix product that some convs take instead of messages is a sum.
    conv.fuse = False


def _made(aggr: Any) -> Any:
    if isinstance(aggr, (list, tuple)):
        return MultiAggregation([copy.deepcopy(part) for part in aggr])
    return aggregation_resolver(copy.deepcopy(aggr))
