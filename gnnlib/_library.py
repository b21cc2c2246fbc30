"""The compiled kernels, and how an operator gets its Python half.

Importing this module loads ``gnnlib._C``, which registers schemas and CPU kernels. Where it was not
built, every operator runs on its pure-torch reference instead, and one warning says so.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch

AVAILABLE = importlib.util.find_spec("gnnlib._C") is not None
if AVAILABLE:
    importlib.import_module("gnnlib._C")
else:
    warnings.warn(
        "gnnlib was installed without its compiled kernels and runs on slow pure-torch references. "
        "Reinstall it where a C++ compiler is found: pip install --no-build-isolation gnnlib",
        stacklevel=2,
    )

_fragment = torch.library.Library("gnnlib", "FRAGMENT")  # type: ignore[no-untyped-call]


def register(
    name: str,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> Any:
    """Complete the operator ``gnnlib::name`` and return it.

    ``reference`` serves every device without a kernel of its own; ``fake`` infers shapes;
    ``backward`` and ``setup_context`` are those of :func:`torch.library.register_autograd`.
    """
    qualified = f"gnnlib::{name}"
    if not hasattr(torch.ops.gnnlib, name):  # no kernels, or an operator that needs none
        _fragment.define(name + torch.library.infer_schema(reference, mutates_args=()))  # type: ignore[no-untyped-call]
    _fragment.impl(name, reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(qualified, fake, lib=_fragment)
    if backward is not None:
        torch.library.register_autograd(
            qualified, backward, setup_context=setup_context, lib=_fragment
        )
    return getattr(torch.ops.gnnlib, name).default
