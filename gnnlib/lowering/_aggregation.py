"""PyG's Aggregation modules, on kernels that gather and reduce at once."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import aggr

from gnnlib import ops
from gnnlib.edges import Edges
from gnnlib.lowering._aggregate import aggregate, degrees, listened
from gnnlib.lowering._class import class_of
from gnnlib.ops._gather_statistics import Statistic

# What each module needs to know of its messages.
_STATISTIC: dict[type, Statistic] = {
    aggr.SumAggregation: "sum",
    aggr.MeanAggregation: "mean",
    aggr.MinAggregation: "min",
    aggr.MaxAggregation: "max",
    aggr.VarAggregation: "var",
    aggr.StdAggregation: "var",
}
_SCALERS = ("identity", "amplification", "attenuation", "linear", "inverse_linear")
LINEAR = (aggr.SumAggregation, aggr.MeanAggregation)


def why_not_aggregation(module: Any) -> str | None:
    """Why a module has no fused form; ``None`` if it has one."""
    kind = class_of(module)
    if kind in (aggr.VarAggregation, aggr.StdAggregation, aggr.SoftmaxAggregation):
        semi = module.var_aggr.semi_grad if kind is aggr.StdAggregation else module.semi_grad
        return f"{kind.__name__} with semi_grad=True, half a gradient" if semi else None
    if kind is aggr.MultiAggregation:
        return next((why for part in module.aggrs if (why := why_not_aggregation(part))), None)
    if kind is aggr.DegreeScalerAggregation:
        unknown = [name for name in module.scaler if name not in _SCALERS]
        return f"unknown scaler {unknown[0]!r}" if unknown else why_not_aggregation(module.aggr)
    if kind in _STATISTIC or kind is aggr.MulAggregation:
        return None
    return f"no fused form of {kind.__name__}" if module is not None else "aggr=None"


def kernels_of(module: Any) -> str:
    """The kernels that :func:`aggregate_as` runs a module on."""
    kind = class_of(module)
    if kind is aggr.DegreeScalerAggregation:
        return kernels_of(module.aggr)
    parts = list(module.aggrs) if kind is aggr.MultiAggregation else [module]
    names = _statistics(parts)
    others = [kernels_of(part) for part in parts if class_of(part) is aggr.MultiAggregation]
    others += ["gather_reduce mul" for part in parts if class_of(part) is aggr.MulAggregation]
    others += ["gather_softmax" for part in parts if class_of(part) is aggr.SoftmaxAggregation]
    if names:
        kernel = "gather_reduce" if _alone(names) else "gather_statistics"
        others.insert(0, f"{kernel} {', '.join(names)}")
    return " + ".join(others)


def aggregate_as(module: Any, x: Tensor, edges: Edges) -> Tensor:
    """What an Aggregation module makes of the messages ``x_j`` of every node.

    Args:
        module: one that :func:`why_not_aggregation` finds no fault with.
        x: ``[N_src, F]``.
        edges: the edges; weights multiply messages, a node hears through its own gate.
    """
    if class_of(module) is aggr.DegreeScalerAggregation:
        out = aggregate_as(module.aggr, x, edges)
        return torch.cat([out * s.unsqueeze(-1) for s in degree_scales(module, edges, out)], -1)
    if class_of(module) is aggr.MultiAggregation:
        combined: Tensor = module.combine(aggregate_each(module.aggrs, x, edges))
        return combined
    return aggregate_each([module], x, edges)[0]


def aggregate_each(modules: Sequence[Any], x: Tensor, edges: Edges) -> list[Tensor]:
    """:func:`aggregate_as` of several modules, which share one pass where they can."""
    names = _statistics(modules)
    if _alone(names):
        found = {names[0]: aggregate(x, edges, names[0])}
    else:
        parts = ops.gather_statistics(x, edges.adj, names, edges.weight, edges.broadcast)
        found = {name: listened(part, edges) for name, part in zip(names, parts, strict=True)}
    return [_finished(module, found, x, edges) for module in modules]


def degree_scales(module: Any, edges: Edges, like: Tensor) -> list[Tensor]:
    """The factors ``[N_dst]`` by which a DegreeScalerAggregation scales its outputs."""
    degree = degrees(edges, like.dtype)
    at_least_one = degree.clamp(min=1)
    scales = {
        "identity": torch.ones_like(degree),
        "amplification": (degree + 1).log() / module.avg_deg_log,
        "attenuation": module.avg_deg_log / (at_least_one + 1).log(),
        "linear": degree / module.avg_deg_lin,
        "inverse_linear": module.avg_deg_lin / at_least_one,
    }
    return [scales[name].to(like.dtype) for name in module.scaler]


def _statistics(modules: Sequence[Any]) -> list[Statistic]:
    return list(
        dict.fromkeys(_STATISTIC[class_of(m)] for m in modules if class_of(m) in _STATISTIC)
    )


def _alone(names: Sequence[Statistic]) -> bool:
    return len(names) == 1 and names[0] != "var"


def _finished(module: Any, found: dict[Any, Tensor], x: Tensor, edges: Edges) -> Tensor:
    kind = class_of(module)
    if kind is aggr.StdAggregation:
        # PyG's: what is no larger than its floor is 0.
        std = found["var"].clamp(min=1e-5).sqrt()
        return std.masked_fill(std <= math.sqrt(1e-5), 0.0)
    if kind in _STATISTIC:
        return found[_STATISTIC[kind]]
    if kind is aggr.MulAggregation:
        return aggregate(x, edges, "mul")
    if kind is aggr.SoftmaxAggregation:
        out = ops.gather_softmax(x, edges.adj, module.t, edges.weight, edges.broadcast)
        return listened(out, edges)
    return aggregate_as(module, x, edges)
