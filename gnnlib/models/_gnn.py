"""One network for all axes: PyG's basic GNN of any conv, swapped as it is made.

One class, whose documentation is half of the file; its convs are in _convs.py, its files in
_pretrained.py.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.models.basic_gnn import BasicGNN

from gnnlib.accelerate import fuse
from gnnlib.models._convs import CONVS
from gnnlib.models._pretrained import named, plain, read, write
from gnnlib.swap import swap
from gnnlib.swap._axes import Axes

Model = TypeVar("Model", bound="GNN")
JUMPS = ("last", "cat", "max", "lstm")


class GNN(BasicGNN):  # type: ignore[misc, unused-ignore]
    r"""A graph neural network of any conv, in which every axis of message passing is an argument.

    It is PyG's ``BasicGNN``, with its arguments and its ``forward``, of a conv that is chosen by
    name, and :func:`gnnlib.swap` of it:

    .. code-block:: python

        GNN(8, 16, 2, 3, conv="sage", directed=True)
        gnnlib.swap(GraphSAGE(8, 16, 2, 3), directed=True)  # has the same layers and weights

    All convs that gnnlib understands run on the fused kernels, as after :func:`gnnlib.accelerate`.

    :meth:`save_pretrained` and :meth:`from_pretrained` write and read a folder with the files
    ``config.json`` and ``pytorch_model.bin``, which the Hugging Face Hub knows. They are not those
    of PyG's ``PyGModelHubMixin``: that one needs ``huggingface_hub`` to save a file, leaves out all
    arguments that are no number or string, such as ``jk=None`` or the options of an axis, and by
    default ignores weights that do not fit. Upload the folder with
    ``huggingface_hub.upload_folder``.

    Differs: a signal of the edges that the conv does not take (``edge_weight`` of SAGE) is refused,
    where PyG's models ignore it; and so are calls on parts of neighbourhoods
    (``num_sampled_nodes_per_hop``, ``inference``) if layers are cooperative, directed or delayed,
    as these hear more than the in-neighbours that are left.

    Args:
        in_channels: width of the node features. ``-1`` to read it from the first call, without
            axes; a pair for sources and targets, for convs that take one.
        hidden_channels: width of the hidden layers.
        num_layers: number of message passing layers, at least 1.
        out_channels: width of the output; ``None`` for ``hidden_channels``.
        conv: ``"gcn"``, ``"sage"``, ``"gin"``, ``"graph"``, ``"gat"``, ``"gatv2"``, ``"gine"``,
            ``"pna"``, ``"transformer"``, ``"cheb"``, ``"sg"``, ``"tag"``, ``"arma"``, ``"edge"`` or
            ``"resgated"``; or a function from ``(in_channels, out_channels)`` to a conv.
        dropout: probability of dropout after hidden layers, and of attention.
        act: activation, what PyG resolves; ``None`` for none.
        act_first: whether it comes before the normalisation.
        act_kwargs: options of the activation.
        norm: normalisation, what PyG resolves, such as ``"batch_norm"``; ``None`` for none.
        norm_kwargs: options of the normalisation.
        jk: jumping knowledge, ``"last"``, ``"cat"``, ``"max"`` or ``"lstm"``, and a linear map;
            ``None`` for the last layer's own output.
        cooperative: who talks, see :func:`gnnlib.swap`, also for the next four.
        directed: which way.
        delay: when, and how far.
        hops: the most hops that a layer hears.
        aggr: how messages are combined; ``None`` for the conv's own way.
        options: more of the conv, such as ``heads=4`` of attention, ``K=3`` of ``"cheb"``,
            ``edge_dim=8`` where there are edge features, and ``aggregators``, ``scalers`` and
            ``deg`` of ``"pna"``.

    Raises:
        TypeError: the conv does not have such an option, or needs one; or what ``conv`` returns is
            no module.
        ValueError: an argument is unknown or out of its range, or an axis has no meaning for the
            conv.

    Example:
        >>> import torch
        >>> model = GNN(8, 16, num_layers=2, out_channels=3, conv="sage", cooperative=True, delay=1)
        >>> model(torch.randn(4, 8), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])).shape
        torch.Size([4, 3])
        >>> GNN.from_config(model.to_config())
        GNN(8, 16, 2, 3, conv='sage', cooperative=True, delay=1)
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        hidden_channels: int,
        num_layers: int,
        out_channels: int | None = None,
        *,
        conv: str | Callable[..., nn.Module] = "gcn",
        dropout: float = 0.0,
        act: str | Callable[..., Any] | None = "relu",
        act_first: bool = False,
        act_kwargs: Mapping[str, Any] | None = None,
        norm: str | Callable[..., Any] | None = None,
        norm_kwargs: Mapping[str, Any] | None = None,
        jk: Literal["last", "cat", "max", "lstm"] | None = None,
        cooperative: bool | str | nn.Module | Mapping[str, Any] = False,
        directed: bool | float | Mapping[str, Any] = False,
        delay: float | Mapping[str, Any] | None = None,
        hops: int | None = None,
        aggr: str | Aggregation | list[str | Aggregation] | None = None,
        **options: Any,
    ) -> None:
        if isinstance(options.get("deg"), Tensor):
            options["deg"] = options["deg"].tolist()
        given = {name: value for name, value in locals().items() if name in _DEFAULTS} | options
        axes = Axes.of(cooperative, directed, delay, hops, aggr)
        _check(given, axes)
        super().__init__(
            in_channels,
            hidden_channels,
            num_layers,
            out_channels,
            dropout,
            act,
            act_first,
            act_kwargs,
            norm,
            norm_kwargs,
            jk,
            conv=conv,
            options=options,
        )
        first = self.convs[0]
        signals = inspect.signature(first.forward).parameters
        self.supports_edge_weight = "edge_weight" in signals
        # Made without `edge_dim`, attention ignores edge features.
        self.supports_edge_attr = (
            "edge_attr" in signals and getattr(first, "edge_dim", 0) is not None
        )
        if not axes.nothing:
            swap(
                self,
                cooperative=cooperative,
                directed=directed,
                delay=delay,
                hops=hops,
                aggr=aggr,
                inplace=True,
            )
        for layer in self.convs:
            fuse(layer)
        self._hears_in_neighbours = not axes.wraps
        # As JSON has them: what it has not might not be copied or pickled.
        self._arguments = {name: plain(name, value) for name, value in given.items()}
        self._made_with = getattr(self, "_swaps", ())

    def init_conv(
        self, in_channels: Any, out_channels: int, *, conv: Any, options: Mapping[str, Any]
    ) -> nn.Module:
        """Make the conv of one layer."""
        make = partial(CONVS[conv], self) if isinstance(conv, str) else conv
        try:
            made = make(in_channels, out_channels, **options)
        except TypeError as error:
            raise TypeError(
                f"`conv`={plain('conv', conv)!r} cannot be made with {plain('options', options)}: "
                f"{error}"
            ) from error
        except RuntimeError as error:
            raise ValueError(
                f"`conv`={plain('conv', conv)!r} cannot be made for `in_channels` {in_channels} "
                f"and {out_channels} features out of it: {error}"
            ) from error
        if not isinstance(made, nn.Module):
            raise TypeError(
                "`conv` must be a function from (in_channels, out_channels) to a conv, got one to "
                f"a {type(made).__name__}"
            )
        return made

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        num_sampled_nodes_per_hop: list[int] | None = None,
        num_sampled_edges_per_hop: list[int] | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: ``[N, in_channels]``, or a pair of sources and targets.
            edge_index: the graph, ``[2, E]``, an ``EdgeIndex``, a sparse matrix or a
                :class:`gnnlib.Adjacency`.
            edge_weight: ``[E]``, for convs that take it.
            edge_attr: ``[E, D]``, for convs that take it.
            batch: ``[N]`` graph of each node, for normalisations over graphs.
            batch_size: number of graphs; by default one more than the last in ``batch``.
            num_sampled_nodes_per_hop: of a ``NeighborLoader``'s batch, to leave out nodes and edges
                that the rest of the layers do not need.
            num_sampled_edges_per_hop: the same of the edges.

        Returns:
            ``[N, out_channels]``.

        Raises:
            ValueError: the conv does not take such a signal, layers hear more than the sampled
                in-neighbours, or the second layer would hear sources that the first does not make.
        """
        if isinstance(x, (tuple, list)) and self.num_layers > 1 and x[0].size(0) != x[1].size(0):
            raise ValueError(
                "`x` must not be a pair of different numbers of nodes in more than one layer, as "
                f"the second would hear targets of the first; got {x[0].size(0)} and {x[1].size(0)}"
            )
        if isinstance(edge_weight, Tensor) and not self.supports_edge_weight:
            self._refuse_signal("edge_weight")
        if isinstance(edge_attr, Tensor) and not self.supports_edge_attr:
            self._refuse_signal("edge_attr")
        if isinstance(num_sampled_nodes_per_hop, list):
            self._check_sampled("`num_sampled_nodes_per_hop` must be None")
        out: Tensor = super().forward(
            x,
            edge_index,
            edge_weight,
            edge_attr,
            batch,
            batch_size,
            num_sampled_nodes_per_hop,
            num_sampled_edges_per_hop,
        )
        return out

    def inference_per_layer(
        self, layer: int, x: Tensor, edge_index: Any, batch_size: int
    ) -> Tensor:
        """One layer of ``inference``, which goes through a graph layer by layer."""
        self._check_sampled("`inference` must not be called")
        out: Tensor = super().inference_per_layer(layer, x, edge_index, batch_size)
        return out

    def _refuse_signal(self, name: str) -> None:
        raise ValueError(
            f"`{name}` must be None, as {self._arguments['conv']!r} takes none (choose a conv that "
            "does; attention does with edge_dim=...)"
        )

    def _check_sampled(self, rule: str) -> None:
        if not self._hears_in_neighbours:
            raise ValueError(
                f"{rule} unless layers hear their in-neighbours alone, and these are "
                "cooperative, directed or delayed (call the model on whole graphs, or on whole "
                "batches of a NeighborLoader)"
            )

    def to_config(self) -> dict[str, Any]:
        """The arguments that the network was made with, as JSON has them.

        Infinity, which JSON does not have, is ``"inf"`` in ``delay``.

        Raises:
            ValueError: an argument has no form in JSON, or the network was swapped since.
        """
        if getattr(self, "_swaps", ()) != self._made_with:
            raise ValueError(
                "the network was changed by gnnlib.swap after it was made, of which its arguments "
                "do not tell (make it with the axes, as in GNN(..., directed=True))"
            )
        config = named(self._arguments)
        return config | {"delay": _exchanged(config["delay"], math.inf, "inf")}

    @classmethod
    def from_config(cls: type[Model], config: Mapping[str, Any]) -> Model:
        """A new network of these arguments, with weights drawn anew.

        Args:
            config: what :meth:`to_config` returns; arguments that have a default may be left out.

        Raises:
            TypeError, ValueError: as of the class.
        """
        if not isinstance(config, Mapping):
            raise TypeError(
                f"`config` must be a dictionary of arguments, got a {type(config).__name__} "
                "(json.loads makes one of a file's text)"
            )
        return cls(**{**config, "delay": _exchanged(config.get("delay"), "inf", math.inf)})

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write ``config.json`` and ``pytorch_model.bin``, each whole or not at all.

        Args:
            folder: made if it is not there; files of these names are replaced.

        Raises:
            OSError: a file cannot be written; what was there before is kept.
            ValueError: an argument has no form in JSON, see :meth:`to_config`, or the network does
                not know yet how wide its input is.
        """
        config = self.to_config()
        if any(is_lazy(parameter) for parameter in self.parameters()):
            raise ValueError(
                "`in_channels` must be known to save weights, got -1 (call the network once)"
            )
        write(Path(folder), config, self.state_dict())

    @classmethod
    def from_pretrained(
        cls: type[Model], folder: str | PathLike[str], *, map_location: Any = "cpu"
    ) -> Model:
        """Read what :meth:`save_pretrained` wrote. No code in the files is run.

        Args:
            folder: where the files are.
            map_location: device of the weights.

        Returns:
            The network in evaluation mode, its weights of the dtype that they were saved in.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: one is damaged, or they are not of one network.
        """
        config, weights = read(Path(folder), map_location)
        model = cls.from_config(config)
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise ValueError(
                f"the weights in {folder} must be those of its config.json: {error}"
            ) from error
        model.eval()
        return model

    def __repr__(self) -> str:
        given = dict(self._arguments)
        sizes = [given.pop(name) for name in ("in_channels", "hidden_channels", "num_layers")]
        sizes += [out] if (out := given.pop("out_channels")) is not None else []
        others = [
            f"{name}={value!r}"
            for name, value in given.items()
            if value != _DEFAULTS.get(name, _DEFAULTS)
        ]
        return f"{type(self).__name__}({', '.join([*map(repr, sizes), *others])})"


