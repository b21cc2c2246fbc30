"""The share of the out-neighbours, learned."""

import torch
from torch import Tensor, nn


class Alpha(nn.Module):
    r"""The learned share of the out-neighbours in a directed layer, one number.

    .. math::
        \alpha = \sigma(\omega)

    (Rossi et al., 2023, section 4, whose code shares one among all layers.)

    Differs: the paper's code learns :math:`\alpha` itself, which may then leave :math:`[0, 1]`;
    a sigmoid stays inside, and always has a gradient.

    Args:
        value: :math:`\alpha` to begin with, strictly between 0 and 1.

    Raises:
        ValueError: ``value`` is not between 0 and 1.

    Example:
        >>> Alpha(0.25)()
        tensor(0.2500, grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, value: float = 0.5) -> None:
        super().__init__()
        if not 0 < value < 1:
            raise ValueError(
                "a learned `alpha` must begin strictly between 0 and 1, where its sigmoid has a "
                f"gradient, got {value}"
            )
        self.value = value
        self.logit = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin again."""
        nn.init.constant_(self.logit, torch.tensor(self.value).logit().item())

    def forward(self) -> Tensor:
        """The share, a scalar."""
        return self.logit.sigmoid()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value:g})"
