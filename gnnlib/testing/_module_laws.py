"""The laws about what a layer is: a module that trains, copies, saves, prints and compiles."""

import copy
import inspect
import re
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from ._case import Case, Graph, accepts, supported
from ._report import check_close, same_bits, threads


def parameter_gradients(case: Case) -> None:
    """In training mode every parameter gets a gradient, and not one of zeros."""
    layer = case.layer().train()
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    if unknown := set(case.zero_gradient) - set(parameters):
        raise AssertionError(f"`zero_gradient` names no parameter: {sorted(unknown)}")
    if not parameters:
        return
    case.backward(case.call(layer, case.graph(30, 150)))
    missing = [name for name, p in parameters.items() if p.grad is None]
    zero = [name for name, p in parameters.items() if p.grad is not None and not p.grad.any()]
    zero = [name for name in zero if name not in case.zero_gradient]
    if missing or zero:
        raise AssertionError(f"no gradient: {missing}; a gradient of zeros: {zero}")


def pure_forward(case: Case) -> None:
    """A call changes no parameter and no input, nor, in eval mode, a buffer."""
    for training in (False, True):
        layer, graph = case.layer().train(training), case.graph()
        watched: dict[str, Tensor] = {"x": graph.x, "edge_index": graph.edge_index}
        if graph.edge_attr is not None:
            watched["edge_attr"] = graph.edge_attr
        state = _state(layer, buffers=not training)
        before = {k: (t, t._version, t.detach().clone()) for k, t in (watched | state).items()}
        case.call(layer, graph)
        if accepts(layer.forward, "edge_weight"):
            weight = case.draw(graph.edge_index.size(1)).sigmoid()
            before["edge_weight"] = (weight, weight._version, weight.clone())
            watched["edge_weight"] = weight
            supported(partial(case.call, layer, graph, edge_weight=weight))
        after = watched | _state(layer, buffers=not training)
        changed = [
            name
            for name, (tensor, version, value) in before.items()
            if after.get(name) is not tensor
            or tensor._version != version
            or not same_bits(tensor, value)
        ]
        if changed or len(after) != len(before):
            names = changed or sorted(set(after) - set(before))
            raise AssertionError(f"forward changed {names} (training={training})")


def _state(layer: torch.nn.Module, buffers: bool) -> dict[str, Tensor]:
    state: dict[str, Tensor] = dict(layer.named_parameters())
    return state | dict(layer.named_buffers()) if buffers else state


def no_cache(case: Case) -> None:
    """A layer that saw one graph treats the next as if it were the first, edited graphs too."""
    layer = case.layer()
    first, second, third = (case.graph(seed=10 * i) for i in range(3))
    case.call(layer, first)
    check_close(case.call(layer, second), case.call(case.layer(), second), "a second graph")
    expected = case.call(case.layer(), Graph(second.x, third.edge_index.clone(), second.edge_attr))
    second.edge_index.copy_(third.edge_index)
    check_close(case.call(layer, second), expected, "an `edge_index` edited in place")


def state_dict(case: Case) -> None:
    """The state dictionary of a layer makes another one give the same output."""
    layer, other, graph = case.layer(), case.layer(shift=1), case.graph()
    other.load_state_dict(layer.state_dict())
    check_close(case.call(other, graph), case.call(layer, graph), "the loaded layer")


def deepcopy(case: Case) -> None:
    """A copy, made after a call, gives the same output and shares nothing with the original."""
    layer, graph = case.layer(), case.graph()
    out = case.call(layer, graph)
    twin = copy.deepcopy(layer)
    check_close(case.call(twin, graph), out, "the copy")
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    case.call(twin, graph)
    check_close(case.call(layer, graph), out, "the original, after a change of its copy")


def reset_parameters(case: Case) -> None:
    """`reset_parameters()` draws every parameter anew."""
    layer = case.layer()
    mark = 12345.0  # no initialisation gives this
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(mark)
    layer.reset_parameters()
    if kept := [
        name for name, p in layer.named_parameters() if p.requires_grad and (p == mark).any()
    ]:
        raise AssertionError(f"reset_parameters() leaves {kept} as they were")


