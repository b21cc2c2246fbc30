"""`DIMPAConv` against the paper's definition in dense matrices, and its laws."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnlib import Adjacency, Edges  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.layers import DIMPAConv
from gnnlib.testing import assert_layer

DOUBLE = {"dtype": torch.float64}


def draw(num_nodes: int, num_edges: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, num_nodes, 4, generator=g, **DOUBLE)
    edges = torch.randint(max(num_nodes, 1), (2, num_edges), generator=g)
    return x, y[:, :3], edges, torch.rand(num_edges, generator=g, **DOUBLE) + 0.2


def oracle(
    conv: DIMPAConv, source: Tensor, target: Tensor, edges: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Powers of the two dense matrices, one after the other."""
    n = len(source)
    a = torch.zeros(n, n, **DOUBLE)
    ones = torch.ones(edges.size(1), **DOUBLE)
    a = a.index_put(tuple(edges), ones if weight is None else weight, accumulate=True)
    sides = []
    for x, matrix, omega in ((source, a, conv.weight_source), (target, a.T, conv.weight_target)):
        looped = matrix + conv.tau * torch.eye(n)
        total = looped.sum(1, keepdim=True)
        mean = looped / torch.where(total == 0, 1, total)
        powers = [torch.linalg.matrix_power(mean, h) @ x for h in range(conv.hop + 1)]
        sides.append(sum(w * p for w, p in zip(omega, powers, strict=True)))
    return torch.cat(sides, 1)


def make(hop: int, tau: float = 0.5) -> DIMPAConv:
    conv = DIMPAConv(hop, tau).double()
    torch.manual_seed(0)
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    return conv


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_is_the_definition(data: Any) -> None:
    num_nodes = data.draw(st.integers(1, 9))
    args = draw(num_nodes, data.draw(st.integers(0, 25)), data.draw(st.integers(0, 999)))
    conv = make(data.draw(st.integers(1, 4)), data.draw(st.sampled_from([0.0, 0.5, 2.0])))
    factor = data.draw(st.sampled_from([None, args[3]]))
    torch.testing.assert_close(conv(*args[:3], factor), oracle(conv, *args[:3], factor))


def test_gradients_are_those_of_the_definition() -> None:
    source, target, edges, weight = draw(9, 30)
    conv, found = make(3), []
    for function in (conv, lambda *args: oracle(conv, *args)):
        leaves = [t.clone().requires_grad_() for t in (source, target, weight)]
        out = function(leaves[0], leaves[1], edges, leaves[2])
        loss = (out * torch.linspace(-1, 2, out.numel(), **DOUBLE).view_as(out)).sum()
        found.append(torch.autograd.grad(loss, [*leaves, *conv.parameters()]))
    torch.testing.assert_close(*found)


def test_every_hop_begins_with_weight_one() -> None:
    conv = DIMPAConv(2)
    assert conv.weight_source.tolist() == conv.weight_target.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_do_not_overflow(dtype: torch.dtype) -> None:
    leaves = torch.stack([torch.arange(1, 3001), torch.zeros(3000, dtype=torch.long)])
    x = torch.full((3001, 2), 60.0, dtype=dtype)
    found = DIMPAConv(2).to(dtype)(x, x, leaves)
    assert found.dtype == dtype
    expected = DIMPAConv(2)(x.float(), x.float(), leaves)
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0)


def test_a_gated_edge_is_absent() -> None:
    source, target, edges, weight = draw(10, 40)
    listen, broadcast = (
        torch.rand(2, 10, generator=torch.Generator().manual_seed(0)) < 0.6
    ).double()
    kept = (listen[edges[1]] * broadcast[edges[0]]).bool()
    conv = make(2)
    given = Edges.of(edges, weight, size=10).masked(broadcast, listen)
    expected = oracle(conv, source, target, edges[:, kept], weight[kept])
    torch.testing.assert_close(conv.forward_edges((source, target), given), expected)


class Both(nn.Module):
    """The conv on projections of the features as source and as target, as DIGRAC has it."""

    def __init__(self, in_channels: int, out_channels: int, hop: int) -> None:
        super().__init__()
        self.lins = nn.ModuleList(nn.Linear(in_channels, out_channels) for _ in range(2))
        self.conv = DIMPAConv(hop)

    def reset_parameters(self) -> None:
        for module in (*self.lins, self.conv):
            module.reset_parameters()

    def forward(self, x: Any, edge_index: Any, edge_weight: Tensor | None = None) -> Tensor:
        if isinstance(x, tuple):
            raise ValueError("every node is a source and a target")
        return self.conv(*(lin(x) for lin in self.lins), edge_index, edge_weight)


def test_laws() -> None:
    assert_layer(
        lambda i, o: Both(i, o, 2), skip={"lazy_channels": "DIMPAConv has no width of its own"}
    )


X, EDGES = torch.ones(3, 4), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DIMPAConv(0), "`hop` must be at least 1, got 0"),
        (lambda: DIMPAConv(2, -0.5), "`tau` must not be negative, got -0.5"),
        (lambda: DIMPAConv(2, float("nan")), "got nan"),
        (lambda: DIMPAConv(2)(X, X[:2], EDGES), r"got \[3, 4\] and \[2, 4\]"),
        (lambda: DIMPAConv(2)(X[0], X, EDGES), r"got \[4\] and \[3, 4\]"),
        (lambda: DIMPAConv(2)(X, X, EDGES, torch.ones(3)), "one row per edge, 2, got 3"),
        (lambda: DIMPAConv(2)(X, X, Adjacency.of(EDGES, (3, 4))), "`size`"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_prints_its_options() -> None:
    assert repr(DIMPAConv(3, 0.1)) == "DIMPAConv(hop=3, tau=0.1)"
