"""`assert_op`: a functional op against its reference."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import _op_laws as laws
from ._report import Report, sandbox
from ._trial import Op, Sample, Trial


def assert_op(
    op: Op,
    reference: Op,
    samples: Iterable[Sample | tuple[Any, ...]],
    *,
    differentiable: Sequence[int | str] = (),
    double_backward: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    compile: bool = True,  # noqa: A002 (the word a reader looks for)
    backend: str = "aot_eager",
    opcheck: Sequence[Any] = (),
) -> None:
    """Check that an op computes what its reference computes, in every way it may be called.

    The laws, by name:

    - `forward`: the output has the dtype of the input and equals that of the reference in
      float64, NaN and infinities at the same places.
    - `inputs`: no argument is written to.
    - `determinism`: outputs and gradients have the same bits on a second call, on one thread
      and on two.
    - `strides`: non-contiguous arguments and gradients give the same results.
    - `gradient`: the gradients equal those of the reference in float64 by autograd.
    - `gradcheck`, `gradgradcheck`: they equal finite differences in float64.
    - `compile`: `torch.compile(fullgraph=True, dynamic=True)` gives the eager results.
    - `opcheck`: `torch.library.opcheck` accepts every call the samples make, forward and
      backward, of the registered ops given.

    A sample whose forward is wrong is checked no further.

    Args:
        op: The function under test; arguments may be tensors and pytrees of tensors.
        reference: A slow and obvious function with the same parameters.
        samples: What to call both with; a plain tuple holds positional arguments.
        differentiable: Arguments whose gradients are checked, by position or by the name they
            have in `reference`; samples in which they are integers or None are fine.
        double_backward: Whether the second derivative is checked.
        rtol: Relative tolerance; by default that of the dtype.
        atol: Absolute tolerance; by default that of the dtype.
        compile: Whether to check `torch.compile`.
        backend: Of `torch.compile`; the default checks the traced graphs without building code.
        opcheck: Registered ops that the samples reach, such as `torch.ops.gnnlib.name.default`.

    Raises:
        AssertionError: If laws are broken; it names each with the sample and its shapes.
        ValueError: If there is no sample, or none in which an argument is differentiable.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        >>> assert_op(torch.relu, lambda x: x * (x > 0), [(x,), (x.half(),)], differentiable=[0])
    """
    drawn = [s if isinstance(s, Sample) else Sample(tuple(s)) for s in samples]
    if not drawn:
        raise ValueError("`samples` must hold a sample, got none")
    for key in differentiable:
        if not any(any(Trial.of(op, reference, s, [key], (None, None)).wanted) for s in drawn):
            raise ValueError(f"`differentiable` names {key!r}, a real tensor in no sample")
    reached: set[Any] = set()
    checks: dict[str, Callable[[Trial], None]] = {
        "inputs": laws.inputs,
        "determinism": laws.determinism,
        "strides": laws.strides,
        "gradient": laws.gradient,
        "gradcheck": laws.gradcheck,
    }
    if double_backward:
        checks["gradgradcheck"] = laws.gradgradcheck
    if opcheck:
        checks["opcheck"] = partial(laws.opcheck, opcheck, reached)
    if compile:
        # Ops checked before would count towards the limit of recompilations.
        torch._dynamo.reset()
        compiled = torch.compile(
            lambda *args, **kwargs: op(*args, **kwargs),
            fullgraph=True,
            dynamic=True,
            backend=backend,
        )
        checks["compile"] = partial(laws.torch_compile, compiled)
    report = Report(getattr(op, "__name__", str(op)))
    # Shapes and options differ from sample to sample by design, and each may be compiled anew.
    with sandbox(), torch._dynamo.config.patch(recompile_limit=4 * len(drawn) + 8):
        for i, sample in enumerate(drawn):
            trial = Trial.of(op, reference, sample, differentiable, (rtol, atol))
            where = f"on sample {i} ({', '.join(map(_describe, trial.leaves))})"
            num_broken = len(report.broken)
            with report.law(f"forward {where}"):
                laws.forward(trial)
            if len(report.broken) > num_broken:
                continue
            for name, law in checks.items():
                with report.law(f"{name} {where}"):
                    law(trial)
        missed = [str(registered) for registered in opcheck if registered not in reached]
        if missed and not report.broken:
            with report.law("opcheck"):
                raise AssertionError(f"no sample reaches {missed}")
    report.raise_if_broken()


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return repr(value)[:40]
