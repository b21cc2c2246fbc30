"""The laws of an op, each on one sample."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from ._report import same_bits, threads
from ._trial import Op, Trial, double, is_real


def forward(trial: Trial) -> None:
    actual = trial.run(trial.op, trial.changed())
    expected = trial.run(trial.reference, trial.changed(double))
    trial.check(actual, expected, "output")
    real = [leaf.dtype for leaf in trial.leaves if isinstance(leaf, Tensor) and is_real(leaf)]
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        # The reference ran in double precision: its dtype tells only the kind of the result.
        dtype = b.dtype
        if real and dtype in (torch.float64, torch.complex128):
            dtype = reduce(torch.promote_types, real)
            dtype = dtype.to_complex() if b.is_complex() else dtype.to_real()
        if a.dtype != dtype:
            raise AssertionError(f"output {i} is {a.dtype}, not {dtype}")


def inputs(trial: Trial) -> None:
    leaves = trial.changed()
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    before = [(t._version, t.detach().clone()) for t in tensors]
    trial.run(trial.op, leaves)
    for i, (tensor, (version, value)) in enumerate(zip(tensors, before, strict=True)):
        if tensor._version != version or not same_bits(tensor, value):
            raise AssertionError(f"tensor argument {i} was written to")


def determinism(trial: Trial) -> None:
    def results() -> list[Tensor]:
        leaves = trial.changed()
        return trial.run(trial.op, leaves) + trial.gradients(trial.op, leaves)

    first = results()
    for count in (torch.get_num_threads(), 1, 2):
        with threads(count):
            if not all(map(same_bits, results(), first)):
                raise AssertionError(f"another call, on {count} thread(s), gives other bits")


def strides(trial: Trial) -> None:
    plain = trial.changed()
    for change in (_strided, _transposed):
        leaves = trial.changed(change)
        what = f"of {change.__name__[1:]} arguments"
        trial.check(trial.run(trial.op, leaves), trial.run(trial.op, plain), f"output {what}")
        trial.check(
            trial.gradients(trial.op, leaves, change),
            trial.gradients(trial.op, plain),
            f"gradient {what}",
        )


def gradient(trial: Trial) -> None:
    actual = trial.gradients(trial.op, trial.changed())
    expected = trial.gradients(trial.reference, trial.changed(double))
    trial.check(actual, expected, "gradient of differentiable tensor")


def gradcheck(trial: Trial) -> None:
    _finite_differences(trial, torch.autograd.gradcheck)


def gradgradcheck(trial: Trial) -> None:
    _finite_differences(trial, torch.autograd.gradgradcheck)


def _finite_differences(trial: Trial, check: Callable[..., bool]) -> None:
    leaves = trial.changed(double)
    if not trial.smooth or not trial.picked(leaves):
        return

    def function(*picked: Tensor) -> tuple[Tensor, ...]:
        given = iter(picked)
        mixed = [next(given) if w else leaf for leaf, w in zip(leaves, trial.wanted, strict=True)]
        return tuple(out for out in trial.run(trial.op, mixed) if is_real(out))

    check(function, trial.picked(leaves))


def torch_compile(compiled: Op, trial: Trial) -> None:
    pairs = []
    for function in (compiled, trial.op):
        leaves = trial.changed()
        pairs.append((trial.run(function, leaves), trial.gradients(function, leaves)))
    trial.check(pairs[0][0], pairs[1][0], "compiled output")
    trial.check(pairs[0][1], pairs[1][1], "compiled gradient")


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down with which arguments some registered ops are called."""

    def __init__(self, ops: Sequence[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # An op may be given as an overload, a packet of overloads or the `custom_op` object.
        self.ops = {getattr(op, "_opoverload", op): op for op in ops}
        self.calls: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = self.ops.get(func, self.ops.get(func.overloadpacket))
        if op is not None:
            self.calls.append((op, tree_map(_twin, (args, kwargs))))
        return func(*args, **kwargs)


def opcheck(ops: Sequence[Any], reached: set[Any], trial: Trial) -> None:
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    tests += ["test_aot_dispatch_dynamic"] if trial.smooth else []
    with _Recorder(ops) as recorder:
        trial.gradients(trial.op, trial.changed())
    for op, (args, kwargs) in recorder.calls:
        reached.add(op)
        torch.library.opcheck(op, args, kwargs, test_utils=tests)


def _twin(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)


def _strided(tensor: Tensor) -> Tensor:
    # What lies between the elements is an index out of every range, or a number out of scale.
    wide = tensor.new_full((*tensor.shape, 2), 100 if tensor.dtype.itemsize == 1 else 30000)
    wide[..., 1] = tensor
    return wide[..., 1]


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor.clone()
