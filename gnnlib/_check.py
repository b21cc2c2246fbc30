"""What arguments of many functions are asked."""

from numbers import Integral, Real

import torch
from torch import Tensor


def check_whole(least: int | None = 1, **values: object) -> None:
    """Whether named values are whole numbers, none below ``least``.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        # mypy does not carry what `whole` says of `value` over to the right of `or`.
        if not whole or (least is not None and value < least):  # type: ignore[operator]
            low = float("-inf") if least is None else least
            fix = f" (use int({value!r}))" if isinstance(value, float) and value >= low else ""
            bound = "" if least is None else f" of at least {least}"
            raise ValueError(f"`{name}` must be a whole number{bound}, got {value!r}{fix}")


def check_number(low: float, high: float, **values: object) -> None:
    """Whether named values are numbers from ``low`` to ``high``.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        # Here neither.
        if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
            raise ValueError(f"`{name}` must be a number from {low} to {high}, got {value!r}")


def check_bool(**values: object) -> None:
    """Whether named values are ``True`` or ``False``.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"`{name}` must be True or False, got {value!r}")


def check_tensor(rule: str, **values: object) -> None:
    """Whether named values are tensors; ``rule`` says what they must hold.

    Raises:
        TypeError: one is not.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"`{name}` must be a tensor {rule}, got {type(value).__name__} "
                "(use torch.as_tensor)"
            )


def same_device(what: str, device: torch.device, x: Tensor) -> None:
    """Whether something is where the features ``x`` are.

    Raises:
        ValueError: it is not.
    """
    if device != x.device:
        raise ValueError(
            f"{what} must be where the features are, {x.device}, got {device} "
            f"(use .to('{x.device}'))"
        )
