"""Cooperative message passing: every node decides whether to listen and whether to broadcast."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch_geometric.nn.conv import MessagePassing

from gnnlib.edges import Edges
from gnnlib.layers._actions import Actions, ActionSpace, EvalMode, decide, record
from gnnlib.layers._neighbours import features_for
from gnnlib.lowering import Features, message_edges, run, sides


class Temperature(nn.Module):
    r"""The learned temperature of Co-GNN's Gumbel noise, one per node.

    .. math::
        \tau_v = \frac{1}{\mathrm{softplus}(\omega^\top x_v) + \tau_0}

    (Finkelshtein et al., 2024, section 4).

    Args:
        in_channels: width of the node features.
        tau0: :math:`\tau_0 \geq 0`, the inverse of the largest temperature.

    Example:
        >>> Temperature(8, tau0=0.5)(torch.randn(3, 8)).shape
        torch.Size([3, 1])
    """

    # With tau0 = 0 the softplus can reach zero, and its inverse infinity.
    _FLOOR = 1e-6

    def __init__(self, in_channels: int, tau0: float = 0.1) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"`in_channels` must be at least 1, got {in_channels}")
        if tau0 < 0:
            raise ValueError(f"`tau0` must not be negative, got {tau0}")
        self.tau0 = tau0
        self.lin = nn.Linear(in_channels, 1, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        self.lin.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``[N, in_channels]`` to temperatures ``[N, 1]``."""
        inverse: Tensor = softplus(self.lin(x).float()) + self.tau0
        return 1 / inverse.clamp(min=self._FLOOR)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lin.in_features}, tau0={self.tau0})"


class CooperativeConv(nn.Module):
    r"""Make a conv cooperative: messages go only from nodes that broadcast to nodes that listen.

    .. math::
        a_v = (l_v, b_v) \sim \pi(x, A)_v, \qquad
        x'_v = \mathrm{conv}\big(x_v, \{\!\{ x_u : u \in N(v), \, l_v b_u = 1 \}\!\}\big)

    from Finkelshtein et al., 2024, "Cooperative Graph Neural Networks", section 4. A node's action
    is standard (listens and broadcasts), listen, broadcast, or isolate. In training, actions are
    drawn by straight-through Gumbel-softmax; in evaluation, ``eval_mode`` says how.

    Differs: a closed edge is *absent*, as in the paper, so that a mean averages over those who
    broadcast; the paper's code divides by the full degree. The code also samples in evaluation,
    which makes its test metrics random; here argmax is the default.

    Args:
        conv: the environment network's layer, a gnnlib layer or any PyG conv called as
            ``conv(x, edge_index, ...)``. GCN, SAGE, GIN and
            GraphConv run on the fused kernels; for sums and means the gradient then reaches closed
            edges too. Any other conv runs as it is on the open edges.
        action_net: the action network, :class:`ActionNet` or any module that maps ``(x,
            edge_index)`` to logits ``[N, 4]``. Pass the same module to several layers to share it,
            as the paper does.
        actions: ``"factorised"`` for two binary decisions (the paper's code), ``"categorical"`` for
            one among four (the paper's text).
        temperature: :math:`\tau > 0` of the Gumbel-softmax, or a module from ``x`` to ``[N, 1]``,
            such as :class:`Temperature`.
        eval_mode: in evaluation, take the likelier action (``"argmax"``), draw one (``"sample"``),
            or weigh messages by the probability that they travel (``"expected"``).

    Raises:
        TypeError: ``conv`` passes no messages.
        ValueError: an option is unknown, or ``conv`` caches its graph.

    Example:
        >>> from torch_geometric.nn import SAGEConv
        >>> from gnnlib.layers import ActionNet
        >>> conv = CooperativeConv(SAGEConv(8, 16), ActionNet(8))
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> conv(x, edge_index).shape
        torch.Size([3, 16])
    """

    wraps = ("conv",)

    def __init__(
        self,
        conv: nn.Module,
        action_net: nn.Module,
        *,
        actions: ActionSpace = "factorised",
        temperature: float | nn.Module = 0.01,
        eval_mode: EvalMode = "argmax",
    ) -> None:
        super().__init__()
        if not isinstance(conv, MessagePassing) and not hasattr(conv, "forward_edges"):
            raise TypeError(
                "`conv` must be a PyG MessagePassing or a gnnlib layer, got "
                f"{type(conv).__name__}: without messages there is nothing to gate "
                "(wrap the convs inside it)"
            )
        if getattr(conv, "cached", False):
            raise ValueError(
                "`conv` must not cache its graph, as the actions change it; got "
                f"{type(conv).__name__} with cached=True"
            )
        for name, value, allowed in (
            ("actions", actions, ("factorised", "categorical")),
            ("eval_mode", eval_mode, ("sample", "argmax", "expected")),
        ):
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {value!r}")
        if not isinstance(temperature, nn.Module) and not temperature > 0:
            raise ValueError(f"`temperature` must be positive, got {temperature}")
        self.conv = conv
        self.action_net = action_net
        self.actions: ActionSpace = actions
        self.temperature = temperature
        self.eval_mode: EvalMode = eval_mode

    @property
    def in_channels(self) -> Any:
        """Width of the input features, where the wrapped conv tells."""
        return getattr(self.conv, "in_channels", None)

    @property
    def out_channels(self) -> Any:
        """Width of the output features, where the wrapped conv tells."""
        return getattr(self.conv, "out_channels", None)

    @property
    def flow(self) -> str:
        """Direction of the messages, that of the wrapped conv."""
        return str(getattr(self.conv, "flow", "source_to_target"))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.children():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Let every node decide, then pass messages over the edges that are left.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for convs that take it.
            edge_attr: ``[E, D]``, for convs that take it.
            generator: source of the actions' noise; ``None`` for torch's own.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ValueError: ``x`` is a pair or no matrix, or ``conv`` has no argument for a signal of
                the edges.
        """
        if isinstance(x, (tuple, list)):
            raise ValueError(
                "CooperativeConv has no bipartite form, as every node both listens and "
                "broadcasts; got `x` as a pair"
            )
        if x.dim() != 2:
            raise ValueError(f"`x` must be [N, in_channels], got {list(x.shape)}")
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=x.size(0))
        return self.forward_edges(x, message_edges(self, edges), generator)

    def forward_edges(
        self, x: Features, edges: Edges, generator: torch.Generator | None = None
    ) -> Tensor:
        """As :meth:`forward`, on edges in the direction of the messages.

        In a delayed layer ``x`` is a pair, and nodes act as they are now.
        """
        _, now = sides(x)
        assert now is not None
        actions = self.act(now, edges, generator)
        record(actions)
        gates = (gate.to(now.dtype) for gate in (actions.broadcast, actions.listen))
        return run(self.conv, features_for(self.conv, x), edges.masked(*gates), generator)

    def act(self, x: Tensor, edges: Edges, generator: torch.Generator | None = None) -> Actions:
        """Let every node decide whether to listen and whether to broadcast."""
        logits = run(self.action_net, x, replace(edges, weight=None, attr=None), generator)
        if logits.shape != (x.size(0), 4):
            raise ValueError(
                f"`action_net` must return logits [N, 4], {[x.size(0), 4]}, "
                f"got {list(logits.shape)}"
            )
        tau = self.temperature(x) if isinstance(self.temperature, nn.Module) else self.temperature
        mode: EvalMode = "sample" if self.training else self.eval_mode
        return decide(logits, tau, self.actions, mode, generator)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.conv}, {self.action_net}, actions={self.actions!r}, "
            f"temperature={self.temperature}, eval_mode={self.eval_mode!r})"
        )