# The arguments by name, and their defaults.
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(GNN).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
}


def _check(given: Mapping[str, Any], axes: Axes) -> None:
    widths = given["in_channels"]
    widths = widths if isinstance(widths, (list, tuple)) else [widths]
    for width in widths:
        if width != -1:
            _check_size("in_channels", width)
        elif not axes.nothing:
            raise ValueError(
                "`in_channels` must be given with cooperative, directed, delay, hops or aggr, as "
                "action networks and projections are made for a width; got -1 (or make the network "
                "without them, call it once, and swap it: gnnlib.swap(model, ...))"
            )
    for name in ("hidden_channels", "num_layers", "out_channels"):
        if name != "out_channels" or given[name] is not None:
            _check_size(name, given[name])
    conv = given["conv"]
    if conv not in CONVS and (isinstance(conv, str) or not callable(conv)):
        raise ValueError(
            f"`conv` must be one of {', '.join(CONVS)}, or a function from (in_channels, "
            f"out_channels) to a conv; got {conv!r}"
        )
    if given["jk"] is not None and given["jk"] not in JUMPS:
        raise ValueError(f"`jk` must be one of {', '.join(JUMPS)} or None, got {given['jk']!r}")


def _check_size(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}")


def _exchanged(delay: Any, old: Any, new: Any) -> Any:
    if isinstance(delay, Mapping):
        return {name: _exchanged(value, old, new) for name, value in delay.items()}
    return new if delay == old else delay
