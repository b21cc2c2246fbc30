"""What both checkers share: collecting broken laws, comparing tensors, a torch left as found."""

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5, torch.float64: 1e-8}

# Messages of torch and PyG about themselves, which a caller running with warnings as errors can do
# nothing about. Everything else stays loud.
_FOREIGN_WARNINGS = (
    r"Sparse CSR tensor support is in beta",  # any CSR tensor
    r"Sparse CSC tensor support is in beta",  # any CSC tensor
    r"Sparse invariant checks are implicitly disabled",  # any sparse tensor
    r"Converting sparse tensor to CSR format",  # PyG on COO and CSC adjacencies
)


class Report:
    """Runs laws one by one and raises a single error that names every broken one."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.broken: list[tuple[str, Exception]] = []

    @contextlib.contextmanager
    def law(self, name: str) -> Iterator[None]:
        """Note whatever goes wrong inside as a breach of the law `name`."""
        try:
            yield
        except Exception as error:
            self.broken.append((name, error))

    def raise_if_broken(self) -> None:
        """Raise AssertionError if a law is broken, caused by the first breach."""
        if self.broken:
            lines = [f"{self.subject} breaks {len(self.broken)} law(s):"]
            lines += [f"- {name}: {_summary(error)}" for name, error in self.broken]
            raise AssertionError("\n".join(lines)) from self.broken[0][1]


def _summary(error: Exception, num_lines: int = 8) -> str:
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n    ".join(lines[:num_lines])


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """Leave the global random state and the warning filters as they were found."""
    # Of all GPUs, by name, as torch else warns that there are many; of none before CUDA is started.
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if started else []
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        for message in _FOREIGN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run on `count` threads, then go back to the number before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree to the last bit, NaN payloads and the sign of zero included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    # A clone, as a strided tensor of one element calls itself contiguous and cannot be viewed.
    flat = (t.detach().clone(memory_format=torch.contiguous_format).view(-1) for t in (a, b))
    return torch.equal(*(t.view(torch.uint8) for t in flat))


def check_close(
    actual: Tensor,
    expected: Tensor,
    what: str,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Raise AssertionError unless both agree, NaN and infinities at the same places included.

    `expected` is rounded to the dtype of `actual` first, so that both overflow alike.
    """
    tolerance = TOLERANCE.get(actual.dtype, TOLERANCE[torch.float32])
    if not (actual.is_floating_point() or actual.is_complex()):
        tolerance = 0.0
    torch.testing.assert_close(
        actual,
        expected.to(actual.dtype),
        rtol=tolerance if rtol is None else rtol,
        atol=tolerance if atol is None else atol,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )
