"""Every operator on a GPU: the numbers of float64, the same bits, wherever and however it runs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import CASES, FLOATS, Case, Placed, Size, assert_close, same_bits
from torch import Tensor

from gnnlib import Adjacency

SIZES = [Size(30, 25, 120, 19), Size(40, 40, 200, 128), Size(9, 8, 30, 1), Size(300, 200, 4000, 4)]
HUB = Size(300, 200, 101_000, 20, hub=100_000)
PLAIN = SIZES[0]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
capturable = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.planned], ids=lambda case: case.name
)


@every_case
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gives_what_float64_gives_on_the_cpu(
    case: Case, dtype: torch.dtype, gpu: torch.device
) -> None:
    for size in SIZES:
        problem = case.draw(size)
        found = problem.on(gpu, dtype).run()
        assert all(t.device == gpu for t in found)
        assert_close(found, problem.expected, str(size))


@every_case
def test_a_hub_among_short_rows(case: Case, gpu: torch.device) -> None:
    if case.factors:
        pytest.skip("a product of so many numbers is beyond every dtype")
    if case.planned:
        pytest.skip("a recurrence of so many steps is another test's")
    problem = case.draw(HUB)
    for dtype in (torch.float32, torch.bfloat16):
        assert_close(problem.on(gpu, dtype).run(), problem.expected, str(dtype))


@every_case
@pytest.mark.parametrize(
    "size",
    [
        Size(0, 0, 0, 3),
        Size(4, 5, 0, 3),  # no edges
        Size(0, 4, 0, 3),
        Size(4, 0, 0, 3),
        Size(4, 5, 9, 0),  # no columns
    ],
    ids=str,
)
def test_nothing_is_no_launch(case: Case, size: Size, gpu: torch.device) -> None:
    problem = case.draw(size)
    for dtype in (torch.float32, torch.float16):
        assert_close(problem.on(gpu, dtype).run(), problem.expected, str(dtype))
    torch.cuda.synchronize()


# The same bits ----------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_second_run_gives_the_same_bits(
    case: Case, dtype: torch.dtype, gpu: torch.device
) -> None:
    for size in (PLAIN, HUB if not case.planned else SIZES[-1]):
        placed = case.draw(size).on(gpu, dtype)
        first = placed.run()
        assert same_bits(first, placed.run())
        # Beside work that takes the processors at other times.
        other, noise = torch.cuda.Stream(gpu), torch.ones(1024, 1024, device=gpu)
        other.wait_stream(torch.cuda.current_stream(gpu))
        with torch.cuda.stream(other):
            for _ in range(20):
                noise = noise @ noise * 1e-3
        assert same_bits(first, placed.run())
        torch.cuda.synchronize(gpu)


@every_case
def test_does_not_depend_on_what_memory_held(case: Case, gpu: torch.device) -> None:
    for size in (PLAIN, Size(50, 400, 90, 19)):  # where many nodes have no edges
        placed = case.draw(size).on(gpu, torch.float32)
        first = placed.run()
        for value in (float("nan"), -1e30):
            _fill_what_is_free(gpu, value)
            assert same_bits(first, placed.run())


def _fill_what_is_free(gpu: torch.device, value: float) -> None:
    """Leave a value in memory that the next tensors are made of, small ones and large ones."""
    blocks = [torch.full((n,), value, device=gpu) for n in (1 << 24, *[1 << 10] * 300)]
    torch.cuda.synchronize(gpu)
    del blocks


# Streams, devices, graphs -----------------------------------------------------------------------


@every_case
def test_runs_on_the_current_stream(case: Case, gpu: torch.device) -> None:
    problem = case.draw(PLAIN)
    placed, stream = problem.on(gpu, torch.float32), torch.cuda.Stream(gpu)
    inputs = {name: t.detach().clone() for name, t in placed.inputs.items()}
    torch.cuda.synchronize(gpu)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # a kernel of another stream would see the zeros
        late = {name: torch.zeros_like(t).copy_(t).requires_grad_() for name, t in inputs.items()}
        found = Placed(case, placed.adj, late).run()
    stream.synchronize()
    assert_close(found, problem.expected)


@every_case
def test_runs_on_a_second_device(case: Case, gpu: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a second GPU")
    second = torch.device("cuda", 1 if gpu.index in (0, None) else 0)
    problem = case.draw(PLAIN)
    found = problem.on(second, torch.float32).run()  # the current device is the first
    assert all(t.device == second for t in found)
    assert_close(found, problem.expected)


@capturable
def test_a_captured_graph_computes_with_new_inputs(case: Case, gpu: torch.device) -> None:
    problem = case.draw(PLAIN)
    placed = problem.on(gpu, torch.float32)
    _warm_up(placed, gpu)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = placed.run()
    for seed in (1, 2):
        other = case.draw(PLAIN, seed)
        with torch.no_grad():
            for name, t in placed.inputs.items():
                t.copy_(other.inputs[name])
        graph.replay()
        torch.cuda.synchronize(gpu)
        # The other inputs on the graph that was captured.
        cpu = {name: t.clone().requires_grad_() for name, t in other.inputs.items()}
        adj = Adjacency.of(problem.edge_index, (PLAIN.num_src, PLAIN.num_dst))
        assert_close(found, Placed(case, adj, cpu).run())


def _warm_up(placed: Placed, gpu: torch.device) -> None:
    stream = torch.cuda.Stream(gpu)
    stream.wait_stream(torch.cuda.current_stream(gpu))
    with torch.cuda.stream(stream):
        for _ in range(3):
            placed.run()
    torch.cuda.current_stream(gpu).wait_stream(stream)


# Layouts ----------------------------------------------------------------------------------------


def _transposed(t: Tensor) -> Tensor:
    return t.mT.contiguous().mT if t.dim() > 1 else t.clone()


def _strided(t: Tensor) -> Tensor:
    # What lies between the elements must not be read.
    wide = t.new_full((*t.shape, 2), float("nan"))
    wide[..., 1] = t
    return wide[..., 1]


def _misaligned(t: Tensor) -> Tensor:
    storage = t.new_full((t.numel() + 1,), float("nan"))
    storage[1:] = t.reshape(-1)
    return storage[1:].view(t.shape)


@every_case
@pytest.mark.parametrize("change", [_transposed, _strided, _misaligned])
def test_the_layout_does_not_matter(
    case: Case, change: Callable[[Tensor], Tensor], gpu: torch.device
) -> None:
    for size in (PLAIN, SIZES[1]):
        problem = case.draw(size)
        for dtype in (torch.float32, torch.bfloat16):
            placed = problem.on(gpu, dtype)
            inputs = {name: change(t.detach()) for name, t in placed.inputs.items()}
            leaves = {name: t.requires_grad_() for name, t in inputs.items()}
            assert_close(Placed(case, placed.adj, leaves).run(), problem.expected, str(dtype))


# Compilers --------------------------------------------------------------------------------------


@capturable
def test_compiles_in_one_piece(case: Case, gpu: torch.device) -> None:
    torch._dynamo.reset()

    def call(adj: Adjacency, **inputs: Tensor) -> Any:
        return case.call(adj, **inputs)

    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (PLAIN, Size(31, 27, 133, 19)):
        problem = case.draw(size)
        placed = problem.on(gpu, torch.float32)
        assert_close(placed.run(compiled), problem.expected, str(size))
