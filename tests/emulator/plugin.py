"""A pytest plugin: the tests run on the CUDA kernels, built for the CPU.

``make emulate`` builds the library and runs ``pytest -p tests.emulator.plugin``.
"""

import os

import torch

import gnnlib  # noqa: F401  (its own kernels first: the last to be registered serve)


def pytest_configure() -> None:
    torch.ops.load_library(os.environ["GNNLIB_EMULATED"])
