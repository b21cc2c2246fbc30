"""Directed message passing: what comes in and what goes out are heard apart."""

import copy
from typing import Any, Literal

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch_geometric.nn.conv import MessagePassing

from gnnlib.edges import Edges
from gnnlib.layers._affine import affine_of, combine
from gnnlib.layers._alpha import Alpha
from gnnlib.layers._degree_norm import Norm, Scales, norm_of, normalised, take_norm
from gnnlib.layers._neighbours import features_for
from gnnlib.layers._roots import ROOTS, drop_root, take_root
from gnnlib.lowering import Features, class_of, is_plain, message_edges, run, scales, sides


class DirectedConv(nn.Module):
    r"""Make a conv directed: one set of weights for what comes in, another for what goes out.

    .. math::
        x'_i = W_0 x_i + (1 - \alpha) \, \mathrm{conv}_{\mathrm{in}}\big(x_i, \{\!\{ x_j : j \to i
        \}\!\}\big) + \alpha \, \mathrm{conv}_{\mathrm{out}}\big(x_i, \{\!\{ x_j : i \to j \}\!\}
        \big)

    Dir-GNN, from Rossi et al., 2023, "Edge Directionality Improves Learning on Heterophilic
    Graphs", section 4. :math:`\alpha` is the share of the *out*-neighbours, those that a node's own
    edges point to: for messages that go from ``edge_index[0]`` to ``edge_index[1]``, ``alpha=0`` is
    the conv as it was, and ``alpha=1`` the conv on the edges turned around.

    A conv that normalises by degrees gets the normalisation of directed graphs instead. With
    :math:`A_{ij} = 1` for an edge :math:`i \to j`, what goes out is heard through

    .. math::
        \mathrm{dir}: D_{\mathrm{out}}^{-1/2} A \, D_{\mathrm{in}}^{-1/2}, \qquad
        \mathrm{row}: D_{\mathrm{out}}^{-1} A, \qquad
        \mathrm{sym}: D^{-1/2} A D^{-1/2}, \; D = (D_{\mathrm{in}} + D_{\mathrm{out}}) / 2

    and what comes in through the same with :math:`A^\top` for :math:`A` and the degrees' roles
    swapped. A degree is the sum of the weights of the edges that are there; 0 divides to 0. On an
    undirected graph, dir and sym are the normalisation of GCN, without self loops. Nothing is kept
    between calls.

    Both directions run on one adjacency and its transpose. GCN, SAGE and GraphConv whose
    aggregation is a sum or a mean do so in one go, in as few passes as they need.

    Differs: the root term of SAGE, GraphConv and others is taken out of both convs and added once,
    unscaled, as in the paper; PyG's ``DirGNNConv`` gives every conv one of its own, and ours none
    to a conv that has none (GCN, GAT). GAT keeps its self loops in both directions, as in the
    paper's code. ``sym`` of that code takes the degrees of one end for both.

    Args:
        conv: a gnnlib layer or any PyG conv called as ``conv(x, edge_index, ...)``; it is copied,
            once for what comes in, with its weights, and once for what goes out, with weights drawn
            anew.
        alpha: the share :math:`\alpha \in [0, 1]`; at 0 or 1 the other conv is left out, and has no
            parameters. Or a module that returns it when called without arguments, such as
            :class:`Alpha`; pass the same one to several layers to share it, as the paper does.
        learn_alpha: learn it, beginning at ``alpha``.
        root_weight: keep the conv's own map of a node's own features (SAGE, GraphConv, the
            residual of GAT and GATv2, Transformer, ResGatedGraphConv, NNConv, TAG's power 0);
            without, it is dropped. A Transformer with ``beta``, which weighs the map against what
            is heard, keeps one in either copy, or none. A conv of any other class is used as it is:
            what it says of a node itself, as GIN does inside its network, stays in both copies.
        norm: ``"dir"``, ``"row"``, ``"sym"``, or ``None`` for plain sums, for GCN, TAG, APPNP, GIN,
            GINE, NNConv, and SAGE and GraphConv with ``aggr="sum"``; ``"auto"`` is dir for GCN, TAG
            and APPNP, unless their own normalisation is off, and none for all others. Those of them
            that normalise by themselves (SG, ARMA, Cheb, ClusterGCN, ...), and convs inside another
            layer, keep their normalisation of undirected graphs, in each direction.

    Raises:
        TypeError: ``conv`` passes no messages, or ``alpha`` is neither a number nor a module.
        ValueError: ``alpha`` is outside of [0, 1], ``norm`` unknown or not for this conv, or
            ``conv`` caches its graph.

    Example:
        >>> from torch_geometric.nn import SAGEConv
        >>> conv = DirectedConv(SAGEConv(8, 16), alpha=0.5)
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> conv(x, edge_index).shape
        torch.Size([3, 16])
    """

    wraps = ("conv_in", "conv_out")

    def __init__(
        self,
        conv: nn.Module,
        alpha: float | nn.Module = 0.5,
        learn_alpha: bool = False,
        root_weight: bool = True,
        norm: Norm | Literal["auto"] | None = "auto",
    ) -> None:
        super().__init__()
        _check(conv, alpha, learn_alpha)
        self.norm = norm_of(conv, norm)
        self.alpha: float | nn.Module
        if isinstance(alpha, nn.Module):
            self.alpha = alpha
        else:
            self.alpha = Alpha(alpha) if learn_alpha else float(alpha)
        conv = copy.deepcopy(conv)
        if not root_weight:
            drop_root(conv)
        self.root = take_root(conv)
        known: Any = conv
        # SAGE's is of the whole sum.
        self.normalize: bool = class_of(conv) is pyg.SAGEConv and known.normalize
        if self.normalize:
            known.normalize = False
        take_norm(conv)
        self.conv_in = None if self.alpha == 1 else conv
        self.conv_out = None if self.alpha == 0 else conv
        if self.conv_in is not None and self.conv_out is not None:
            self.conv_out = copy.deepcopy(conv)
            if hasattr(conv, "reset_parameters"):
                self.conv_out.reset_parameters()  # type: ignore[operator]

    @property
    def in_channels(self) -> Any:
        """Width of the input features, where the wrapped conv tells."""
        return getattr(self._one, "in_channels", None)

    @property
    def out_channels(self) -> Any:
        """Width of the output features, where the wrapped conv tells."""
        return getattr(self._one, "out_channels", None)

    @property
    def flow(self) -> str:
        """Direction of the messages, that of the wrapped conv."""
        return str(getattr(self._one, "flow", "source_to_target"))

    @property
    def _one(self) -> nn.Module | None:
        return self.conv_out if self.conv_in is None else self.conv_in

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
        """Pass messages along the edges, and against them.

        Args:
            x: ``[N, in_channels]``.
            edge_index: the graph, anything :meth:`gnnlib.Edges.of` takes.
            edge_weight: ``[E]``, for convs that take it; an edge has the same weight both ways.
            edge_attr: ``[E, D]``, for convs that take it; likewise.
            generator: source of randomness for gnnlib layers; PyG's use torch's own.

        Returns:
            ``[N, out_channels]``.

        Raises:
            TypeError: ``x`` is no tensor.
            ValueError: ``x`` is a pair or no matrix, or ``conv`` has no argument for a signal of
                the edges.
        """
        edges = Edges.of(edge_index, edge_weight, edge_attr, size=_nodes(x).size(0))
        return self.forward_edges(x, message_edges(self, edges), generator)

    def forward_edges(
        self, x: Features, edges: Edges, generator: torch.Generator | None = None
    ) -> Tensor:
        """As :meth:`forward`, on edges in the direction of the messages.

        In a delayed layer ``x`` is a pair: nodes as they are heard, and as they are now.
        """
        heard, now = sides(x if isinstance(x, tuple) else _nodes(x))
        dtype = torch.promote_types(heard.dtype, torch.float32)
        alpha = self.alpha() if isinstance(self.alpha, nn.Module) else self.alpha
        forth = scales(edges, self.norm, dtype)
        ways: list[tuple[nn.Module, Edges, Scales, Any]] = []
        if self.conv_in is not None:
            ways.append((self.conv_in, edges, forth, 1 - alpha))
        if self.conv_out is not None:
            against = edges.T
            back = scales(against, "row", dtype) if self.norm == "row" else forth[::-1]
            ways.append((self.conv_out, against, back, alpha))
        out = self._at_once(heard, ways, edges) if self.root is None or now is heard else None
        if out is None:
            out = self._one_by_one(x, ways, generator)
        return normalize(out, p=2.0, dim=-1) if self.normalize else out

    def _at_once(self, x: Tensor, ways: list[Any], edges: Edges) -> Tensor | None:
        if self.root is not None and not is_plain(self.root):
            return None
        parts = []
        for conv, way, scale, share in ways:
            affine = affine_of(conv, x, edges)
            if affine is None:
                return None
            parts.append((affine, way.masked(*scale), share))
        return combine(x, parts, edges, self.root)

    def _one_by_one(
        self, x: Features, ways: list[Any], generator: torch.Generator | None
    ) -> Tensor:
        heard = [
            run(conv, features_for(conv, x), normalised(conv, way, scale), generator)
            for conv, way, scale, _ in ways
        ]
        out = heard[0]
        if len(heard) == 2:
            share = torch.as_tensor(ways[1][-1], dtype=out.dtype, device=out.device)
            out = torch.lerp(heard[0], heard[1], share)
        return out if self.root is None else out + self.root(sides(x)[1])

    def __repr__(self) -> str:
        alpha = f"{self.alpha:g}" if isinstance(self.alpha, float) else self.alpha
        return f"{type(self).__name__}({self._one}, alpha={alpha}, norm={self.norm!r})"


