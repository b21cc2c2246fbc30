"""Swapped networks as the papers write them: over lists of pairs of nodes, one node at a time.

``cooperative(directed(delayed(conv)))``: Co-GNN (Finkelshtein et al., 2024) says which pairs are
there, Dir-GNN (Rossi et al., 2023) hears them both ways, DRew (Gutteridge et al., 2023) sums over
distances, and an aggregation combines what one node hears. Parameters are found by name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

Pairs = list[tuple[int, int]]  # (source, target), each node hears them in this order
Combine = Callable[[Tensor], Tensor]  # what a node makes of the rows [k, F] that it hears


class Weights:
    """Parameters by name, below a prefix."""

    def __init__(self, known: dict[str, Tensor], prefix: str = "") -> None:
        self.known, self.prefix = known, prefix

    def at(self, name: str) -> "Weights":
        return Weights(self.known, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.known[self.prefix + name]

    def below(self) -> dict[str, Tensor]:
        start = len(self.prefix)
        return {name[start:]: p for name, p in self.known.items() if name.startswith(self.prefix)}

    def __call__(self, x: Tensor) -> Tensor:
        """As a linear map."""
        out = x @ self["weight"].T
        return out + self["bias"] if self.prefix + "bias" in self.known else out


@dataclass
class Aggregated:
    """How one node's rows are combined: by a name, by several side by side, or by a module."""

    aggr: str | list[str] | Callable[[int], nn.Module]  # from the rows' width to a module

    def __call__(self, w: Weights, rows: Tensor) -> Tensor:
        w = w.at("aggr_module")
        if isinstance(self.aggr, list):  # twice as wide as the conv expects
            return w.at("lin")(torch.cat([plain(name, rows) for name in self.aggr]))
        if isinstance(self.aggr, str):
            return plain(self.aggr, rows)
        module, index = self.aggr(rows.size(1)), torch.zeros(len(rows), dtype=torch.long)
        return functional_call(module, w.below(), (rows, index), {"dim_size": 1})[0]


def plain(name: str, rows: Tensor) -> Tensor:
    """The sum, mean or maximum of the rows; nothing is zero."""
    if len(rows) == 0:
        return rows.new_zeros(rows.size(1))
    return {"max": rows.amax, "mean": rows.mean, "sum": rows.sum}[name](0)


def combine(messages: list[tuple[int, Tensor]], n: int, width: int, f: Combine) -> Tensor:
    """``[N, *]``: each node's messages, alone."""
    heard: list[list[Tensor]] = [[] for _ in range(n)]
    for target, row in messages:
        heard[target].append(row)
    nothing = torch.zeros(0, width)
    return torch.stack([f(torch.stack(rows) if rows else nothing) for rows in heard])


# What each conv makes of nodes as they are heard, `h`, and as they are now, `x`.


@dataclass
class Call:
    w: Weights
    aggr: Aggregated
    h: Tensor
    x: Tensor
    pairs: Pairs
    first: bool  # whether this is the first hop, which has the term of the node itself
    directed_norm: bool

    def combined(self, messages: list[tuple[int, Tensor]], width: int) -> Tensor:
        return combine(messages, len(self.x), width, lambda rows: self.aggr(self.w, rows))


def gcn(c: Call) -> Tensor:
    h, n = c.w.at("lin")(c.h), len(c.h)
    pairs = c.pairs if c.directed_norm else looped(c.pairs, n)
    comes, goes = torch.zeros(n), torch.zeros(n)
    for s, t in pairs:
        comes[t] += 1
        goes[s] += 1
    source = goes if c.directed_norm else comes
    messages = [(t, h[s] * (source[s] * comes[t]) ** -0.5) for s, t in pairs]
    return c.combined(messages, h.size(1)) + c.w["bias"]


def looped(pairs: Pairs, n: int) -> Pairs:
    """One self loop a node, after its other pairs."""
    return [(s, t) for s, t in pairs if s != t] + [(i, i) for i in range(n)]


def heard(c: Call) -> Tensor:
    return c.combined([(t, c.h[s]) for s, t in c.pairs], c.h.size(1))


def sage(c: Call) -> Tensor:
    return c.w.at("lin_l")(heard(c))


def graph(c: Call) -> Tensor:
    return c.w.at("lin_rel")(heard(c))


def gin(c: Call) -> Tensor:
    z = heard(c)
    if c.first:
        z = z + (1 + c.w["eps"]) * c.x
    return c.w.at("nn.2")(c.w.at("nn.0")(z).tanh())


