"""Dir-GNN in dense matrices, and the graphs it is tried on."""

from typing import Any

import torch
from torch import Tensor, nn

NODES, WIDTH = 9, 4


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, edges with loops, multi-edges, a source and a sink, and their weights."""
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(NODES - 2, (2, 30), generator=g)
    edge_index[0][:3], edge_index[1][:3] = NODES - 1, torch.tensor([0, 0, 1])  # nobody points to 8
    edge_index[1][3:5] = NODES - 2  # 7 points to nobody
    x = torch.randn(NODES, WIDTH, generator=g)
    return x, edge_index, torch.rand(30, generator=g) + 0.2


def dense(edge_index: Tensor, weight: Tensor | None = None) -> Tensor:
    """``A[i, j]``: the weight of the edges that go from ``i`` to ``j``."""
    matrix = torch.zeros(NODES, NODES)
    weight = torch.ones(edge_index.size(1)) if weight is None else weight
    for (source, target), w in zip(edge_index.T.tolist(), weight, strict=True):
        matrix = matrix + w * (torch.eye(NODES)[source].outer(torch.eye(NODES)[target]))
    return matrix


def power(degree: Tensor, exponent: float) -> Tensor:
    return torch.stack([d**exponent if d > 0 else d * 0 for d in degree])


def operators(a: Tensor, norm: str | None) -> tuple[Tensor, Tensor]:
    """What is heard from in-neighbours, and what from out-neighbours, as the paper has it."""
    d_out, d_in = a.sum(1), a.sum(0)
    if norm == "dir":
        s = power(d_out, -0.5)[:, None] * a * power(d_in, -0.5)
        return s.T, s
    if norm == "row":
        return power(d_in, -1)[:, None] * a.T, power(d_out, -1)[:, None] * a
    if norm == "sym":
        d = power((d_in + d_out) / 2, -0.5)
        s = d[:, None] * a * d
        return s.T, s
    return a.T, a


def affine(lin: Any, bias: Tensor | None, h: Tensor) -> Tensor:
    return h @ lin.weight.T + (0 if bias is None else bias)


def gcn_oracle(conv: Any, alpha: Any, norm: Any, x: Tensor, a: Tensor) -> Tensor:
    comes, goes = operators(a, norm)
    out = torch.zeros(())
    if conv.conv_in is not None:
        out = out + (1 - alpha) * affine(conv.conv_in.lin, conv.conv_in.bias, comes @ x)
    if conv.conv_out is not None:
        out = out + alpha * affine(conv.conv_out.lin, conv.conv_out.bias, goes @ x)
    return out


def gradients(function: Any, leaves: list[Tensor], parameters: Any) -> list[Tensor]:
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out = function(*leaves)
    loss = (out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum()
    return [out, *torch.autograd.grad(loss, [*leaves, *parameters])]


def mlp(width: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 7), nn.Tanh(), nn.Linear(7, width))
