"""What all tests share: the device they run on, and PyG's convs as PyG has them."""

import os
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch_geometric.nn import GraphConv, SAGEConv

# PyG writes a conv class's `propagate` for the first of its objects. If that one has an aggregation
# that PyG cannot fuse, as one of ours, no later one of the class takes a sparse matrix.
for conv in (SAGEConv, GraphConv):
    conv(1, 1)

# The tests that run unchanged on another device; the others know the CPU alone.
ON_ANY_DEVICE = ("tests/ops/", "tests/aggr/", "tests/cuda/", "tests/test_adjacency.py")


class DrawnOnTheCPU(TorchFunctionMode):
    """Numbers of a generator of the CPU are drawn there, and then moved: the same everywhere."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawn = func in (torch.rand, torch.randn, torch.randint, torch.randperm)
        generator = kwargs.get("generator") if drawn else None
        if generator is None or kwargs.get("device") is not None:
            return func(*args, **kwargs)
        here = kwargs | {"device": generator.device}
        return func(*args, **here).to(torch.get_default_device())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        type=torch.device,
        default=torch.device("cpu"),
        help="where the tests of operators run: cpu, cuda, cuda:1",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have all that tests make without saying where, at import or when run, made on the device."""
    device = config.getoption("--device")
    if device.type == "cpu":
        return
    if device.type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(f"--device {device} needs a GPU, and torch.cuda finds none")
    os.environ["GNNLIB_CHECK"] = "1"  # so that a bad index is an IndexError there too
    torch.set_default_device(device)
    DrawnOnTheCPU().__enter__()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device = config.getoption("--device")
    if device.type == "cpu":
        return
    for item in items:
        if not item.nodeid.startswith(ON_ANY_DEVICE):
            item.add_marker(pytest.mark.skip(reason="knows the CPU alone"))
        for mark in item.iter_markers("cpu_only"):
            item.add_marker(pytest.mark.skip(reason=f"of the CPU alone: {mark.args[0]}"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """That of ``--device``."""
    found: torch.device = request.config.getoption("--device")
    return found
