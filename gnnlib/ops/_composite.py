"""What torch_scatter composes from its scatter functions: deviations, softmax and its logarithm."""

import torch
from torch import Tensor

from gnnlib._library import kernels
from gnnlib.ops._accumulate import check_out
from gnnlib.ops._grouping import Grouping
from gnnlib.ops._reduce import MAX, SUM, accumulated_in
from gnnlib.ops._scatter import groups_of


def scatter_std(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    unbiased: bool = True,
) -> Tensor:
    r"""Compute the standard deviation of each group.

    .. math::
        \mathrm{out}_i = \sqrt{\frac{\sum_{e :\, \mathrm{index}_e = i}
        (\mathrm{src}_e - \mu_i)^2}{\max(n_i - 1, 1) + 10^{-6}}}

    As in torch_scatter (Fey, 2018).

    Args:
        src, index, dim, dim_size: as of :func:`scatter`.
        out: ``[*, N, *]``; the sums of squares are added to it, and the result, a new tensor, is
            about what it then holds.
        unbiased: whether to divide by :math:`n_i - 1`, or else by :math:`n_i`.

    Returns:
        ``[*, N, *]``; 0, with gradient 0, for groups of equal elements, of one or none.

    Raises:
        IndexError, ValueError: as :func:`scatter`.

    Example:
        >>> scatter_std(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]))
        tensor([1.4142, 0.0000])
    """
    groups = groups_of(src, index, dim, out, dim_size)
    dtype = src.dtype if src.is_floating_point() else torch.get_default_dtype()
    x = groups.rows(src).to(accumulated_in(dtype))
    count = groups.count().clamp(min=1).to(x.dtype)
    mean = groups.reduce(x, SUM) / count
    square = groups.result(groups.reduce((x - groups.expand(mean)).square(), SUM).to(dtype))
    if out is not None:
        check_out(out, square, groups.result_shape)
        square = out.add_(square)
    if unbiased:
        count = (count - 1).clamp(min=1)
    variance = square / groups.result((count + 1e-6).expand(-1, groups.width))
    alike = variance == 0  # where a root has no derivative, 0 serves
    return variance.masked_fill(alike, 1).sqrt().masked_fill(alike, 0).to(dtype)


def scatter_logsumexp(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    out: Tensor | None = None,
    dim_size: int | None = None,
    eps: float = 1e-12,
) -> Tensor:
    r"""Take the logarithm of the sum of the exponentials of each group.

    .. math::
        \mathrm{out}_i = m_i + \log \Big( \sum_{e :\, \mathrm{index}_e = i} e^{\mathrm{src}_e - m_i}
        + \epsilon \Big), \qquad m_i = \max_{e :\, \mathrm{index}_e = i} \mathrm{src}_e

    As in torch_scatter (Fey, 2018), from which :doc:`torch_scatter` tells it apart.

    Args:
        src, index, dim, dim_size: as of :func:`scatter`, floating point.
        out: ``[*, N, *]``, takes part as one more element of each group and is written to.
        eps: :math:`\epsilon`.

    Returns:
        ``[*, N, *]``, or ``out``; 0 for an empty group.

    Raises:
        IndexError, ValueError: as :func:`scatter`.

    Example:
        >>> scatter_logsumexp(torch.zeros(2), torch.tensor([0, 0]), dim_size=2)
        tensor([0.6931, 0.0000])
    """
    _require_floating(src, "scatter_logsumexp")
    groups = groups_of(src, index, dim, out, dim_size, segments=True)
    total = groups.result(_logsumexp(groups, groups.rows(src), eps).to(src.dtype))
    empty = groups.result((groups.count() == 0).expand(-1, groups.width))
    if out is None:
        return total.masked_fill(empty, 0)
    check_out(out, src, groups.result_shape)
    held = out.clone()  # its value serves the gradient
    return out.copy_(torch.where(empty, held, torch.logaddexp(held, total)))


def scatter_softmax(
    src: Tensor, index: Tensor, dim: int = -1, dim_size: int | None = None
) -> Tensor:
    r"""Normalise each group to a distribution.

    .. math::
        \mathrm{out}_e = \frac{e^{\mathrm{src}_e}}
        {\sum_{e' :\, \mathrm{index}_{e'} = \mathrm{index}_e} e^{\mathrm{src}_{e'}}}

    As in torch_scatter (Fey, 2018), without overflow.

    Args:
        src, index, dim, dim_size: as of :func:`scatter`, floating point.

    Returns:
        The shape of ``src``.

    Raises:
        IndexError, ValueError: as :func:`scatter`.

    Example:
        >>> scatter_softmax(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0, 1, 0]))
        tensor([0.5000, 1.0000, 0.5000])
    """
    _require_floating(src, "scatter_softmax")
    groups = groups_of(src, index, dim, None, dim_size, segments=True)
    out: Tensor = kernels.segment_softmax(groups.rows(src), groups.ptr, groups.perm)
    return groups.elements(out)


def scatter_log_softmax(
    src: Tensor,
    index: Tensor,
    dim: int = -1,
    eps: float = 1e-12,
    dim_size: int | None = None,
) -> Tensor:
    r"""Take the logarithm of :func:`scatter_softmax`, without its loss of precision.

    .. math::
        \mathrm{out}_e = \mathrm{src}_e - m_i - \log \Big( \sum_{e' :\, \mathrm{index}_{e'} = i}
        e^{\mathrm{src}_{e'} - m_i} + \epsilon \Big), \qquad i = \mathrm{index}_e

    with :math:`m_i` the maximum of the group. As in torch_scatter (Fey, 2018).

    Args:
        src, index, dim, dim_size: as of :func:`scatter`, floating point.
        eps: :math:`\epsilon`.

    Returns:
        The shape of ``src``.

    Raises:
        IndexError, ValueError: as :func:`scatter`.

    Example:
        >>> scatter_log_softmax(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0, 1, 0]))
        tensor([-0.6931,  0.0000, -0.6931])
    """
    _require_floating(src, "scatter_log_softmax")
    groups = groups_of(src, index, dim, None, dim_size, segments=True)
    x = groups.rows(src)
    out = x - groups.expand(_logsumexp(groups, x, eps))
    return groups.elements(out.to(src.dtype))


def _logsumexp(groups: Grouping, x: Tensor, eps: float) -> Tensor:
    """``log(sum(exp(x - max)) + eps) + max``; -inf where nothing is summed."""
    x = x.to(accumulated_in(x.dtype))
    total: Tensor = kernels.segment_logsumexp(x, groups.ptr, groups.perm)
    if eps < torch.finfo(x.dtype).eps / 2:  # the sum is at least 1, which eps does not change
        return total
    # The maximum only scales eps, and is a constant to the gradient.
    scale = (groups.reduce(x.detach(), MAX) - total).exp()
    return total + (eps * scale.masked_fill(total.isinf(), 0)).log1p()


def _require_floating(src: Tensor, name: str) -> None:
    if not src.is_floating_point():
        raise ValueError(
            f"`{name}` needs a floating point `src`, got {src.dtype} (use src.float())"
        )
