"""The axes of a swap and their subsets, and a network that nobody wrote for them."""

import itertools

from torch import nn

_CHOICES = {"cooperative": True, "directed": True, "delay": 1, "aggr": "lcm"}
SUBSETS = {
    "+".join(names): {name: _CHOICES[name] for name in names}
    for size in range(1, 5)
    for names in itertools.combinations(_CHOICES, size)
}


class Stack(nn.Module):
    """Convs, one after the other, with a ReLU between them."""

    def __init__(self, convs):
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x, edge_index, **signals):
        for k, conv in enumerate(self.convs):
            x = conv(x if k == 0 else x.relu(), edge_index, **signals)
        return x
