"""Reduce over the present neighbours of every node."""

from dataclasses import replace

import torch
from torch import Tensor

from gnnlib import ops
from gnnlib.edges import Edges


def aggregate(x: Tensor, edges: Edges, reduce: str) -> Tensor:
    r"""Reduce over the present neighbours of every node, behind both gates.

    .. math::
        \mathrm{out}_i = l_i \bigoplus_{e = (j \to i), \, b_j \neq 0} b_j \, w_e \, x_j

    Args:
        x: ``[N_src, F]`` features of the sources.
        edges: the edges.
        reduce: ``"sum"``, ``"mean"``, ``"min"``, ``"max"`` or ``"mul"``.
    """
    out = ops.gather_reduce(x, edges.adj, edges.weight, reduce, edges.broadcast)  # type: ignore[arg-type]
    # Nothing heard is a sum of 0 and a product of 1.
    return 1 + listened(out - 1, edges) if reduce == "mul" and edges.gated else listened(out, edges)


def listened(out: Tensor, edges: Edges) -> Tensor:
    """What every target hears, ``[N_dst, *]``, through its own gate."""
    if edges.listen is None:
        return out
    rows = ops.gate_rows(out.flatten(1), edges.listen.to(out.dtype))
    return rows.view(out.shape)


def degrees(edges: Edges, dtype: torch.dtype) -> Tensor:
    """``[N_dst]``: the number of present edges that point to each node."""
    if not edges.gated:
        return edges.adj.degree.to(dtype)
    broadcast, listen = (
        None if gate is None else (gate.detach() != 0).to(dtype)
        for gate in (edges.broadcast, edges.listen)
    )
    ones = torch.ones(edges.adj.num_src, 1, dtype=dtype, device=edges.adj.device)
    present = replace(edges, weight=None, broadcast=broadcast, listen=listen)
    return aggregate(ones, present, "sum").squeeze(-1)
