"""Find the nodes at each distance from every node."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx

from gnnlib._cache import TensorCache
from gnnlib._check import check_whole
from gnnlib._hash import mixed
from gnnlib._library import register
from gnnlib.adjacency import Adjacency
from gnnlib.ops._hop_pairs import KHop as KHop

MAX_PAIRS = 2**27
# Of how many nodes the pairs are counted beforehand, how many nodes at a time, and after how many
# pairs that is enough.
_ROOTS, _AT_ONCE, _ENOUGH = 256, 16, 2**20

_cache = TensorCache()


def k_hop(
    adj: Any,
    k: int,
    *,
    undirected: bool = False,
    max_pairs: int = MAX_PAIRS,
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
) -> KHop:
    r"""Find, for every node, the nodes at each distance from one to ``k`` hops.

    .. math::
        N_k(i) = \{\, j \ne i : d(j \to i) = k \,\}

    where :math:`d` is the length of a shortest path along the edges (Gutteridge et al., 2023,
    "DRew: Dynamically Rewired Message Passing with Delay", section 3). One breadth-first search a
    node finds all distances; a batch of graphs takes no more than the graphs one by one. Self loops
    and repeated edges do not matter. The pairs are kept with the adjacency and found again, unless
    they were sampled. The search is the CPU's, also for a graph on a GPU.

    Args:
        adj: the graph, an :class:`~gnnlib.Adjacency` of as many targets as sources or whatever
            :meth:`gnnlib.Adjacency.of` takes. A plain ``edge_index`` says nothing of nodes without
            edges after the last that has one: if there may be any, pass
            ``Adjacency.of(edge_index, num_nodes)``.
        k: the largest distance, at least 1.
        undirected: whether edges are followed both ways.
        max_pairs: the largest result, as a pair takes eight bytes; by default 1 GiB of them.
        num_samples: how many nodes to keep of each distance and node, at least 1, drawn uniformly
            without replacement; all by default. Distances stay exact.
        generator: source of randomness of ``num_samples``. The same seed draws the same nodes, on
            any number of threads.

    Returns:
        The pairs. Their bits do not depend on the number of threads.

    Raises:
        ValueError: there are more than ``max_pairs`` (the message says about how many; often that
            is certain before the search begins, otherwise they are counted, up to that number,
            before any is written); ``k``, ``max_pairs`` or ``num_samples`` is out of range; or the
            graph is bipartite.

    Example:
        >>> path = torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> pairs = k_hop(path, 2)
        >>> pairs.pairs.tolist(), pairs.distance.tolist()
        ([[0, 1, 0, 2, 1], [1, 2, 2, 3, 3]], [1, 1, 2, 1, 2])
        >>> k_hop(path, 2, undirected=True).hop(2).col.tolist()
        [2, 3, 0, 1]
    """
    adj = Adjacency.of(adj)
    _check(adj, k, max_pairs, num_samples)
    if num_samples is not None:
        return _find(adj, k, undirected, max_pairs, num_samples, _seed(generator))
    if torch.compiler.is_compiling():
        return _find(adj, k, undirected, max_pairs, 0, None)
    # Beside the pairs stays what they were made from, so that no other tensor can come by the id.
    found: tuple[Any, KHop] = _cache.find(
        adj.rowptr,
        (id(adj.col), k, undirected),
        lambda: (adj.col, _find(adj, k, undirected, max_pairs, 0, None)),
    )
    pairs = found[1]
    if pairs.num_pairs > max_pairs:
        raise _too_many(f"{pairs.num_pairs:,}", max_pairs)
    return pairs


def _check(adj: Adjacency, k: int, max_pairs: int, num_samples: int | None) -> None:
    if adj.num_src != adj.num_dst:
        raise ValueError(
            "`adj` must join nodes to nodes of the same kind, as a path of two hops goes through "
            f"one that is target and source; got {adj.num_src} sources and {adj.num_dst} targets"
        )
    check_counts(k, max_pairs, num_samples)
    if adj.num_dst * k > max(max_pairs, MAX_PAIRS):
        raise ValueError(
            f"`k`={k} takes {adj.num_dst * k:,} pointers, one per node and hop, more than "
            f"{max(max_pairs, MAX_PAIRS):,} (take a smaller `k`, or raise `max_pairs`)"
        )


def check_counts(k: int, max_pairs: int, num_samples: int | None) -> None:
    """Raise unless they are whole numbers in their ranges."""
    check_whole(k=k, num_samples=1 if num_samples is None else num_samples)
    check_whole(0, max_pairs=max_pairs)


def _too_many(count: str, max_pairs: int) -> ValueError:
    return ValueError(
        f"`k_hop` would find {count} pairs, more than `max_pairs`={max_pairs:,} (take a smaller "
        "`k`, bound every hop by `num_samples`, or raise `max_pairs`)"
    )


def _seed(generator: torch.Generator | None) -> Tensor:
    device = None if generator is None else generator.device
    return torch.randint(2**63 - 1, (1,), generator=generator, device=device).cpu()


def _on_cpu(adj: Adjacency) -> Adjacency:
    """The graph where it is searched: pairs are found once, before a GPU has anything to do."""
    if adj.device.type == "cpu":
        return adj
    return Adjacency(adj.rowptr.cpu(), adj.col.cpu(), None, adj.num_src)


def _find(
    adj: Adjacency,
    k: int,
    undirected: bool,
    max_pairs: int,
    num_samples: int,
    seed: Tensor | None,
) -> KHop:
    near = _on_cpu(adj)
    expected = _guard(near, k, undirected, max_pairs, num_samples)
    try:
        hop_ptr, col = _op(*_arrays(near, undirected), k, max_pairs, num_samples, seed)
    except ValueError:  # the operator's own count, which is exact
        if expected is None:
            raise
        raise _too_many(expected, max_pairs) from None
    return KHop(hop_ptr.to(adj.device), col.to(adj.device), adj.num_dst, k)


def _arrays(adj: Adjacency, undirected: bool) -> list[Any]:
    ways = (adj, adj.T) if undirected else (adj,)
    arrays = [array.contiguous() for way in ways for array in (way.rowptr, way.col)]
    return arrays if undirected else [*arrays, None, None]


def _guard(
    adj: Adjacency, k: int, undirected: bool, max_pairs: int, num_samples: int
) -> str | None:
    """Raise where there are certainly more pairs than that, before they are looked for.

    Returns how many to expect if that seems to be more, but only a count can tell.
    """
    others = min(adj.num_dst - 1, k * num_samples) if num_samples else adj.num_dst - 1
    # In a compiled graph the operator's own count is all there is: it stops at the limit.
    if torch.compiler.is_compiling() or adj.num_dst * others <= max_pairs:
        return None
    # Different ones, so that no pair is counted twice.
    drawn = random.Random(0).sample(range(adj.num_dst), min(_ROOTS, adj.num_dst))
    roots, arrays = torch.tensor(drawn, device=adj.device), _arrays(adj, undirected)
    found = searched = 0
    for part in roots.split(_AT_ONCE):  # type: ignore[no-untyped-call]
        found += int(_count_op(*arrays, part, k, num_samples).sum())
        searched += part.numel()
        if found > _ENOUGH:
            break
    estimate = round(found * adj.num_dst / searched)
    if estimate <= max_pairs:
        return None
    expected = f"{estimate:,}" if searched == adj.num_dst else f"about {estimate:,}"
    if found <= max_pairs and num_samples == 0:
        found = _at_least(adj, k, undirected, roots[:searched])
    if found > max_pairs:
        raise _too_many(expected, max_pairs)
    return expected


def _at_least(adj: Adjacency, k: int, undirected: bool, roots: Tensor) -> int:
    """Of how many pairs the path through one of these nodes is no longer than ``k``."""
    before = 1 + _count_op(*_arrays(adj, undirected), roots, k // 2, 0)
    behind = 1 + _count_op(*_arrays(adj.T, undirected), roots, k - k // 2, 0)
    # Who is on both sides makes no pair with itself.
    return int((before * behind - torch.minimum(before, behind)).max())


def _step(pairs: Tensor, num_nodes: int, rowptr: Tensor, col: Tensor) -> Tensor:
    node = pairs % num_nodes
    count = rowptr.diff()[node]
    first = rowptr[node] - (count.cumsum(0) - count)
    edge = torch.arange(int(count.sum()), device=col.device) + first.repeat_interleave(count)
    return (pairs - node).repeat_interleave(count) + col[edge]


def _levels(
    roots: Tensor,
    rowptr: Tensor,
    col: Tensor,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    num_hops: int,
) -> Iterator[Tensor]:
    """Hop by hop, the pairs of the r-th root and node j, as ``r * N + j`` in ascending order."""
    num_nodes = max(rowptr.numel() - 1, 1)
    last = seen = torch.arange(roots.numel(), device=col.device) * num_nodes + roots
    for _ in range(num_hops):
        reached = _step(last, num_nodes, rowptr, col)
        if t_rowptr is not None and t_col is not None:
            reached = torch.cat([reached, _step(last, num_nodes, t_rowptr, t_col)])
        reached = reached.unique()  # type: ignore[no-untyped-call]
        last = reached[torch.isin(reached, seen, assume_unique=True, invert=True)]
        seen = torch.cat([seen, last])
        if last.numel() == 0:
            return
        yield last


def _sampled(row: Tensor, node: Tensor, num_samples: int, seed: Tensor) -> Tensor:
    """Which of a level's pairs stay: of each row, those whose hashes are the smallest."""
    key = mixed(mixed(mixed(seed) + row) + node) >> 1 & (2**63 - 1)
    order = key.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]
    rank = torch.arange(row.numel(), device=row.device) - torch.searchsorted(row, row)
    return order[rank < num_samples].sort().values


