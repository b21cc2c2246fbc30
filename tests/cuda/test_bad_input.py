"""What is wrong with a call on a GPU is said, with the fix."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gnnlib  # first: it imports PyG without warnings

# isort: split
from torch_geometric.nn import GATConv, GCNConv, PNAConv, SAGEConv

from gnnlib import Adjacency, aggr, ops

GRAPH = torch.tensor([[0, 1, 2, 2], [1, 1, 0, 2]], device="cpu")
PTR = torch.tensor([0, 1, 3, 4], device="cpu")

# Called with features on a device and what does not belong to them on the CPU.
MIXED: dict[str, Callable[[Tensor], Any]] = {
    "gather_reduce": lambda x: ops.gather_reduce(x, GRAPH),
    "gather_reduce by an adjacency": lambda x: ops.gather_reduce(x, Adjacency.of(GRAPH, 3)),
    "weight": lambda x: ops.gather_reduce(x, GRAPH.to(x.device), torch.ones(4)),
    "gate": lambda x: ops.gather_reduce(x, GRAPH.to(x.device), gate=torch.ones(3)),
    "gather_statistics": lambda x: ops.gather_statistics(x, GRAPH),
    "gather_softmax": lambda x: ops.gather_softmax(x, GRAPH),
    "t": lambda x: ops.gather_softmax(x, GRAPH.to(x.device), torch.ones(1)),
    "gather_attend": lambda x: ops.gather_attend(x[:, None], x.new_ones(4, 1), GRAPH),
    "scores": lambda x: ops.gather_attend(x[:, None], torch.ones(4, 1), GRAPH.to(x.device)),
    "edge_dot": lambda x: ops.edge_dot(x, x, GRAPH),
    "x_dst": lambda x: ops.edge_dot(x, torch.ones(3, 4), GRAPH.to(x.device)),
    "edge_add": lambda x: ops.edge_add(x, x, GRAPH),
    "gather_edge_relu": lambda x: ops.gather_edge_relu(x, torch.ones(4, 4), GRAPH.to(x.device)),
    "additive_score": lambda x: ops.additive_score(x[:, None], x[:, None], x[:1], GRAPH),
    "gather_activate": lambda x: ops.gather_activate(x, x, GRAPH),
    "gather_complex": lambda x: ops.gather_complex(x.view(3, 2, 2), GRAPH, x.new_ones(4, 2)),
    "segment_softmax": lambda x: ops.segment_softmax(x, PTR),
    "segment_logsumexp": lambda x: ops.segment_logsumexp(x, Adjacency.of(GRAPH[:, :3], 3)),
    "segment_logmeanexp": lambda x: ops.segment_logmeanexp(x, PTR),
    "segment_scan": lambda x: ops.segment_scan(lambda a, s: a + s, x, PTR),
    "tree_reduce": lambda x: ops.tree_reduce(torch.add, x, PTR),
    "segment_csr": lambda x: ops.segment_csr(x, PTR),
    "segment_coo": lambda x: ops.segment_coo(x, PTR[1:]),
    "gather_csr": lambda x: ops.gather_csr(x, PTR),
    "gather_coo": lambda x: ops.gather_coo(x, PTR[:3]),
    "scatter": lambda x: ops.scatter(x, PTR[1:], 0),
    "scatter_max": lambda x: ops.scatter_max(x, PTR[1:], 0),
    "scatter_softmax": lambda x: ops.scatter_softmax(x, PTR[1:], 0),
    "scatter_std": lambda x: ops.scatter_std(x, PTR[1:], 0),
    "LCMAggregation": lambda x: aggr.LCMAggregation(4, 4).to(x.device)(x, PTR[1:]),
    "GRUAggregation": lambda x: aggr.GRUAggregation(4, 4).to(x.device)(x, ptr=PTR),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_are_named_with_the_fix(name: str, gpu: torch.device) -> None:
    fix = rf"must be where .*{gpu}, got cpu \(use \.to\('{gpu}'\)\)"
    with pytest.raises(ValueError, match=fix):
        MIXED[name](torch.ones(3, 4, device=gpu))


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_are_named_without_a_gpu(name: str) -> None:
    fix = r"must be where .*meta, got cpu \(use \.to\('meta'\)\)"
    with torch.device("cpu"), pytest.raises(ValueError, match=fix):
        MIXED[name](torch.ones(3, 4, device="meta"))


CONVS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: GCNConv(4, 4),
    "SAGE": lambda: SAGEConv(4, 4),
    "GAT": lambda: GATConv(4, 4),
    "PNA": lambda: PNAConv(4, 4, ["mean", "std"], ["amplification"], torch.tensor([1, 2])),
}


@pytest.mark.parametrize("name", CONVS)
def test_an_accelerated_layer_names_mixed_devices(name: str) -> None:
    with torch.device("cpu"):
        conv = gnnlib.accelerate(CONVS[name]().to("meta"))
        fix = r"the graph must be where .*meta, got cpu \(use \.to\('meta'\)\)"
        with pytest.raises(ValueError, match=fix):
            conv(torch.ones(3, 4, device="meta"), GRAPH)


def test_an_accelerated_layer_names_a_weight_elsewhere() -> None:
    with torch.device("cpu"):
        conv = gnnlib.accelerate(GCNConv(4, 4))
        with pytest.raises(ValueError, match=r"`edge_weight` must be where .* cpu, got meta"):
            conv(torch.ones(3, 4), GRAPH, torch.ones(4, device="meta"))


CHECKED = """
import sys, torch
from gnnlib import Adjacency, ops

x, bad = torch.ones(3, 4, device=sys.argv[1]), torch.tensor([0, 7, 2], device=sys.argv[1])
for call in (
    lambda: ops.gather_reduce(x, torch.stack([bad, bad % 3])),
    lambda: Adjacency.of(torch.stack([bad % 3, bad]), 3),
    lambda: Adjacency.of(torch.stack([bad % 3, -bad]), 3),
    lambda: Adjacency(torch.tensor([0, 3], device=x.device), bad, None, 3),
    lambda: ops.scatter(x, bad, 0, dim_size=3),
    lambda: ops.scatter_max(x[:, :1].contiguous(), bad, 0, dim_size=3),
    lambda: ops.segment_coo(x, bad.sort().values, dim_size=3),
    lambda: ops.segment_csr(x, bad.sort().values),
    lambda: ops.segment_softmax(x, bad.sort().values),
    lambda: ops.gather_csr(x[:2], bad.sort().values, x.new_zeros(3, 4)),
):
    try:
        call()
    except IndexError as error:
        assert "got 7" in str(error) or "got -7" in str(error), error
    else:
        raise AssertionError("a bad index was accepted")
good = (bad % 3).expand(2, 3)
assert float(ops.gather_reduce(x, good).sum()) == 12
"""


def _run(device: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHECKED, device],
        env=os.environ | {"GNNLIB_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_bad_index_is_an_index_error_where_checks_are_asked_for(gpu: torch.device) -> None:
    _run(str(gpu))


def test_a_bad_index_is_an_index_error_on_the_cpu() -> None:
    _run("cpu")
