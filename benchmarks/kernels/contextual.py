"""Activated sums and contextual layers: ours against PyG and DGL, which write every message down.

Run as ``python -m benchmarks.kernels.contextual``; ``--help`` lists the options.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.utils import scatter

from benchmarks._command import command
from benchmarks._graphs import Graph, large, shapes
from benchmarks._harness import Case
from benchmarks._peers import dgl_graph, find
from benchmarks._works import WIDTHS, Forward, Prepare, Work, features, sweep
from gnnlib.layers import ContextualConv
from gnnlib.ops import gather_activate

# Ours, and the module that torch has.
ACTIVATIONS: dict[str, nn.Module] = {"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU()}


def _ends(graph: Graph, width: int) -> tuple[Tensor, ...]:
    return features(graph.num_src, width), features(graph.num_dst, width)


# -- the kernel ---------------------------------------------------------------------------------


def _ours(name: str) -> Prepare:
    return lambda graph: lambda a, b: gather_activate(a, b, graph.adjacency(), name)


def _pyg(act: Callable[[Tensor], Tensor]) -> Prepare:
    def prepare(graph: Graph) -> Forward:
        def forward(a: Tensor, b: Tensor) -> Tensor:
            src, dst = graph.edges()
            messages = act(a.index_select(0, src) + b.index_select(0, dst))
            return scatter(messages, dst, 0, graph.num_dst)

        return forward

    return prepare


def _dgl(act: Callable[[Tensor], Tensor]) -> Prepare:
    def prepare(graph: Graph) -> Forward:
        prepared = dgl_graph(graph)
        gspmm, gsddmm = find("dgl.ops.gspmm"), find("dgl.ops.gsddmm")

        def forward(a: Tensor, b: Tensor) -> Any:
            return gspmm(prepared, "copy_rhs", "sum", None, act(gsddmm(prepared, "add", a, b)))

        return forward

    return prepare


def _kernel(name: str) -> Work:
    act = ACTIVATIONS[name]
    sides = {"gnnlib": _ours(name), "PyG": _pyg(act), "DGL": _dgl(act)}
    # At a hub the peers add its 125,000 equal gradients one after the other in float32, which loses
    # 6e-4 of the norm; ours, which adds them in pieces, 1e-5.
    return Work(f"gather_activate {name}", _ends, sides, tolerance=2e-3)


# -- the layer ----------------------------------------------------------------------------------


class _PlainConv(MessagePassing):
    """SINC-GCN as one writes it with PyG, with the parameters of ours."""

    def __init__(self, aggr: str, width: int) -> None:
        super().__init__(aggr=aggr)
        self.lin_query = nn.Linear(width, width)
        self.lin_key, self.lin_context = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.lin_relation = nn.Linear(width, width)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        src, dst = edge_index
        context = scatter(x.index_select(0, src), dst, 0, x.size(0))
        query = self.lin_query(x) + self.lin_context(context)
        out = self.propagate(edge_index, query=query, key=self.lin_key(x))
        return out if self.aggr == "max" else self.lin_relation(out)

    def message(self, query_i: Tensor, key_j: Tensor) -> Tensor:
        message = (query_i + key_j).relu()
        return self.lin_relation(message) if self.aggr == "max" else message


def _layer_inputs(aggr: str, graph: Graph, width: int) -> tuple[Tensor, ...]:
    conv = ContextualConv(width, width, aggr=aggr)
    # Sums over a hub of thousands are of the size of one message.
    return features(graph.num_src, width) / 8, *(p.detach() for p in conv.parameters())


def _layer(make: Callable[[int], nn.Module]) -> Prepare:
    make = functools.cache(make)

    def prepare(graph: Graph) -> Forward:
        def forward(x: Tensor, *parameters: Tensor) -> Any:
            conv = make(x.size(1))
            named = dict(zip(dict(conv.named_parameters()), parameters, strict=True))
            return functional_call(conv, named, (x, graph.edges()))

        return forward

    return prepare


def _contextual(aggr: str) -> Work:
    ours, plain = partial(_made, ContextualConv, aggr), partial(_made, _PlainConv, aggr)
    sides = {"gnnlib": _layer(ours), "PyG": _layer(plain)}
    return Work(f"ContextualConv {aggr}", partial(_layer_inputs, aggr), sides)


def _made(kind: type[nn.Module], aggr: str, width: int) -> nn.Module:
    with torch.device("meta"):  # the parameters are given
        if kind is ContextualConv:
            return ContextualConv(width, width, aggr=aggr)
        return kind(aggr, width)


# -- all ----------------------------------------------------------------------------------------


def cases(quick: bool) -> Iterator[Case]:
    """All cases; if ``quick``, one width of each on tiny graphs."""
    graph, width = large(quick), 8 if quick else 64
    kernels = [_kernel(name) for name in ACTIVATIONS]
    for work in (*kernels, _contextual("sum")):
        yield from work.cases(graph, width)
    # Backward, PyG's would take minutes on the large graph.
    maximum, small = _contextual("max"), shapes(quick)["power law"]
    yield next(maximum.cases(graph, width))
    yield from maximum.cases(small, width, f"{maximum.name}, small graph, F={width}")
    yield from sweep(kernels[:2], shapes(quick), (8,) if quick else WIDTHS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return command("kernels.contextual", __doc__, cases, argv, peers=("dgl",), seconds=6)


if __name__ == "__main__":
    raise SystemExit(main())
