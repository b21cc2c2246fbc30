"""The loss of DIGRAC: how far from one-way the flows between clusters are."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gnnlib.edges import Edges
from gnnlib.lowering import aggregate
from gnnlib.lowering._propagation import weighted_degrees

Normalization = Literal["vol_sum", "vol_max", "vol_min", "plain"]
Threshold = Literal["sort", "std", "naive"]


def flow_imbalance_loss(
    prob: Tensor,
    edges: Any,
    edge_weight: Tensor | None = None,
    *,
    normalization: Normalization = "vol_sum",
    threshold: Threshold = "sort",
    num_pairs: int | None = None,
) -> Tensor:
    r"""One minus the mean imbalance of the flows between pairs of clusters.

    .. math::
        W = P^\top A P, \qquad v = P^\top (d^{\mathrm{in}} + d^{\mathrm{out}}), \qquad
        \mathrm{CI}(k, l) = |W_{kl} - W_{lk}| \cdot
        \begin{cases}
            2 / (v_k + v_l) & \text{vol\_sum} \\
            1 / \max(v_k, v_l) & \text{vol\_max} \\
            \min(v_k, v_l) / \big((W_{kl} + W_{lk}) \, v_{(2)}\big) & \text{vol\_min} \\
            1 / (W_{kl} + W_{lk}) & \text{plain}
        \end{cases}

    from He et al., 2022, "DIGRAC: Digraph Clustering Based on Flow Imbalance", where
    :math:`v_{(2)}` is the second largest volume. Pairs between which nothing flows score 0.

    The mean is over the ``num_pairs`` pairs :math:`k < l` that score highest (``"sort"``); over
    those whose imbalance is no accident, :math:`(W_{kl} - W_{lk})^2 > 9 (W_{kl} + W_{lk})`
    (``"std"``; 1 where there are none); or over all (``"naive"``).

    All pairs are worked out at once, from one sum over neighbours of the width of ``prob``.

    Differs: in PyTorch Geometric Signed Directed only ``"sort"`` has a gradient; here all have.

    Args:
        prob: ``[N, C]`` for at least 2 clusters, the probabilities :math:`P`.
        edges: the directed graph, anything :meth:`gnnlib.Edges.of` takes; :math:`A_{uv}` is the
            weight of the edges from :math:`u` to :math:`v`.
        edge_weight: ``[E]``, not negative.
        normalization: ``"vol_sum"``, ``"vol_max"``, ``"vol_min"`` or ``"plain"``.
        threshold: ``"sort"``, ``"std"`` or ``"naive"``.
        num_pairs: :math:`\beta`, for ``"sort"``: how many pairs are expected to be imbalanced;
            default all.

    Returns:
        A scalar, 0 at best.

    Raises:
        ValueError: an option is unknown or out of its range, or ``prob`` is no matrix.

    Example:
        >>> prob = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> flow_imbalance_loss(prob, torch.tensor([[0, 1], [2, 2]]))
        tensor(0.)
    """
    if normalization not in get_args(Normalization):
        known = ", ".join(get_args(Normalization))
        raise ValueError(f"`normalization` must be one of {known}, got {normalization!r}")
    if threshold not in get_args(Threshold):
        known = ", ".join(get_args(Threshold))
        raise ValueError(f"`threshold` must be one of {known}, got {threshold!r}")
    if prob.dim() != 2 or prob.size(1) < 2:
        raise ValueError(f"`prob` must be [N, C] with at least 2 clusters, got {list(prob.shape)}")
    clusters = prob.size(1)
    most = clusters * (clusters - 1) // 2
    if num_pairs is not None and not 1 <= num_pairs <= most:
        raise ValueError(f"`num_pairs` must be in [1, {most}], got {num_pairs}")
    edges = Edges.of(edges, edge_weight, size=prob.size(0))
    # Sums over all nodes pass the range of float16.
    wide = prob.to(torch.promote_types(prob.dtype, torch.float32))
    flow = wide.T @ aggregate(wide, edges.T, "sum")
    degree = weighted_degrees(edges, wide.dtype) + weighted_degrees(edges.T, wide.dtype)
    scores, imbalance, total = _scores(flow, wide.T @ degree, normalization)
    if threshold == "std":
        kept = imbalance.square() > 9 * total
        mean = (scores * kept).sum() / kept.sum().clamp(min=1)
    elif threshold == "sort" and num_pairs is not None:
        mean = scores.topk(num_pairs).values.mean()
    else:
        mean = scores.mean()
    return (1 - mean).to(prob.dtype)


def _scores(
    flow: Tensor, volume: Tensor, normalization: Normalization
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every pair of clusters its score, and the difference and the sum of its flows."""
    a, b = torch.triu_indices(flow.size(0), flow.size(0), 1, device=flow.device)
    there, back = flow[a, b], flow[b, a]
    imbalance, total = (there - back).abs(), there + back
    if normalization == "vol_sum":
        return _ratio(2 * imbalance, volume[a] + volume[b]), imbalance, total
    if normalization == "vol_max":
        return _ratio(imbalance, torch.maximum(volume[a], volume[b])), imbalance, total
    score = _ratio(imbalance, total)
    if normalization == "vol_min":
        smaller = torch.minimum(volume[a], volume[b])
        score = score * _ratio(smaller, volume.topk(2).values[1].expand_as(smaller))
    return score, imbalance, total


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / torch.where(whole > 0, whole, 1)
