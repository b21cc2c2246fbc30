"""The compiled kernels, and how an operator gets its Python half.

Importing this module loads ``gnnlib._C``, which registers schemas and CPU kernels, and where there
is a GPU ``gnnlib/_C_cuda.so``, which registers CUDA kernels. Where one was not built, its operators
run on their pure-torch references instead, and one warning says so.
"""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.autograd import forward_ad

from gnnlib import _cuda

AVAILABLE = importlib.util.find_spec("gnnlib._C") is not None
if AVAILABLE:
    importlib.import_module("gnnlib._C")
else:
    warnings.warn(
        "gnnlib was installed without its compiled kernels and runs on slow pure-torch references. "
        "Reinstall it where a C++ compiler is found: pip install --no-build-isolation gnnlib",
        stacklevel=2,
    )
# Its kernels are for the schemas of the other library.
CUDA = AVAILABLE and _cuda.load(Path(__file__).with_name("_C_cuda.so"))

# torch.library is not typed, hence the ignores here and below.
_fragment = torch.library.Library("gnnlib", "FRAGMENT")  # type: ignore[no-untyped-call]


# Every registered operator, as Python calls it. Derivatives find each other here.
kernels: Any = SimpleNamespace()


def register(
    name: str,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> Any:
    """Complete the operator ``gnnlib::name`` and return the function that calls it.

    ``reference`` serves every device without a kernel of its own; ``fake`` infers shapes;
    ``backward`` and ``setup_context`` are those of :func:`torch.library.register_autograd`.
    """
    qualified = f"gnnlib::{name}"
    if not hasattr(torch.ops.gnnlib, name):  # no kernels, or an operator that needs none
        _fragment.define(name + torch.library.infer_schema(reference, mutates_args=()))  # type: ignore[no-untyped-call]
    _fragment.impl(name, reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(qualified, fake, lib=_fragment)
    operator = getattr(torch.ops.gnnlib, name).default
    if backward is not None and setup_context is not None:
        torch.library.register_autograd(
            qualified, backward, setup_context=setup_context, lib=_fragment
        )
        operator = _eager(operator, backward, setup_context)
    setattr(kernels, name, operator)
    return operator


def _eager(
    operator: Any, backward: Callable[..., Any], setup_context: Callable[..., None]
) -> Callable[..., Any]:
    """The operator, with the same derivative called directly.

    What :func:`torch.library.register_autograd` puts between a call and its kernel takes longer
    than a small graph's whole work. The compiler needs it, and calls the operator; so does
    ``torch.func``, to be told that it is not supported.
    """

    def below(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    # In one piece: a separate setup_context would have its arguments bound by name in every call.
    def forward(ctx: Any, *args: Any) -> Any:
        output = below(*args)
        setup_context(ctx, args, output)
        return output

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(operator.name(), (torch.autograd.Function,), methods)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return operator(*args)
        if forward_ad._current_level >= 0:
            raise NotImplementedError(
                f"{operator.name()} has no forward-mode derivative: use reverse mode (backward)"
            )
        if torch._C._are_functorch_transforms_active():
            return operator(*args)
        if torch.is_grad_enabled() and any(
            isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args
        ):
            return function.apply(*args)
        return below(*args)

    return call
