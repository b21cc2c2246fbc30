"""MagNet against the paper's network written out, and its options."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.layers import MagNetConv
from gnnlib.models import MagNet
from gnnlib.testing import assert_layer


def graph(num_nodes: int = 20, num_edges: int = 60) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num_nodes, 5, generator=g, dtype=torch.float64)
    return x, torch.randint(num_nodes, (2, num_edges), generator=g)


def test_definition() -> None:
    """The layers' weights in a network of complex matrices."""
    torch.manual_seed(0)
    x, edge_index = graph()
    model = MagNet(5, 7, 2, 3, K=2, q=0.15).double().eval()
    a = torch.zeros(20, 20, dtype=torch.float64)
    a = a.index_put(tuple(edge_index), torch.ones(60, dtype=torch.float64), accumulate=True)
    sym = (a + a.T) / 2
    root = sym.sum(1).clamp(min=1e-30).rsqrt()
    lap = -(root[:, None] * sym * root * torch.exp(0.3j * torch.pi * (a - a.T)))
    h = (1 + 1j) * x
    for conv in model.convs:
        terms = [h, lap @ h, 2 * lap @ (lap @ h) - h]
        h = sum(t @ lin.weight.T.to(h.dtype) for t, lin in zip(terms, conv.lins, strict=True))
        h = h + (1 + 1j) * conv.bias
        h = torch.where(h.real >= 0, h, 0)
    expected = model.lin(torch.cat([h.real, h.imag], 1))
    torch.testing.assert_close(model(x, edge_index), expected)
    torch.testing.assert_close(model(x, edge_index, x_imag=x.clone()), expected)
    assert not torch.allclose(model(x, edge_index, x_imag=torch.zeros_like(x)), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"K": 2, "learn_q": True, "q": 0.1, "dropout": 0.5},
        {"act": False, "normalization": None},
    ],
)
def test_every_option_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x, edge_index = graph()
    model = MagNet(5, 8, 3, 2, **options).double()
    model(x, edge_index).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert (model.act is None) == (options.get("act") is False)


def test_every_layer_has_its_own_q() -> None:
    model = MagNet(5, 8, 3, 2, learn_q=True)
    assert len({id(conv.q_logit) for conv in model.convs}) == 3
    assert all(isinstance(conv, MagNetConv) for conv in model.convs)


def test_without_normalisation_a_batch_is_its_graphs() -> None:
    model = MagNet(5, 8, 2, 3, K=2, normalization=None).double()
    (x, few), (y, many) = graph(12, 20), graph(12, 90)
    both, edges = torch.cat([x, y]), torch.cat([few, many + 12], 1)
    alone = torch.cat([model(x, few), model(y, many)])
    batch = torch.arange(2).repeat_interleave(12)
    torch.testing.assert_close(model(both, edges, batch=batch), alone)
    assert not torch.allclose(model(both, edges), alone)
    # A bound of one's own, by graph.
    bound = torch.tensor([30.0, 40.0], dtype=torch.float64)
    alone = [model(a, e, lambda_max=m) for a, e, m in ((x, few, bound[0]), (y, many, bound[1]))]
    found = model(both, edges, lambda_max=bound[batch])
    torch.testing.assert_close(found, torch.cat(alone))


def test_laws() -> None:
    assert_layer(lambda i, o: MagNet(i, 7, 2, o, q=0.1, learn_q=True))


X, EDGES = torch.ones(3, 5), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MagNet(5, 8, 0, 2), "`num_layers` must be at least 1, got 0"),
        (lambda: MagNet(5, 8, 1, 2, q=1.0), "`q` must be in"),
        (lambda: MagNet(5, 8, 1, 2)(X.unsqueeze(2), EDGES), "must both be .N, in_channels."),
        (lambda: MagNet(5, 8, 1, 2)(X, EDGES, x_imag=X[:2]), r"got one \[2, 5\]"),
        (lambda: MagNet(5, 8, 1, 2)((X, X), EDGES), "as a pair"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