def gat(c: Call) -> Tensor:
    h, x = c.w.at("lin")(c.h), c.w.at("lin")(c.x)
    pairs = looped(c.pairs, len(h))
    sent, asked = h @ c.w["att_src"][0, 0], x @ c.w["att_dst"][0, 0]
    score = [nn.functional.leaky_relu(sent[s] + asked[t], 0.2).exp() for s, t in pairs]
    total = [
        sum(e for e, (_, t) in zip(score, pairs, strict=True) if t == i) for i in range(len(h))
    ]
    messages = [(t, e / total[t] * h[s]) for e, (s, t) in zip(score, pairs, strict=True)]
    return c.combined(messages, h.size(1)) + c.w["bias"]


CONVS = {"gcn": gcn, "sage": sage, "graph": graph, "gin": gin, "gat": gat}
# The map of the node's own features that stands apart from the rest.
ROOTS = {"sage": "lin_r", "graph": "lin_root"}


@dataclass
class Network:
    """A swapped network: which convs, which axes, and how they are combined."""

    conv: str
    aggr: Aggregated
    cooperative: bool
    directed: bool
    delay: float | None

    def __call__(self, layers: list[Weights], x: Tensor, pairs: Pairs) -> Tensor:
        states = [x]  # the newest first
        for position, w in enumerate(layers):
            out = self.layer(w, states, pairs, position)
            states.insert(0, out.relu())
        return out

    def layer(self, w: Weights, states: list[Tensor], pairs: Pairs, position: int) -> Tensor:
        hops = 1 if self.delay is None else position + 1
        heard = [at_distance(pairs, len(states[0]), k) for k in range(1, hops + 1)]
        if not self.cooperative:
            return self.both_ways(w, states, heard)
        listens, broadcasts = actions(w.at("action_net.convs.0"), states[0], pairs)
        there = [[(s, t) for s, t in hop if broadcasts[s] and listens[t]] for hop in heard]
        return self.both_ways(w.at("conv"), states, there)

    def both_ways(self, w: Weights, states: list[Tensor], heard: list[Pairs]) -> Tensor:
        """W0 x + (1 - alpha) comes in + alpha goes out, with alpha = 1 / 2."""
        if not self.directed:
            own = w.at("convs.0") if self.delay is not None else w
            out = self.delayed(w, states, heard)
            root = own.at(ROOTS[self.conv]) if self.conv in ROOTS else None
        else:
            back = [[(t, s) for s, t in hop] for hop in heard]
            if self.delay is not None:  # the order in which pairs of nodes some hops apart are kept
                back = [back[0], *(sorted(hop, key=lambda p: (p[1], p[0])) for hop in back[1:])]
            comes = self.delayed(w.at("conv_in"), states, heard)
            out = (comes + self.delayed(w.at("conv_out"), states, back)) / 2
            root = w.at("root") if self.conv in ROOTS else None
        return out if root is None else out + root(states[0])

    def delayed(self, w: Weights, states: list[Tensor], heard: list[Pairs]) -> Tensor:
        """The sum over hops k of nodes as they were max(0, k - delay) layers ago."""
        norm = self.directed and self.delay is None
        if self.delay is None:
            x, (pairs,) = states[0], heard
            return CONVS[self.conv](Call(w, self.aggr, x, x, pairs, True, norm))
        out = torch.zeros(())
        for k, pairs in enumerate(heard, start=1):
            age = 0 if self.delay == math.inf else max(0, k - int(self.delay))
            h, x = states[age], states[0]
            if h.size(1) != x.size(1):
                h = w.at(f"projections.{age}")(h)
            own = w.at(f"convs.{k - 1}")
            out = out + CONVS[self.conv](Call(own, self.aggr, h, x, pairs, k == 1, norm))
        return out


def actions(w: Weights, x: Tensor, pairs: Pairs) -> tuple[list[bool], list[bool]]:
    """Who listens and who broadcasts: the likelier of two logits, of one layer that averages."""
    n, twice = len(x), []
    for network in (0, 1):
        own, other = w["lin.weight"][network], w["lin_neighbor.weight"][network]
        messages = [(t, x[s]) for s, t in pairs]
        mean = combine(messages, n, x.size(1), lambda rows: plain("mean", rows))
        logits = x @ own + w["lin.bias"][network] + mean @ other
        twice.append([bool(keep >= drop) for keep, drop in logits])
    return twice[0], twice[1]


def at_distance(pairs: Pairs, n: int, k: int) -> Pairs:
    """The pairs whose shortest path along the edges has ``k`` of them; the edges for one."""
    if k == 1:
        return pairs
    found = []
    for source in range(n):
        distance, front = {source: 0}, [source]
        while front:
            front = [t for s, t in pairs if s in front and t not in distance]
            distance |= dict.fromkeys(front, max(distance.values()) + 1)
        found += [(source, target) for target, d in distance.items() if d == k]
    return sorted(found, key=lambda pair: (pair[1], pair[0]))
