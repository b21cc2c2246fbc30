"""Random numbers that depend on a seed and on what they are for, not on when they are drawn."""

import torch
from torch import Tensor


def uniform(seed: int, *keys: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), one for each tuple of keys.

    A graph gets the same ones alone and in a batch where the keys are its own: node ids counted
    from its first one, numbers of steps.

    Args:
        seed: any integer.
        keys: int64 tensors that broadcast.

    Returns:
        float64, of the shape that the keys broadcast to.
    """
    state = mixed(torch.tensor(signed(seed)))
    for key in keys:
        state = mixed(state + key)
    return (state >> 11 & (2**53 - 1)).double() * 2.0**-53


def signed(value: int) -> int:
    """Any integer as int64 has it, where it wraps."""
    return (value + 2**63) % 2**64 - 2**63


def mixed(x: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele, Lea and Flood, 2014), in wrapping int64."""
    x = x + signed(0x9E3779B97F4A7C15)
    x = (x ^ (x >> 30 & (2**34 - 1))) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27 & (2**37 - 1))) * signed(0x94D049BB133111EB)
    return x ^ (x >> 31 & (2**33 - 1))
