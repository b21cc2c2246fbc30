"""DIGRAC and its loss against the paper's definitions, pair of clusters by pair of clusters."""

from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnlib.datasets import DirectedSBM  # first: it imports PyG without warnings

# isort: split
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnlib.models import DIGRAC, flow_imbalance_loss
from gnnlib.testing import assert_layer

DOUBLE = {"dtype": torch.float64}
NORMALIZATIONS = ("vol_sum", "vol_max", "vol_min", "plain")
THRESHOLDS = ("sort", "std", "naive")


def draw(
    num_nodes: int, num_edges: int, clusters: int = 4, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_nodes, clusters, generator=g, **DOUBLE)
    edges = torch.randint(num_nodes, (2, num_edges), generator=g)
    return logits.softmax(1), edges, torch.rand(num_edges, generator=g, **DOUBLE) + 0.2


def oracle(
    prob: Tensor, edge_index: Tensor, weight: Tensor | None = None, *,
    normalization: str = "vol_sum", threshold: str = "sort", num_pairs: int | None = None,
) -> Tensor:  # fmt: skip
    """The definition, with a dense matrix and a loop over pairs of clusters."""
    n, clusters = prob.shape
    ones = torch.ones(edge_index.size(1), dtype=prob.dtype)
    a = torch.zeros(n, n, dtype=prob.dtype)
    a = a.index_put(tuple(edge_index), ones if weight is None else weight, accumulate=True)
    volume = [prob[:, k] @ (a.sum(0) + a.sum(1)) for k in range(clusters)]
    second = sorted(volume, key=Tensor.item)[-2]
    scores, sure = [], []
    for k, m in combinations(range(clusters), 2):
        there, back = prob[:, k] @ a @ prob[:, m], prob[:, m] @ a @ prob[:, k]
        gap = (there - back).abs()
        if there + back == 0:
            score = gap
        elif normalization == "vol_sum":
            score = 2 * gap / (volume[k] + volume[m])
        elif normalization == "vol_max":
            score = gap / max(volume[k], volume[m], key=Tensor.item)
        else:
            score = gap / (there + back)
            if normalization == "vol_min":
                score = score * min(volume[k], volume[m], key=Tensor.item) / second
        scores.append(score)
        sure.append(bool(gap**2 > 9 * (there + back)))
    if threshold == "std":
        scores = [score for score, kept in zip(scores, sure, strict=True) if kept]
        if not scores:
            return torch.ones((), dtype=prob.dtype) + 0 * prob.sum()
    elif threshold == "sort":
        scores = sorted(scores, key=Tensor.item)[-(num_pairs or len(scores)) :]
    return 1 - torch.stack(scores).mean()


# The loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("normalization", "threshold"), [*product(NORMALIZATIONS, THRESHOLDS)])
def test_loss_and_gradient_are_those_of_the_definition(normalization: Any, threshold: Any) -> None:
    prob, edges, weight = draw(40, 900)
    cluster = prob.argmax(1)  # between clusters, all edges go up, so that flows are no accident
    edges[1] = torch.where(cluster[edges[0]] > cluster[edges[1]], edges[0], edges[1])
    options = {"normalization": normalization, "threshold": threshold}
    for beta in (None, 1, 3):
        options |= {"num_pairs": beta}
        found = []
        for function in (flow_imbalance_loss, oracle):
            leaves = [t.clone().requires_grad_() for t in (prob, weight)]
            loss = function(leaves[0], edges, leaves[1], **options)
            found.append([loss.detach(), *torch.autograd.grad(loss, leaves)])
        torch.testing.assert_close(*found)
        assert found[0][1].any()  # every threshold learns
        torch.testing.assert_close(
            flow_imbalance_loss(prob, edges, **options), oracle(prob, edges, **options)
        )


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_graph(data: Any) -> None:
    clusters = data.draw(st.integers(2, 5))
    num_nodes = data.draw(st.integers(1, 12))
    prob, edges, weight = draw(
        num_nodes, data.draw(st.integers(0, 60)), clusters, data.draw(st.integers(0, 999))
    )
    if data.draw(st.booleans()):  # sure of every node, and clusters may be empty
        prob = torch.nn.functional.one_hot(prob.argmax(1), clusters).double()
    options = {
        "normalization": data.draw(st.sampled_from(NORMALIZATIONS)),
        "threshold": data.draw(st.sampled_from(THRESHOLDS)),
        "num_pairs": data.draw(st.sampled_from([None, 1])),
    }
    factor = data.draw(st.sampled_from([None, weight]))
    prob.requires_grad_()
    found = flow_imbalance_loss(prob, edges, factor, **options)
    torch.testing.assert_close(found, oracle(prob, edges, factor, **options))
    assert torch.autograd.grad(found, prob)[0].isfinite().all()


