"""Rewiring by augmented Forman-Ricci curvature."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform

from gnnlib._check import check_number, check_whole
from gnnlib._hash import uniform
from gnnlib.rewiring._edit import Edit
from gnnlib.rewiring._rewiring import Rewiring
from gnnlib.rewiring._simple_graph import SimpleGraph
from gnnlib.rewiring._spans import spans
from gnnlib.rewiring.curvature._augmented_forman import augmented_forman_of


@functional_transform("afrc")
class AFRC(Rewiring):
    r"""Remove edges of high augmented Forman-Ricci curvature and add some where it is low
    (functional name: ``afrc``).

    Of an edge :math:`\{u, v\}` in :math:`t` triangles and :math:`q` cycles of length four, the
    curvature is

    .. math::
        \mathrm{AF}_3(u, v) = 4 - d_u - d_v + 3 t, \qquad
        \mathrm{AF}_4(u, v) = \mathrm{AF}_3(u, v) + 2 q

    (Fesser and Weber, 2023, "Mitigating Over-Smoothing and Over-Squashing using Augmentations of
    Forman-Ricci Curvature"). A mixture of two normal distributions is fitted to the curvatures of
    each graph; with means :math:`\mu_1 \le \mu_2` and deviations :math:`\sigma_1, \sigma_2`,

    .. math::
        \mathrm{lower} = \frac{\mu_1 \sigma_2 + \mu_2 \sigma_1}{\sigma_1 + \sigma_2}, \qquad
        \mathrm{upper} = \mu_2 + \sigma_2 .

    An iteration removes all edges above ``upper``. Then every edge :math:`u < v` that was below
    ``lower`` draws a :math:`w` of :math:`N(u) \setminus N(v) \setminus \{v\}`, uniformly, and adds
    :math:`\{v, w\}`; if there is none, it draws from
    :math:`N(v) \setminus N(u) \setminus \{u\}` and adds :math:`\{u, w\}`; if there is none either,
    it adds nothing. Later iterations keep the thresholds of the first.

    Nothing is done to a graph whose edges all have one curvature (a ring, a complete graph, one
    edge, none), as there are no two components.

    Differs: the authors' code counts every degree twice, draws :math:`v` itself as well (a self
    loop), and adds and removes one direction alone. There edges add one after the other, here all
    see the graph as it was after the removals, and what two of them add is there once.

    Cost of an iteration: :math:`O(\sum_{uv} d_u \log E)` for all graphs together, whatever their
    number, and once a fit by scikit-learn a graph, some milliseconds: for many small graphs give
    ``thresholds``.

    Args:
        n_iter: number of iterations, at least 0 (default 3).
        cycles: the longest cycles that count, 3 (default) or 4.
        thresholds: ``(lower, upper)``, for all graphs the same; fitted if ``None`` (default), which
            needs scikit-learn.
        shared: the arguments of :class:`Rewiring`.

    Raises:
        ImportError: there are no ``thresholds`` and no scikit-learn.
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> bow = torch.tensor([[0, 0, 1, 2, 3, 3, 4], [1, 2, 2, 3, 4, 5, 5]])
        >>> data = Data(edge_index=torch.cat([bow, bow.flip(0)], 1), num_nodes=6)
        >>> rewired = AFRC(n_iter=1)(data)  # 2 - 3 is the one edge in no triangle
        >>> rewired.edge_index[:, rewired.parent_id < 0].tolist()
        [[0, 3], [3, 0]]
    """

    def __init__(
        self,
        n_iter: int = 3,
        *,
        cycles: int = 3,
        thresholds: tuple[float, float] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_whole(0, n_iter=n_iter)
        if cycles not in (3, 4) or isinstance(cycles, float):
            raise ValueError(f"`cycles` must be 3 (triangles) or 4 (and squares), got {cycles!r}")
        self.n_iter = int(n_iter)
        self.cycles = int(cycles)
        self.thresholds = None if thresholds is None else _pair(thresholds)

    def options(self) -> dict[str, Any]:
        """All arguments but those of the base."""
        return {"n_iter": self.n_iter, "cycles": self.cycles, "thresholds": self.thresholds}

    def edit(self, graph: SimpleGraph, data: Any) -> Edit:
        """Decide what comes and what goes; see :class:`Rewiring`."""
        before, bounds = graph, None
        for step in range(self.n_iter):
            value = augmented_forman_of(graph, torch.arange(graph.num_edges), self.cycles)
            bounds = self._bounds(graph, value) if bounds is None else bounds
            lower, upper = bounds[:, graph.graph_of_edge]
            low = graph.ends[:, value < lower]
            thinned = graph.replaced(graph.ends[:, value <= upper])
            new = _supports(thinned, low, _draws(self.seed, step, graph, low))
            if new.size(1) == 0 and thinned.num_edges == graph.num_edges:
                break
            graph = thinned.replaced(torch.cat([thinned.ends, new], 1))
        return Edit.between(before, graph)

    def _bounds(self, graph: SimpleGraph, value: Tensor) -> Tensor:
        """Lower and upper threshold of every graph, ``[2, G]``."""
        if self.thresholds is not None:
            given = torch.tensor(self.thresholds, dtype=torch.float64)
            return given[:, None].expand(2, graph.num_graphs)
        sizes = torch.bincount(graph.graph_of_edge, minlength=graph.num_graphs).tolist()
        fitted = [_fitted(part, self.seed) for part in value.split(sizes)]  # type: ignore[no-untyped-call]
        return torch.tensor(fitted, dtype=torch.float64).reshape(-1, 2).t()


def _pair(thresholds: Any) -> tuple[float, float]:
    """A lower and an upper threshold.

    Raises:
        ValueError: they are no two numbers, or the lower one is above the other.
    """
    if isinstance(thresholds, (tuple, list)) and len(thresholds) == 2:
        lower, upper = thresholds
        check_number(-math.inf, math.inf, lower=lower, upper=upper)
        if lower <= upper:
            return float(lower), float(upper)
    raise ValueError(f"`thresholds` must be (lower, upper), lower first, got {thresholds!r}")


def _fitted(value: Tensor, seed: int) -> tuple[float, float]:
    """The thresholds of one graph; none of its edges is beyond them if all are alike."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ModuleNotFoundError as error:
        raise ImportError(
            "AFRC fits its thresholds with scikit-learn: pip install gnnlib[rewire], or pass "
            "thresholds=(lower, upper)"
        ) from error
    if value.numel() == 0 or value.min() == value.max():
        return -float("inf"), float("inf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # In ascending order, as k-means++ begins at rows: the thresholds do not depend on node ids.
        fit = GaussianMixture(2, random_state=seed % 2**32).fit(
            value.sort().values[:, None].numpy()
        )
    (mean, deviation), (high, spread) = sorted(
        zip(fit.means_.ravel().tolist(), fit.covariances_.ravel() ** 0.5, strict=True)
    )
    lower = (mean * spread + high * deviation) / (deviation + spread)
    return float(lower), float(high + spread)


def _draws(seed: int, step: int, graph: SimpleGraph, ends: Tensor) -> Tensor:
    """A number in [0, 1) for each edge, the same alone and in a batch."""
    first = graph.ptr[torch.searchsorted(graph.ptr, ends[0].contiguous(), right=True) - 1]
    return uniform(seed, torch.tensor(step), *(ends - first))


def _supports(graph: SimpleGraph, ends: Tensor, draw: Tensor) -> Tensor:
    """An edge that closes a triangle over each edge, ``[2, K]``, where there can be one."""
    u, v = ends
    near = _drawn(graph, u, v, draw)
    none = near < 0
    far = _drawn(graph, v[none], u[none], draw[none])
    new = torch.cat([torch.stack([v, near]), torch.stack([u[none], far])], 1)
    return new[:, new[1] >= 0].sort(0).values


def _drawn(graph: SimpleGraph, u: Tensor, v: Tensor, draw: Tensor) -> Tensor:
    """For each pair one of u's neighbours that neither is v's nor v, -1 where there is none."""
    found = [u[:0]]
    for part, pair, place in spans(graph.rowptr[u], graph.degree[u]):
        w, end = graph.col[place], v[part][pair]
        free = (w != end) & (graph.edge_id(torch.stack([end, w])) < 0)
        count = torch.bincount(pair[free], minlength=part.stop - part.start)
        chosen = count.cumsum(0) - count + (draw[part] * count).long()
        found.append(torch.cat([w[free], w.new_tensor([-1])])[chosen.where(count > 0, -1)])
    return torch.cat(found)
