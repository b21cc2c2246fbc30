"""Sum over all rows, with the same bits on any number of threads (torch's own sum has not)."""

import torch
from torch import Tensor

from gnnlib.ops._reduce import SUM
from gnnlib.ops._segment_reduce import segment_reduce


def column_sums(x: Tensor) -> Tensor:
    """``[N, F]`` to ``[F]``."""
    ends = torch.arange(2, device=x.device) * x.size(0)  # nothing that a GPU would have to be sent
    sums: Tensor = segment_reduce(x, ends, None, SUM)
    return sums.squeeze(0)
