"""Delayed message passing: nodes hear each other over several hops, the farther the later.

One class, whose documentation and checks are most of the file; how hops are heard is in _hops.py.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing

from gnnlib.edges import Edges
from gnnlib.history import History
from gnnlib.layers._hops import hear
from gnnlib.layers._neighbours import check_far, neighbours_only
from gnnlib.layers._roots import ROOTS, take_root
from gnnlib.lowering import message_edges, run
from gnnlib.ops import KHop, k_hop


class DelayedConv(nn.Module):
    r"""Let nodes hear each other over several hops, the farther the later.

    .. math::
        x_i^{\ell+1} = \sum_{k=1}^{K} \alpha_k \, \mathrm{conv}_k\big(x_i^{\ell},
        \{\!\{ x_j^{\ell - s(k)} : d(j, i) = k \}\!\}\big), \qquad s(k) = \max(0, k - \nu)

    from Gutteridge et al., 2023, "DRew: Dynamically Rewired Message Passing with Delay", eqs. 5 and
    6: a node at distance :math:`k` is heard as it was :math:`s(k)` layers ago, the time a message
    of one hop a layer would have taken. A delay of :math:`\nu = \infty` hears all as they are; with
    ``share_weights`` and ``learn_hop_weights`` that is a shortest path network (Abboud et al.,
    2022, eq. 4). A hop whose state is older than the network is silent, so with :math:`\nu = 1`
    layer :math:`\ell` hears :math:`\ell + 1` hops, as in the paper.

    :math:`d` is the length of a shortest path along the edges. The first hop are the edges
    themselves, with their weights and features, self loops and repetitions; pairs further apart
    have neither. The term that a conv has for the node itself comes once, with the first hop: it is
    left out of the others for SAGE, GraphConv, GIN, attention, gated convs and TAG, also inside
    ``DirectedConv`` and ``CooperativeConv``, whose nodes act as they are now. Attention, gates and
    messages of two ends ask the node as it is, :math:`x_i^\ell`, and hear others as they were. Self
    loops that a conv adds it adds to every hop, of the state that is heard.

    A conv of any other class keeps its own term at every hop, and is called with a pair of
    features, others as they were and the node as it is. One that takes no pairs is refused unless
    all are heard as they are (``hops <= delay``); one made for edge features, beyond one hop.

    Convs that are a weighted sum (GCN; SAGE and GraphConv with ``aggr`` a sum or a mean) project
    every state and take further hops and delays in one :func:`~gnnlib.ops.gather_reduce` over a
    table of what comes out, as many hops at a time as stay in the cache. Those that reduce in other
    ways (SAGE and GraphConv with a maximum, GIN) take all in one over a table of the states. Others
    run once a hop, as do those that are normalised behind gates.

    Differs: the paper's code adds a self loop to every hop of GCN, as ``GCNConv`` does here by
    itself, and the paper does not (``add_self_loops=False``).

    Args:
        conv: the layer of the first hop, a PyG conv or a gnnlib layer, which is used itself. The
            other hops have copies of it with weights drawn anew, and of what it shares with other
            layers, such as an action network.
        hops: the number of hops :math:`K`, at least 1.
        delay: :math:`\nu`, a whole number of at least 1, or ``math.inf``.
        share_weights: whether all hops share ``conv``. Of attention, gated and wrapped convs the
            term for the node itself is then taken out in the forward pass, where
            ``torch.compile`` breaks the graph.
        learn_hop_weights: whether :math:`\alpha = K \, \mathrm{softmax}(a)` is learned; ones
            otherwise.
        projections: for states of another width than this layer's input, a map to that width, by
            how many layers ago they were; such as ``{1: nn.Linear(16, 64, bias=False)}``.

    Raises:
        TypeError: ``conv`` passes no messages, or a projection is no module.
        ValueError: ``hops`` or ``delay`` is no whole number of at least 1; or ``conv`` caches its
            graph, is delayed already, is made for edge features, or takes no pair and hears late;
            or a projection is of a state that is not heard.

    Example:
        >>> from torch_geometric.nn import GCNConv
        >>> from gnnlib import History
        >>> convs = [DelayedConv(GCNConv(8, 8), hops=k) for k in (1, 2, 3)]
        >>> x, edge_index = torch.randn(4, 8), torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> history = History(depth=2)
        >>> for conv in convs:
        ...     x, history = conv(x, edge_index, history=history).relu(), history.push(x)
        >>> x.shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        conv: nn.Module,
        hops: int,
        delay: float = 1,
        *,
        share_weights: bool = False,
        learn_hop_weights: bool = False,
        projections: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(conv, MessagePassing) and not hasattr(conv, "forward_edges"):
            raise TypeError(
                "`conv` must be a PyG MessagePassing or a gnnlib layer, got "
                f"{type(conv).__name__}: without messages there is nothing to delay "
                "(wrap the convs inside it)"
            )
        if getattr(conv, "cached", False):
            raise ValueError(
                "`conv` must not cache its graph, as every hop has its own; got "
                f"{type(conv).__name__} with cached=True"
            )
        if any(isinstance(module, DelayedConv) for module in conv.modules()):
            raise ValueError(
                "`conv` must not be delayed already, as its hops would be hops between nodes some "
                "hops apart; got one with a DelayedConv inside (give that one more hops)"
            )
        if not isinstance(hops, int) or isinstance(hops, bool) or hops < 1:
            raise ValueError(f"`hops` must be a whole number of at least 1, got {hops!r}")
        if not _is_delay(delay):
            raise ValueError(
                f"`delay` must be a whole number of at least 1, or math.inf, got {delay!r}: with "
                "less a node would hear states that are not made yet"
            )
        self.hops = hops
        self.delay = delay
        self.share_weights = share_weights
        if hops > 1:
            check_far(conv, late=self.memory > 0)
        copies = 0 if share_weights else hops - 1
        self.convs = nn.ModuleList([conv, *(neighbours_only(conv) for _ in range(copies))])
        self.hop_logits = nn.Parameter(torch.zeros(hops)) if learn_hop_weights else None
        for other in self.convs[1:]:
            _reset(other)
        self.projections = nn.ModuleDict()
        for age, projection in (projections or {}).items():
            _check_type("projections", projection, nn.Module)
            if not isinstance(age, int) or not 1 <= age <= self.memory:
                raise ValueError(
                    "`projections` must be of states that this layer hears, of 1 to "
                    f"{self.memory} layers ago, got one of {age!r}"
                )
            self.projections[str(age)] = projection

    @property
    def in_channels(self) -> Any:
        """Width of the input features, where the wrapped conv tells."""
        return getattr(self.convs[0], "in_channels", None)

    @property
    def out_channels(self) -> Any:
        """Width of the output features, where the wrapped conv tells."""
        return getattr(self.convs[0], "out_channels", None)

    @property
    def flow(self) -> str:
        """Direction of the messages, that of the wrapped conv."""
        return str(getattr(self.convs[0], "flow", "source_to_target"))

    @property
    def memory(self) -> int:
        """How many earlier states the delay asks for, the ``depth`` of a history."""
        return self.age(self.hops)

    def age(self, hop: int) -> int:
        """How many layers ago was the state in which a node at this distance is heard."""
        return 0 if self.delay == math.inf else max(0, hop - int(self.delay))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in (*self.convs, *self.projections.values()):
            _reset(module)
        if self.hop_logits is not None:
            nn.init.zeros_(self.hop_logits)

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        *,
        history: History | None = None,
        k_hop: KHop | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Sum what is heard over every hop.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for convs that take it; of the first hop.
            edge_attr: ``[E, D]``, for convs that take it; of the first hop.
            history: the inputs of the layers before, of a depth of at least ``memory``; without
                one, this layer is the first.
            k_hop: the pairs up to at least ``hops`` hops, from :func:`gnnlib.ops.k_hop` or
                :class:`~gnnlib.encodings.AddKHop`; by default they are found, once a graph. With
                other pairs in it, as relations of a rewired graph, this is a relational layer.
            generator: source of randomness of gnnlib layers inside.

        Returns:
            ``[N, out_channels]``.

        Raises:
            TypeError: ``x`` is no tensor, ``history`` no History or ``k_hop`` no KHop.
            ValueError: ``x`` is a pair or no matrix, the history or the pairs are of another graph
                or do not reach as far as ``hops``, or a state has another width than ``x``.
        """
        if isinstance(x, (tuple, list)):
            raise ValueError(
                "DelayedConv has no bipartite form, as a path of two hops needs nodes that both "
                "hear and are heard; got `x` as a pair"
            )
        _check_type("x", x, Tensor)
        if history is not None:
            _check_type("history", history, History)
        if k_hop is not None:
            _check_type("k_hop", k_hop, KHop)
        if x.dim() != 2:
            raise ValueError(f"`x` must be [N, in_channels], got {list(x.shape)}")
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=x.size(0))
        edges = message_edges(self, replace(edges, k_hop=edges.k_hop if k_hop is None else k_hop))
        edges = replace(edges, history=edges.history if history is None else history)
        return self.forward_edges(x, edges, generator)

    def forward_edges(
        self, x: Tensor, edges: Edges, generator: torch.Generator | None = None
    ) -> Tensor:
        """As :meth:`forward`, on edges in the direction of the messages."""
        states = self._states(x, History() if edges.history is None else edges.history)
        scales = None if self.hop_logits is None else self.hop_logits.softmax(0) * self.hops
        out = run(self.convs[0], x, edges.hop(1), generator)
        if scales is not None:
            out = scales[0] * out
        if len(states) == 1:
            return out
        convs = list(self.convs[1 : len(states)])
        if self.share_weights:
            convs = [neighbours_only(self.convs[0], share=True)] * (len(states) - 1)
        edges = replace(edges, k_hop=self._pairs(edges), history=None)
        scales = None if scales is None else scales[1 : len(states)]
        return out + hear(convs, x, states[1:], edges, scales, generator)

    def _states(self, x: Tensor, history: History) -> list[Tensor]:
        """The states in which the hops are heard, up to the last that there is."""
        if history.depth is not None and history.depth < self.memory:
            raise ValueError(
                f"`history` must keep {self.memory} states, as the farthest hop is heard as it was "
                f"so many layers ago, got one of depth {history.depth} (make it with the largest "
                "`memory` of the layers)"
            )
        history.check(x)
        states = []
        for hop in range(1, self.hops + 1):
            age = self.age(hop)
            state = history.state(age) if age else x
            if state is None:
                break
            if str(age) in self.projections:
                state = self.projections[str(age)](state)
            if state.shape != x.shape:
                raise ValueError(
                    f"`history` must hold states as wide as `x`, {x.size(1)}, as one table serves "
                    f"all hops, got {list(state.shape)} for hop {hop} (pass "
                    "`projections`, or project the input to the network's width first)"
                )
            states.append(state)
        return states

    def _pairs(self, edges: Edges) -> KHop:
        pairs = k_hop(edges.adj, self.hops) if edges.k_hop is None else edges.k_hop
        if pairs.num_nodes != edges.adj.num_dst:
            raise ValueError(
                f"`k_hop` must be of the same graph, of {edges.adj.num_dst} nodes, got one of "
                f"{pairs.num_nodes}"
            )
        if pairs.num_hops < self.hops:
            raise ValueError(
                f"`k_hop` must reach {self.hops} hops, got {pairs.num_hops} (compute it with a "
                "larger k)"
            )
        return pairs

    def __repr__(self) -> str:
        options = [f"{self.convs[0]}", f"hops={self.hops}", f"delay={self.delay}"]
        options += ["share_weights=True"] if self.share_weights else []
        options += ["learn_hop_weights=True"] if self.hop_logits is not None else []
        options += [f"projections={dict(self.projections)}"] if self.projections else []
        return f"{type(self).__name__}({', '.join(options)})"


def _take_root(conv: Any) -> nn.Module | None:
    # With weights of the hops, the own term has that of the first.
    return take_root(conv.convs[0]) if conv.hop_logits is None else None


ROOTS[DelayedConv] = _take_root


def _is_delay(delay: Any) -> bool:
    if not isinstance(delay, (int, float)) or isinstance(delay, bool) or not delay >= 1:
        return False
    return delay == math.inf or delay == int(delay)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be a {kind.__name__}, got a {type(value).__name__}")


def _reset(conv: nn.Module) -> None:
    if hasattr(conv, "reset_parameters"):
        conv.reset_parameters()  # type: ignore[operator]
