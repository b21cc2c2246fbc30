"""The graphs, on the device; one at a time, as the largest fills it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks._graphs import Graph, large, power_law
from benchmarks._peers import csr

HUGE_EDGES = 10**8
# What all sides of a case hold for an edge at once, apart from PyG's messages, at ten edges a node
# and 128 columns of float32: eight matrices of a row a node, and the edges in five forms.
_BYTES_PER_EDGE = 520


@dataclass(frozen=True)
class Problem:
    """A graph by name, made when it is asked for; the one before it is dropped."""

    name: str
    make: Callable[[], Graph]

    def graph(self) -> Graph:
        """The graph: the same as long as no other is asked for."""
        return _made(self)


@functools.lru_cache(maxsize=1)
def _made(problem: Problem) -> Graph:
    csr.cache_clear()
    return problem.make()


def arxiv(device: torch.device, quick: bool) -> Problem:
    """The large graph of all benchmarks, of the size of ogbn-arxiv."""
    return Problem("large graph", functools.partial(_moved, large, device, quick))


def huge(device: torch.device, quick: bool) -> Problem:
    """A power law of 10^8 edges, or of as many as the memory allows."""
    num_edges = 20_000 if quick else HUGE_EDGES
    if device.type == "cuda":
        num_edges = min(num_edges, torch.cuda.mem_get_info(device)[0] // _BYTES_PER_EDGE)
    name = f"{num_edges:,} edges"
    if not quick and num_edges < HUGE_EDGES:
        name += " (10^8 scaled down to the free memory)"
    return Problem(name, functools.partial(_drawn, device, num_edges))


def small(device: torch.device, quick: bool) -> Problem:
    """Groups that PyG can pad: 2,000 nodes, a largest degree of about 170."""
    num_nodes, num_edges, tail = (50, 300, 0.5) if quick else (2_000, 20_000, 0.52)

    def make(_: bool) -> Graph:
        return Graph(power_law(num_nodes, num_edges, tail), num_nodes, num_nodes)

    name = f"N={num_nodes:,}, E={num_edges:,}"
    return Problem(name, functools.partial(_moved, make, device, quick))


def _moved(make: Callable[[bool], Graph], device: torch.device, quick: bool) -> Graph:
    graph = make(quick)
    return replace(graph, edge_index=graph.edge_index.to(device))


def _drawn(device: torch.device, num_edges: int, tail: float = 0.582) -> Graph:
    """Both ends of every edge in proportion to a power of the node's rank, ids in random order.

    Ten edges a node; unlike :func:`benchmarks._graphs.power_law` one way, and an edge may be there
    twice or join a node to itself, as sorting them out would take more memory than the work.
    """
    num_nodes = num_edges // 10
    generator = torch.Generator(device).manual_seed(0)
    rank = torch.arange(1, num_nodes + 1, device=device, dtype=torch.float64)
    reach = rank.pow_(-tail).cumsum_(0)
    rank_to_id = torch.randperm(num_nodes, device=device, generator=generator)
    edge_index = torch.empty(2, num_edges, device=device, dtype=torch.int64)
    for end in edge_index:
        drawn = torch.rand(num_edges, device=device, dtype=torch.float64, generator=generator)
        at = torch.searchsorted(reach, drawn.mul_(reach[-1])).clamp_(max=num_nodes - 1)
        torch.index_select(rank_to_id, 0, at, out=end)
    return Graph(edge_index, num_nodes, num_nodes)