def representation(case: Case) -> None:
    """`repr` reads `Class(...)`, names the sizes of a layer with parameters, and no address."""
    layer = case.layer()
    text = repr(layer)
    if not text.startswith(f"{type(layer).__name__}(") or " at 0x" in text:
        raise AssertionError(f"`{text}` does not read as `{type(layer).__name__}(...)`")
    sizes = (case.in_channels, case.out_channels) if list(layer.parameters()) else ()
    for size in sizes:
        if not re.search(rf"\b{size}\b", text):
            raise AssertionError(f"`{text}` does not name the size {size}")


def torch_compile(case: Case) -> None:
    """`torch.compile(fullgraph=True, dynamic=True)` gives the eager output and gradients."""
    # Earlier layers of the same class count towards the limit of recompilations.
    torch._dynamo.reset()
    layer, eager = case.layer(), case.layer()
    compiled: Any = torch.compile(layer, fullgraph=True, dynamic=True, backend=case.backend)
    for size in ((12, 40), (9, 33)):
        results = []
        for module in (compiled, eager):
            graph = case.graph(*size)
            graph.x.requires_grad_()
            module.zero_grad()
            out = case.call(module, graph)
            case.backward(out)
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            results.append([out, graph.x.grad, *gradients])
        if len(results[0]) != len(results[1]):
            raise AssertionError("the compiled layer leaves other parameters without a gradient")
        for actual, expected in zip(*results, strict=True):
            check_close(actual, expected, "the compiled output, or a gradient of it")


def torch_export(case: Case) -> None:
    """`torch.export` gives a program with the eager output."""
    _exports(case, dynamic=False)


def torch_export_dynamic(case: Case) -> None:
    """`torch.export` with any number of nodes and edges gives the eager output on other sizes."""
    _exports(case, dynamic=True)


def _exports(case: Case, dynamic: bool) -> None:
    layer = case.layer()
    example, other = case.graph(12, 40), case.graph(9, 33) if dynamic else case.graph(12, 40, 1)
    shapes: dict[str, Any] | None = None
    kwargs = {} if example.edge_attr is None else {"edge_attr": example.edge_attr}
    if dynamic:
        x, edge_index = list(inspect.signature(layer.forward).parameters)[:2]
        shapes = {x: {0: Dim.DYNAMIC}, edge_index: {1: Dim.DYNAMIC}}
        shapes |= {name: {0: Dim.DYNAMIC} for name in kwargs}
    args = (example.x, example.edge_index)
    program = torch.export.export(layer, args, kwargs, dynamic_shapes=shapes).module()
    program.training = False  # an exported module says otherwise, and cannot be told by eval()
    check_close(case.call(program, other), case.call(layer, other), "the exported program")


def eval_deterministic(case: Case) -> None:
    """In eval mode two calls give the same bits, on one thread and on two."""
    layer, graph = case.layer(), case.graph(2000, 20000)
    first = case.call(layer, graph)
    if not same_bits(case.call(layer, graph), first):
        raise AssertionError("two calls in eval mode differ")
    for count in (1, 2):
        with threads(count):
            if not same_bits(case.call(layer, graph), first):
                raise AssertionError(f"{count} thread(s) give other bits")


def generator(case: Case) -> None:
    """In training mode chance comes from `generator`: same seed, same bits, global state alone.

    A layer whose `forward` takes no `generator` may not draw from the global state either.
    """
    layer, graph = case.layer().train(), case.graph()
    before = _random_state()
    outputs = [case.call(layer, graph) for _ in range(2)]
    if any(not torch.equal(a, b) for a, b in zip(before, _random_state(), strict=True)):
        raise AssertionError("forward draws from the global random state")
    if accepts(layer.forward, "generator") and not same_bits(*outputs):
        raise AssertionError("generators of the same seed give different bits")


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
