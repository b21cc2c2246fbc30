"""Where tests find the GPU."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def gpu(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A GPU that nothing but the inputs tells of.

    New tensors are on the CPU by default, so that an operator that forgets its device is seen, and
    indices are not checked, as they are for no user who does not ask.
    """
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, and torch.cuda finds none")
    monkeypatch.delenv("GNNLIB_CHECK", raising=False)
    found = torch.device("cuda") if device.type == "cpu" else device
    found = torch.device(found.type, found.index or 0)
    with torch.device("cpu"), torch.cuda.device(found):
        yield found
    torch.cuda.synchronize(found)
