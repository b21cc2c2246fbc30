"""How many triangles and 4-cycles each edge is part of, which the Forman curvatures are made of."""

from torch import Tensor

from gnnlib._library import register
from gnnlib.rewiring._simple_graph import SimpleGraph


def cycle_counts_of(graph: SimpleGraph, edges: Tensor) -> Tensor:
    r"""Count the short cycles through some edges of a graph.

    Of an edge with ends :math:`i < j`, with :math:`N(i)` the neighbours of :math:`i`, they are

    - ``triangles``: :math:`|N(i) \cap N(j)|`;
    - ``boxes_i``, ``boxes_j``: neighbours of one end alone that lie on a 4-cycle through the edge
      without a diagonal at that edge, :math:`\{k \in N(i) \setminus N(j),\, k \ne j : b(k) > 0\}`
      for :math:`i`, where :math:`b(k) = |(N(k) \cap N(j)) \setminus N(i) \setminus \{i\}|`, and
      the same with both ends exchanged for :math:`j`;
    - ``busiest``: the largest :math:`b(k)` of both, 1 where there is none;
    - ``squares``: all 4-cycles through the edge, with and without diagonals.

    Args:
        graph: one graph or several side by side.
        edges: ``[K]``, which of its edges.

    Returns:
        ``[5, K]`` int64, the rows in this order.
    """
    ends = graph.ends[:, edges]
    found: Tensor = _op(graph.rowptr, graph.col, ends[0].contiguous(), ends[1].contiguous())
    return found


def _reference(rowptr: Tensor, col: Tensor, source: Tensor, target: Tensor) -> Tensor:
    near = [set(part.tolist()) for part in col.split(rowptr.diff().tolist())]  # type: ignore[no-untyped-call]
    counts = []
    for i, j in zip(source.tolist(), target.tolist(), strict=True):
        box_i, box_j = (
            [len((near[k] & near[b]) - near[a] - {a}) for k in near[a] - near[b] - {b}]
            for a, b in ((i, j), (j, i))
        )
        squares = sum(len((near[k] & near[j]) - {i}) for k in near[i] - {j})
        boxes = [sum(box > 0 for box in found) for found in (box_i, box_j)]
        counts.append([len(near[i] & near[j]), *boxes, max([1, *box_i, *box_j]), squares])
    return source.new_tensor(counts).reshape(-1, 5).t().contiguous()


_op = register(
    "cycle_counts",
    _reference,
    lambda rowptr, col, source, target: source.new_empty(5, source.numel()),
)