def _reference(
    rowptr: Tensor,
    col: Tensor,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    num_hops: int,
    max_pairs: int,
    num_samples: int,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    num_nodes = rowptr.numel() - 1
    rows, nodes = rowptr[:0], rowptr[:0]
    roots = torch.arange(num_nodes, device=col.device)
    for hop, pairs in enumerate(_levels(roots, rowptr, col, t_rowptr, t_col, num_hops)):
        row, node = pairs // num_nodes * num_hops + hop, pairs % num_nodes
        if seed is not None:
            kept = _sampled(row, node, num_samples, seed)
            row, node = row[kept], node[kept]
        rows, nodes = torch.cat([rows, row]), torch.cat([nodes, node])
        if rows.numel() > max_pairs:
            raise _too_many(f"at least {rows.numel():,}", max_pairs)
    hop_ptr = rowptr.new_zeros(num_nodes * num_hops + 1)
    hop_ptr[1:] = torch.bincount(rows, minlength=num_nodes * num_hops).cumsum(0)
    return hop_ptr, nodes[rows.argsort(stable=True)]


def _count_reference(
    rowptr: Tensor,
    col: Tensor,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    roots: Tensor,
    num_hops: int,
    num_samples: int,
) -> Tensor:
    counts = torch.zeros_like(roots)
    for pairs in _levels(roots, rowptr, col, t_rowptr, t_col, num_hops):
        count = torch.bincount(pairs // (rowptr.numel() - 1), minlength=roots.numel())
        counts += count.clamp(max=num_samples) if num_samples else count
    return counts


def _fake(
    rowptr: Tensor,
    col: Tensor,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    num_hops: int,
    max_pairs: int,
    num_samples: int,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    hop_ptr = rowptr.new_empty((rowptr.numel() - 1) * num_hops + 1)
    return hop_ptr, rowptr.new_empty(get_ctx().new_dynamic_size())


_op = register("k_hop", _reference, _fake)
_count_op = register(
    "k_hop_count",
    _count_reference,
    lambda rowptr, col, t_rowptr, t_col, roots, num_hops, num_samples: torch.empty_like(roots),
)
