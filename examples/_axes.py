"""The axes of gnnlib.swap as options of a command, which the examples share."""

import argparse
from typing import Any


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add an option for every axis."""
    axes = parser.add_argument_group("axes", "what gnnlib.swap makes of the model's layers")
    axes.add_argument(
        "--cooperative",
        nargs="?",
        const=True,
        metavar="LAYER",
        help="nodes decide to listen and broadcast; LAYER of their networks: mean, sum, ...",
    )
    axes.add_argument(
        "--directed",
        nargs="?",
        const=True,
        type=float,
        metavar="ALPHA",
        help="both directions of an edge apart, out-neighbours with a share of ALPHA",
    )
    axes.add_argument(
        "--delay", type=float, metavar="LAYERS", help="hear farther nodes so late, or at once: inf"
    )
    axes.add_argument("--hops", type=int, help="the most hops that a layer hears")
    axes.add_argument(
        "--aggr", nargs="+", metavar="NAME", help="combine messages by: lcm, gru, gnp, max, ..."
    )
    axes.add_argument(
        "--exclude", nargs="+", metavar="LAYER", help="leave these layers as they are: convs.0, ..."
    )


def axes_of(args: argparse.Namespace) -> dict[str, Any]:
    """Those that are asked for, as gnnlib.swap takes them."""
    names = ("cooperative", "directed", "delay", "hops", "aggr", "exclude")
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if len(asked.get("aggr", ())) == 1:
        (asked["aggr"],) = asked["aggr"]
    return asked


def both(axes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The plain model, and the swapped one if anything is asked for."""
    return {"plain": {}, **({"swapped": axes} if axes else {})}
