"""A pytest plugin: the tests run on the CUDA kernels, built for the CPU.

``make emulate`` builds the library and runs ``pytest -p tests.emulator.plugin``.
"""

import os

import pytest
import torch

import gnnlib  # noqa: F401  (its own kernels first: the last to be registered serve)


def pytest_configure() -> None:
    os.environ["GNNLIB_CHECK"] = "1"  # as for any device: so that a bad index is an IndexError
    torch.ops.load_library(os.environ["GNNLIB_EMULATED"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("cpu_only"):
            item.add_marker(pytest.mark.skip(reason=f"of the CPU alone: {mark.args[0]}"))
