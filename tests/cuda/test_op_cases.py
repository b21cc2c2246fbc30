"""The table of cases is sound: on the CPU every dtype gives what float64 gives."""

import pytest
import torch
from op_cases import CASES, FLOATS, Case, Size, assert_close, same_bits


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_dtype_agrees_with_float64(case: Case, device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("the CPU is what other devices are compared with")
    for size in (
        Size(30, 25, 120, 19),
        Size(40, 40, 200, 32),
        Size(9, 8, 30, 1),
        Size(30, 25, 900, 8, 700),
    ):
        problem = case.draw(size)
        assert any(t.abs().sum() > 0 for t in problem.expected)
        for dtype in FLOATS:
            found = problem.on("cpu", dtype).run()
            assert_close(found, problem.expected, f"{dtype}, {size}")
            assert same_bits(found, problem.on("cpu", dtype).run())