def _take_root(conv: Any) -> nn.Module | None:
    root: nn.Module | None = conv.root
    conv.root = None
    return root


ROOTS[DirectedConv] = _take_root


def _nodes(x: Any) -> Tensor:
    if isinstance(x, (tuple, list)):
        raise ValueError(
            "DirectedConv has no bipartite form, as every node both sends along its edges and "
            "hears along them; got `x` as a pair"
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"`x` must be a tensor [N, in_channels], got {type(x).__name__}")
    if x.dim() != 2:
        raise ValueError(f"`x` must be [N, in_channels], got {list(x.shape)}")
    return x


def _check(conv: nn.Module, alpha: Any, learn_alpha: bool) -> None:
    if not isinstance(conv, MessagePassing) and not hasattr(conv, "forward_edges"):
        raise TypeError(
            "`conv` must be a PyG MessagePassing or a gnnlib layer, got "
            f"{type(conv).__name__}: without messages there is no direction (wrap the convs "
            "inside it)"
        )
    if getattr(conv, "cached", False):
        raise ValueError(
            "`conv` must not cache its graph, as each direction has its own; got "
            f"{type(conv).__name__} with cached=True (gnnlib finds a graph again by itself)"
        )
    if isinstance(alpha, nn.Module):
        if learn_alpha:
            raise ValueError("`learn_alpha` makes an `Alpha`, but `alpha` is a module already")
    elif not isinstance(alpha, (int, float)) or isinstance(alpha, bool):
        raise TypeError(
            f"`alpha` must be a number in [0, 1] or a module that returns one, got {alpha!r}"
        )
    elif not 0 <= alpha <= 1:
        raise ValueError(
            f"`alpha` must be in [0, 1], got {alpha} (it is the share of the out-neighbours)"
        )
