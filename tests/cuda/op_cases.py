"""Every operator that runs inside a model, once per way of calling it, and inputs drawn for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gnnlib import Adjacency, ops
from gnnlib.ops._segment_rnn import GRU, LSTM, segment_rnn
from gnnlib.ops._tree_gru import tree_gru

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Of the largest value of a result: a sum is as precise as its terms.
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
}


class Size(NamedTuple):
    """Of a graph and its features; ``hub`` of the edges point to one node."""

    num_src: int
    num_dst: int
    num_edges: int
    width: int
    hub: int = 0


@dataclass(frozen=True)
class Case:
    """A call of an operator with an adjacency and float tensors.

    The shape of each is words such as ``"E 2F"``: edges, twice the width of the features.
    """

    name: str
    call: Callable[..., Any]
    shapes: dict[str, str]
    factors: bool = False  # whether it multiplies as many numbers as a node has edges
    planned: bool = False  # whether the host waits for a plan: no capture, no compiler

    def draw(self, size: Size, seed: int = 0) -> "Problem":
        draw = torch.Generator().manual_seed(seed)
        src = torch.randint(max(size.num_src, 1), (size.num_edges,), generator=draw)
        dst = torch.randint(max(size.num_dst, 1), (size.num_edges,), generator=draw)
        dst[torch.randperm(size.num_edges, generator=draw)[: size.hub]] = 3
        inputs = {name: _values(name, _shape(s, size), draw) for name, s in self.shapes.items()}
        return Problem(self, torch.stack([src, dst]), size, inputs)


def _shape(words: str, size: Size) -> list[int]:
    of = {"S": size.num_src, "D": size.num_dst, "E": size.num_edges, "F": size.width, "": 1}
    return [int(w.strip("SDEF") or 1) * of[w.strip("0123456789")] for w in words.split()]


def _values(name: str, shape: Iterable[int], draw: torch.Generator) -> Tensor:
    """Numbers of few bits: every dtype holds them, and the same of them tie."""
    if name == "gate":
        return torch.randint(0, 3, tuple(shape), generator=draw).double() / 2
    return torch.randint(-32, 33, tuple(shape), generator=draw).double() / 16


@dataclass(frozen=True)
class Problem:
    """A case with its graph and inputs, on the CPU and in float64."""

    case: Case
    edge_index: Tensor
    size: Size
    inputs: dict[str, Tensor]

    def on(self, device: torch.device | str, dtype: torch.dtype) -> "Placed":
        adj = Adjacency.of(self.edge_index.to(device), (self.size.num_src, self.size.num_dst))
        leaves = {name: t.to(device, dtype).requires_grad_() for name, t in self.inputs.items()}
        return Placed(self.case, adj, leaves)

    @cached_property
    def expected(self) -> list[Tensor]:
        """Results and gradients in float64."""
        return self.on("cpu", torch.float64).run()


@dataclass(frozen=True)
class Placed:
    """A problem where it is to be solved."""

    case: Case
    adj: Adjacency
    inputs: dict[str, Tensor]

    def forward(self, call: Callable[..., Any] | None = None) -> list[Tensor]:
        out = (call or self.case.call)(self.adj, **self.inputs)
        return [t for t in tree_leaves(out) if isinstance(t, Tensor)]

    def run(self, call: Callable[..., Any] | None = None) -> list[Tensor]:
        """Results, and the gradient of every input."""
        outputs = self.forward(call)
        real = [t for t in outputs if t.requires_grad]
        given = [_incoming(t) for t in real]
        leaves = list(self.inputs.values())
        grads = torch.autograd.grad(real, leaves, given, allow_unused=True, materialize_grads=True)
        return [*(t.detach() for t in outputs), *grads]


def _incoming(out: Tensor) -> Tensor:
    """Gradients of few bits, made on the device: a captured graph can make them too."""
    place = torch.arange(out.numel(), device=out.device).view(out.shape)
    return ((place * 37 % 65 - 32) / 16).to(out.dtype)


def assert_close(found: list[Tensor], expected: list[Tensor], what: str = "") -> None:
    """Whether results agree with those in float64 on the CPU, as far as their dtype goes."""
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        where = f"{what} result {k}"
        if not a.is_floating_point():
            assert torch.equal(a.cpu(), b), where
            continue
        largest = b.abs().max().item() if b.numel() else 0.0
        tolerance = TOLERANCE[a.dtype]
        torch.testing.assert_close(
            a.double().cpu(), b, rtol=tolerance, atol=tolerance * max(largest, 1.0),
            msg=lambda text, where=where: f"{where}: {text}",
        )  # fmt: skip


def same_bits(found: list[Tensor], again: list[Tensor]) -> bool:
    """Whether two runs gave the same bits, NaN or not."""
    return len(found) == len(again) and all(
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        for a, b in zip(found, again, strict=True)
    )


# The table ----------------------------------------------------------------------------------------

REDUCES = ["sum", "mean", "min", "max", "mul"]
STATISTICS = ("sum", "mean", "min", "max", "var", "std", "count")
ACTIVATIONS = ["identity", "relu", "elu", "gelu", "silu", "sigmoid", "tanh"]


def _gathered(adj: Adjacency, x: Tensor, reduce: Any, **factors: Tensor) -> Tensor:
    return ops.gather_reduce(x, adj, reduce=reduce, **factors)


def _activated(adj: Adjacency, x_src: Tensor, x_dst: Tensor, act: Any, **factors: Tensor) -> Tensor:
    return ops.gather_activate(x_src, x_dst, adj, act, **factors)


def _rows(adj: Adjacency, x: Tensor, of: Callable[..., Any], **options: Any) -> Any:
    """A function of torch_scatter on the edges of each target, in any order."""
    return of(x, adj.edge_index[1], 0, dim_size=adj.num_dst, **options)


def _recurrent(adj: Adjacency, kind: int, gates: Tensor, weight: Tensor, **rest: Tensor) -> Tensor:
    # Weights so large drive a recurrence to where a rounding decides.
    return segment_rnn(gates, adj.rowptr, adj.perm, weight / 8, **rest, kind=kind)


X, WEIGHT, GATE = {"x": "S F"}, {"weight": "E"}, {"gate": "S"}
ENDS, HEADS = {"x_src": "S F", "x_dst": "D F"}, {"x": "S 2 F", "weight": "E 2"}

CASES = [
    *[
        Case(
            f"gather_reduce {reduce} {' '.join(factors)}".strip(),
            partial(_gathered, reduce=reduce),
            X | factors,
            factors=reduce == "mul",
        )
        for reduce in REDUCES
        for factors in ({}, WEIGHT, GATE, WEIGHT | GATE)
    ],
    *[
        Case(f"gather_reduce {reduce} of heads {' '.join(gate)}".strip(),
             partial(_gathered, reduce=reduce), HEADS | gate)
        for reduce in ("sum", "mean")
        for gate in ({}, GATE)
    ],
    *[
        Case(f"gather_statistics {' '.join(factors)}".strip(),
             lambda adj, x, **f: ops.gather_statistics(x, adj, STATISTICS, **f), X | factors)
        for factors in ({}, WEIGHT, GATE)
    ],
    Case("gather_complex", lambda adj, x, weight: ops.gather_complex(x, adj, weight),
         {"x": "S 2 F", "weight": "E 2"}),
    Case("edge_dot", lambda adj, x_src, x_dst: ops.edge_dot(x_src, x_dst, adj), ENDS),
    Case("edge_dot of heads", lambda adj, x_src, x_dst: ops.edge_dot(x_src, x_dst, adj, 3),
         {"x_src": "S 3F", "x_dst": "D 3F"}),
    Case("edge_add", lambda adj, x_src, x_dst: ops.edge_add(x_src, x_dst, adj), ENDS),
    *[
        Case(f"gather_attend {' '.join(gate)}".strip(),
             lambda adj, value, scores, gate=None: ops.gather_attend(value, scores, adj, gate),
             {"value": "S 3 F", "scores": "E 3"} | gate)
        for gate in ({}, GATE)
    ],
    Case("segment_softmax", lambda adj, x: ops.segment_softmax(x, adj), {"x": "E F"}),
    Case("segment_logsumexp", lambda adj, x: ops.segment_logsumexp(x, adj), {"x": "E F"}),
    Case("segment_logmeanexp", lambda adj, x, p: ops.segment_logmeanexp(x, adj, p),
         {"x": "E F", "p": "F"}),
    *[
        Case(f"gather_softmax {' '.join(factors)}".strip(),
             lambda adj, x, t, **f: ops.gather_softmax(x, adj, t, **f), X | {"t": "F"} | factors)
        for factors in ({}, WEIGHT, GATE)
    ],
    *[
        Case(f"gather_edge_relu {' '.join(gate)}".strip(),
             lambda adj, x, edge, gate=None: ops.gather_edge_relu(x, edge, adj, gate),
             X | {"edge": "E F"} | gate)
        for gate in ({}, GATE)
    ],
    Case("additive_score",
         lambda adj, x_src, x_dst, att: ops.additive_score(x_src, x_dst, att, adj),
         {"x_src": "S 2 F", "x_dst": "D 2 F", "att": "2 F"}),
    *[
        Case(f"gather_activate {act} {' '.join(factors)}".strip(),
             partial(_activated, act=act), ENDS | factors)
        for act in ACTIVATIONS
        for factors in ({}, WEIGHT | GATE)
    ],
    *[
        Case(f"segment_csr {reduce}",
             lambda adj, x, reduce=reduce: ops.segment_csr(x, adj.rowptr, reduce=reduce),
             {"x": "E F"}, factors=reduce == "mul")
        for reduce in REDUCES
    ],
    Case("segment_max_csr", lambda adj, x: ops.segment_max_csr(x, adj.rowptr), {"x": "E F"}),
    Case("gather_csr", lambda adj, x: ops.gather_csr(x, adj.rowptr), {"x": "D F"}, planned=True),
    *[
        Case(f"scatter {reduce}", partial(_rows, of=ops.scatter, reduce=reduce), {"x": "E F"},
             factors=reduce == "mul")
        for reduce in REDUCES
    ],
    *[
        Case(f"scatter {reduce} of narrow rows", partial(_rows, of=ops.scatter, reduce=reduce),
             {"x": "E 3"}, factors=reduce == "mul")
        for reduce in REDUCES
    ],
    Case("scatter_min", partial(_rows, of=ops.scatter_min), {"x": "E F"}),
    Case("scatter_max of narrow rows", partial(_rows, of=ops.scatter_max), {"x": "E 3"}),
    Case("scatter_softmax", partial(_rows, of=ops.scatter_softmax), {"x": "E F"}),
    Case("scatter_logsumexp", partial(_rows, of=ops.scatter_logsumexp), {"x": "E F"}),
    Case("GRU", partial(_recurrent, kind=GRU),
         {"gates": "E 3F", "weight": "3F F", "bias": "3F", "initial": "F"}, planned=True),
    Case("LSTM", partial(_recurrent, kind=LSTM),
         {"gates": "E 4F", "weight": "4F F", "bias": "4F", "initial": "F"}, planned=True),
    Case("tree_gru",
         lambda adj, x, weight, bias: tree_gru(x, adj.rowptr, adj.perm, weight / 8, bias),
         {"x": "E F", "weight": "6F F", "bias": "6F"}, planned=True),
    Case("tree_reduce", lambda adj, x: ops.tree_reduce(lambda a, b: (a - b).tanh(), x, adj),
         {"x": "E F"}, planned=True),
    Case("segment_scan", lambda adj, x: ops.segment_scan(lambda a, s: (a - s / 2).tanh(), x, adj),
         {"x": "E F"}, planned=True),
]  # fmt: skip
