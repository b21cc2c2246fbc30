"""The arguments of ``gnnlib rewire`` and ``gnnlib curvature``."""

import inspect
import re
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_type_hints

import tyro
from docstring_parser import parse

import gnnlib.rewiring
from gnnlib._rewire import Kind
from gnnlib.rewiring import Rewiring

DATA = (
    "A file .pt (of a Data, of a list of Data, or a PyG data set's processed/data.pt), an edge "
    "list .txt, .csv or .tsv, a folder of a PyG data set, or the name of one as `KarateClub`."
)
ROOT = "Folder of the files of named data sets (default: the environment variable GNNLIB_DATA)."
FILL = "What attributes of edges are for new ones; `edge_weight` is 1 without it, others need it."
UNDIRECTED = "Take every edge for both ways; without it, edges that go one way only are refused."


@dataclass(frozen=True)
class CurvatureConfig:
    """Compute the curvature of every edge and draw it."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=DATA, metavar="DATA")]
    out: Path
    """Folder for curvature.pt, histogram.png and, of a small graph, graph.png."""
    kind: Kind = "balanced_forman"
    """Which curvature."""
    undirected: Annotated[bool, tyro.conf.arg(help=UNDIRECTED)] = False
    root: Annotated[Path | None, tyro.conf.arg(help=ROOT)] = None


@dataclass(frozen=True, kw_only=True)
class RewireConfig:
    """Rewire a graph or a data set."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=DATA, metavar="DATA")]
    out: Path
    """A file .pt, an edge list .txt, .csv or .tsv, or a folder for processed/data.pt as PyG's
    InMemoryDataset saves it."""
    root: Annotated[Path | None, tyro.conf.arg(help=ROOT)] = None

    def method(self) -> Rewiring:
        """The rewiring that the other arguments are of."""
        raise NotImplementedError


def rewire_configs() -> Any:
    """The arguments of each method, one subcommand each, made of its constructor."""
    commands = [
        Annotated[_config_of(method), tyro.conf.subcommand(name)]
        for name, method in sorted(_methods().items())
    ]
    return Union[tuple(commands)]  # noqa: UP007 (of a list that is known at run time)


def argument_names() -> set[str]:
    """Of all methods."""
    methods: list[type[Rewiring]] = [Rewiring, *_methods().values()]
    return {name for method in methods for name in _parameters(method)}


def _methods() -> dict[str, type[Rewiring]]:
    return {
        name.lower(): method
        for name, method in vars(gnnlib.rewiring).items()
        if isinstance(method, type) and issubclass(method, Rewiring) and method is not Rewiring
    }


def _config_of(method: type[Rewiring]) -> Any:
    own, shared = _parameters(method), _parameters(Rewiring)
    told = _told(method) | _told(Rewiring) | {"undirected": UNDIRECTED, "fill": FILL}
    types: Any = get_type_hints(Rewiring.__init__) | get_type_hints(method.__init__)
    # Of what can be typed: a flag, and one value for all attributes.
    types |= {"undirected": bool, "fill": float | None}
    fields: list[Any] = []
    for name, parameter in (own | shared).items():
        typed: Any = Annotated[types[name], tyro.conf.arg(help=told.get(name, ""))]
        default = False if name == "undirected" else parameter.default
        required = default is inspect.Parameter.empty
        fields.append((name, typed) if required else (name, typed, field(default=default)))

    def made(config: Any) -> Rewiring:
        arguments = {name: getattr(config, name) for name in own | shared}
        return method(**arguments | {"undirected": config.undirected or None})

    summary = _plain((inspect.getdoc(method) or "").split("\n\n")[0]).partition(" (functional name")
    return make_dataclass(
        method.__name__,
        fields,
        bases=(RewireConfig,),
        namespace={"method": made, "__doc__": f"{method.__name__}: {summary[0]}."},
        frozen=True,
        kw_only=True,
    )


def _parameters(method: type[Rewiring]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(method.__init__).parameters
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {n: p for n, p in parameters.items() if n != "self" and p.kind not in variadic}


def _told(method: type[Rewiring]) -> dict[str, str]:
    """What the docstring says of each argument."""
    found = parse(method.__doc__ or "").params
    return {one.arg_name: _plain(one.description or "") for one in found}


def _plain(text: str) -> str:
    """Without the markup of the documentation."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`]*)`", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("``", "`")).rstrip(".")
