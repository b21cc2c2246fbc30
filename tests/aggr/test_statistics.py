"""StatisticsAggregation, against loops over groups in plain torch, and PyG's where both agree."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GENConv, GraphConv, PNAConv, SAGEConv
from torch_geometric.nn.aggr import DegreeScalerAggregation

from gnnlib import Adjacency
from gnnlib.aggr import StatisticsAggregation
from gnnlib.datasets import RootNeighbors
from gnnlib.testing import assert_aggregation

AGGREGATORS = ["sum", "mean", "min", "max", "var", "std"]
SCALERS = ["identity", "amplification", "attenuation", "linear", "inverse_linear"]
HISTOGRAM = torch.tensor([2, 5, 0, 7, 1])

STATISTIC = {
    "sum": lambda v: v.sum(0),
    "mean": lambda v: v.mean(0),
    "min": lambda v: v.amin(0),
    "max": lambda v: v.amax(0),
    "var": lambda v: (v - v.mean(0)).square().mean(0),
    "std": lambda v: (v - v.mean(0)).square().mean(0).sqrt(),
}


def scale(name: str, d: int, lin: float, log: float) -> float:
    """The paper's scalers, of a group of at least one."""
    return {
        "identity": 1.0,
        "amplification": math.log(d + 1) / log,
        "attenuation": log / math.log(d + 1),
        "linear": d / lin,
        "inverse_linear": lin / d,
    }[name]


def oracle(
    x: Tensor, index: Tensor, size: int, aggregators: list[str], scalers: list[str],
    degrees: list[int],
) -> Tensor:  # fmt: skip
    lin = sum(degrees) / len(degrees)
    log = sum(math.log(d + 1) for d in degrees) / len(degrees)
    rows = []
    for i in range(size):
        v = x[index == i]
        if not len(v):
            rows.append(x.new_zeros(len(aggregators) * len(scalers) * x.size(1)))
            continue
        parts = product(scalers, aggregators)
        rows.append(torch.cat([scale(s, len(v), lin, log) * STATISTIC[a](v) for s, a in parts]))
    return torch.stack(rows)


def degrees_of(histogram: Tensor) -> list[int]:
    return torch.arange(len(histogram)).repeat_interleave(histogram).tolist()