def test_one_way_flows_are_perfect_and_balanced_ones_worst() -> None:
    prob = torch.eye(2).repeat_interleave(2, 0)
    one_way = torch.tensor([[0, 1, 0], [2, 3, 3]])
    balanced = torch.cat([one_way, one_way.flip(0)], 1)
    for normalization in NORMALIZATIONS:
        options = {"normalization": normalization}
        assert flow_imbalance_loss(prob, one_way, **options).item() == pytest.approx(0)
        assert flow_imbalance_loss(prob, balanced, **options).item() == pytest.approx(1)
    # Three edges one way may be an accident, ten are not.
    assert flow_imbalance_loss(prob, one_way, threshold="std").item() == 1
    ten = one_way[:, torch.zeros(10, dtype=torch.long)]
    assert flow_imbalance_loss(prob, ten, threshold="std").item() == pytest.approx(0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("normalization", "threshold"), [*product(NORMALIZATIONS, THRESHOLDS)])
def test_half_types_do_not_overflow(normalization: Any, threshold: Any, dtype: torch.dtype) -> None:
    prob, edges, _ = draw(50, 200_000)
    prob, cluster = prob.to(dtype), prob.argmax(1)
    edges = edges[:, cluster[edges[0]] <= cluster[edges[1]]]  # between clusters, all go up
    options = {"normalization": normalization, "threshold": threshold}
    found = flow_imbalance_loss(prob, edges, **options)
    assert found.dtype == dtype
    expected = flow_imbalance_loss(prob.float(), edges, **options)
    assert expected < 0.9
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0)


def test_names_of_clusters_do_not_matter() -> None:
    prob, edges, weight = draw(20, 100)
    for normalization in NORMALIZATIONS:
        losses = [
            flow_imbalance_loss(p, edges, weight, normalization=normalization, num_pairs=2)
            for p in (prob, prob[:, [2, 0, 3, 1]])
        ]
        torch.testing.assert_close(*losses)


P, EDGES = torch.full((3, 3), 1 / 3), torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flow_imbalance_loss(P, EDGES, normalization="vol"), "vol_sum, .*, got 'vol'"),
        (lambda: flow_imbalance_loss(P, EDGES, threshold="top"), "sort, std, naive, got 'top'"),
        (lambda: flow_imbalance_loss(P, EDGES, num_pairs=4), r"in \[1, 3\], got 4"),
        (lambda: flow_imbalance_loss(P, EDGES, num_pairs=0), r"in \[1, 3\], got 0"),
        (lambda: flow_imbalance_loss(P[:, :1], EDGES), r"at least 2 clusters, got \[3, 1\]"),
        (lambda: flow_imbalance_loss(P[0], EDGES), r"got \[3\]"),
        (lambda: DIGRAC(4, 8, 1), "`num_clusters` must be at least 2, got 1"),
        (lambda: DIGRAC(4, 8, 2, hop=0), "`hop` must be at least 1"),
        (lambda: DIGRAC(3, 8, 2)((P, P), EDGES), "both a source and a target, got a pair"),
        (lambda: DIGRAC(3, 8, 2)(P[0], EDGES), r"got \[3\]"),
    ],
)
def test_a_wrong_call_says_what_to_do(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# The network --------------------------------------------------------------------------------------


def test_network_is_the_definition() -> None:
    torch.manual_seed(0)
    _, edges, weight = draw(15, 50)
    x = torch.randn(15, 5, **DOUBLE)
    model = DIGRAC(5, 6, 3, hop=2, tau=0.3).double().eval()
    torch.nn.init.normal_(model.conv.weight_source)
    a = torch.zeros(15, 15, **DOUBLE).index_put(tuple(edges), weight, accumulate=True)
    sides = []
    for mlp, matrix, omega in (
        (model.mlp_source, a, model.conv.weight_source),
        (model.mlp_target, a.T, model.conv.weight_target),
    ):
        h = mlp[3](mlp[0](x).relu())
        mean = matrix + 0.3 * torch.eye(15)
        mean = mean / mean.sum(1, keepdim=True)
        sides.append(omega[0] * h + omega[1] * mean @ h + omega[2] * mean @ mean @ h)
    expected = model.lin(torch.cat(sides, 1)).softmax(1)
    torch.testing.assert_close(model(x, edges, weight), expected)


def test_laws() -> None:
    assert_layer(
        lambda i, o: DIGRAC(i, 7, o, dropout=0.0),
        zero_gradient=(),
        skip={"generator": "its dropout is torch's own, which knows no generator"},
    )


def test_finds_clusters_that_show_in_directions_alone() -> None:
    torch.manual_seed(0)
    graphs = DirectedSBM("cycle", 3, num_nodes=150, p=0.2, rho=1.0, eta=0.05)
    data = graphs[0]
    # Of whom a node points to, and who points to it, nothing but random projections.
    code = torch.randn(150, 16)
    a = torch.zeros(150, 150).index_put(tuple(data.edge_index), torch.ones(1))
    x = torch.cat([a @ code, a.T @ code], 1) / 4
    model = DIGRAC(32, 16, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = flow_imbalance_loss(model(x, data.edge_index), data.edge_index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.eval()(x, data.edge_index).argmax(1)
    table = torch.zeros(3, 3).index_put((data.y, found), torch.ones(1), accumulate=True)
    assert table.amax(1).sum() > 0.9 * 150
    assert len(table.argmax(1).unique()) == 3