def groups(num: int = 40, size: int = 7, width: int = 3) -> tuple[Tensor, Tensor, int]:
    """Rows in groups of many sizes, larger than the histogram knows; group 2 is empty."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(size, (num,), generator=generator)
    index[index == 2] = 4
    return torch.randn(num, width, generator=generator, dtype=torch.float64), index, size


@pytest.mark.parametrize("aggregators", [AGGREGATORS, ["std"], ["max", "mean"], ["var", "sum"]])
@pytest.mark.parametrize("scalers", [SCALERS, ["identity"], ["linear"], ["attenuation", "linear"]])
def test_any_subset(aggregators: list[str], scalers: list[str]) -> None:
    x, index, size = groups()
    aggr = StatisticsAggregation(aggregators, scalers, HISTOGRAM).double()
    with torch.no_grad():  # the means are kept in float32, as PyG keeps them
        degrees = degrees_of(HISTOGRAM)
        aggr.avg_deg_lin.fill_(sum(degrees) / len(degrees))
        aggr.avg_deg_log.fill_(sum(math.log(d + 1) for d in degrees) / len(degrees))
    out = aggr(x, index, dim_size=size)
    torch.testing.assert_close(out, oracle(x, index, size, aggregators, scalers, degrees))
    assert out.size(1) == aggr.get_out_channels(3)


def test_pyg_agrees_where_groups_vary() -> None:
    x, index, size = groups()
    names = ["mean", "min", "max", "std"]  # no group of one, whose deviation PyG rounds to 0 too
    theirs = DegreeScalerAggregation(names, SCALERS, HISTOGRAM).double()
    ours = StatisticsAggregation(names, SCALERS, HISTOGRAM).double()
    ours.load_state_dict(theirs.state_dict())
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outs = [f(v, index, dim_size=size) for f, v in zip((theirs, ours), inputs, strict=True)]
    torch.testing.assert_close(outs[1], outs[0])
    weight = torch.randn_like(outs[0])
    for out in outs:
        (out * weight).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)


def test_one_scaler_by_name_is_one_scaler() -> None:
    x, index, size = groups()
    by_name = StatisticsAggregation("mean", "attenuation", HISTOGRAM)
    listed = StatisticsAggregation(["mean"], ["attenuation"], HISTOGRAM)
    assert torch.equal(by_name(x, index, dim_size=size), listed(x, index, dim_size=size))


def test_an_offset_costs_no_precision() -> None:
    x, index, size = groups()
    aggr = StatisticsAggregation(["var", "std"])
    expected = aggr(x, index, dim_size=size)
    far = aggr((1024 + x).float(), index, dim_size=size).double()
    torch.testing.assert_close(far, expected, rtol=1e-3, atol=1e-3)
    theirs = DegreeScalerAggregation(["var"], ["identity"], HISTOGRAM)
    worse = (theirs((1024 + x).float(), index, dim_size=size) - expected[:, :3]).abs().max()
    assert worse > 10 * (far - expected)[:, :3].abs().max()


def test_gradients() -> None:
    x, index, size = groups(12, 5, 2)
    aggr = StatisticsAggregation(AGGREGATORS, SCALERS, HISTOGRAM).double()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aggr(x, index, dim_size=size), (x,))
    equal = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    aggr(equal, torch.tensor([0, 0, 0, 1]), dim_size=3).sum().backward()
    assert equal.grad.isfinite().all()


def test_learned_means() -> None:
    x, index, size = groups()
    aggr = StatisticsAggregation(["mean"], ["linear", "amplification"], HISTOGRAM, train_norm=True)
    aggr(x.float(), index, dim_size=size).sum().backward()
    assert [name for name, p in aggr.named_parameters() if p.grad.any()] == [
        "avg_deg_lin", "avg_deg_log",
    ]  # fmt: skip
    start = aggr.avg_deg_lin.clone()
    with torch.no_grad():
        aggr.avg_deg_lin.add_(1)
    aggr.reset_parameters()
    assert torch.equal(aggr.avg_deg_lin, start)


def means(deg: object) -> tuple[float, float]:
    aggr = StatisticsAggregation("mean", "linear", deg)
    return aggr.init_avg_deg_lin, aggr.init_avg_deg_log


@pytest.mark.cpu_only("its data set is made there")
def test_degrees_are_counted_in_whatever_holds_graphs() -> None:
    trees = RootNeighbors(num_trees=9)
    expected = means(PNAConv.get_degree_histogram(DataLoader(trees)))
    assert expected[0] == pytest.approx(2 - 2 * 9 / len(trees.x))
    batch = Batch.from_data_list(list(trees))
    adj = Adjacency.of(batch.edge_index, batch.num_nodes)
    adj_t = torch.sparse_coo_tensor(
        batch.edge_index.flip(0), torch.ones(batch.num_edges), (batch.num_nodes,) * 2,
        check_invariants=True,
    )  # fmt: skip
    sparse = Data(adj_t=adj_t, num_nodes=batch.num_nodes)
    for deg in (
        trees, list(trees), DataLoader(trees, batch_size=4), batch, adj, batch.edge_index,
        [adj], iter(trees), sparse,
    ):  # fmt: skip
        assert means(deg) == pytest.approx(expected)
    directed = torch.tensor([[0, 1, 2], [3, 3, 3]])
    assert means(directed) == (0.75, pytest.approx(math.log(4) / 4))
    # A node that no edge points to counts, if the graph says that it is there.
    lonely = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=4)
    assert means(lonely)[0] == 0.25


@pytest.mark.parametrize("train_norm", [False, True])
def test_laws(train_norm: bool) -> None:
    make = lambda: StatisticsAggregation(AGGREGATORS, SCALERS, HISTOGRAM, train_norm=train_norm)  # noqa: E731
    assert_aggregation(make)


def test_in_convs() -> None:
    x = torch.rand(5, 4)
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 1, 0, 4, 4]])
    for make in (
        lambda: SAGEConv(4, 6, aggr=StatisticsAggregation(["mean", "std"], SCALERS, edge_index)),
        lambda: SAGEConv(-1, 6, aggr=StatisticsAggregation(["mean", "std"], SCALERS, edge_index)),
        lambda: GENConv(4, 6, aggr=StatisticsAggregation(["max", "std"], SCALERS, edge_index)),
        lambda: GraphConv(4, 6, aggr=StatisticsAggregation("std")),
        lambda: SAGEConv(4, 6, aggr="statistics"),
    ):
        conv = make()
        out = conv(x, edge_index)
        assert out.shape == (5, 6)
        out.sum().backward()
        compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, edge_index), out)


def test_further_dimensions() -> None:
    x, index, size = groups()
    aggr = StatisticsAggregation(["mean", "std"], ["identity", "linear"], HISTOGRAM)
    out = aggr(torch.stack([x, 3 * x], dim=1), index, dim_size=size, dim=0)
    expected = aggr(x, index, dim_size=size)
    torch.testing.assert_close(out, torch.stack([expected, 3 * expected], dim=1))


def test_representation() -> None:
    aggr = StatisticsAggregation(["mean", "max"], "linear", HISTOGRAM)
    assert repr(aggr) == "StatisticsAggregation(['mean', 'max'], scalers=['linear'])"


def test_wrong_arguments() -> None:
    for arguments, message in (
        (("median",), "`aggregators` must be among sum, .*, got 'median'"),
        (([],), "`aggregators` must be among"),
        (("mean", "log"), "`scalers` must be among identity, .*, got 'log'"),
        (("mean", "linear"), "`deg` is needed by the scalers"),
        (("mean", "linear", torch.tensor([4, 0])), "`deg` must hold graphs with edges"),
        (("mean", "linear", torch.tensor([4, -1])), "a negative number"),
        (("mean", "linear", 3.0), "`deg` must be graphs or a histogram of degrees, got float"),
        (("mean", "linear", HeteroData()), "`deg` must be graphs .*, got HeteroData"),
    ):
        with pytest.raises(ValueError, match=message):
            StatisticsAggregation(*arguments)
    with pytest.raises(ValueError, match="floating point"):
        StatisticsAggregation()(torch.ones(2, 3, dtype=torch.int64), torch.tensor([0, 0]))
