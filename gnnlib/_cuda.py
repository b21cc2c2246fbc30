"""Whether the CUDA library is loaded, and if not, why not.

Loading it registers its kernels, and it is then too late to find that they cannot run here. So what
the library was built for is read from its file, and what the machine has is asked of NVML, which
unlike CUDA leaves a process free to fork.
"""

import ctypes
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch


class Build(NamedTuple):
    """What a library was built with and for."""

    runtime: int  # CUDA's version, 1000 * major + 10 * minor
    architectures: list[int]  # ascending; of the last there is PTX, too


class Machine(NamedTuple):
    """What NVML says of the machine."""

    driver: int  # the newest CUDA that it runs
    capabilities: list[int]


def load(library: Path) -> bool:
    """Load the CUDA kernels where there is a GPU, or say in one warning why they do not run."""
    # Not `is_available`, which starts CUDA, so that no forked process could use it any more.
    if torch.version.cuda is None or torch.cuda.device_count() == 0:
        return False
    reason = _load(library)
    if reason is None:
        return True
    warnings.warn(
        f"gnnlib runs on its pure-torch references on the GPU: {reason}. Build the kernels where "
        "nvcc is found: GNNLIB_CUDA=1 pip install --no-build-isolation --no-deps --force-reinstall "
        "--no-binary gnnlib gnnlib (in a clone: the same with . for the last three words)",
        stacklevel=3,
    )
    return False


def _load(library: Path) -> str | None:
    """Load the library, or say why not."""
    if not library.exists():
        return "it was installed without CUDA kernels"
    build = read_build(library)
    if build is None:
        return f"its CUDA library is not whole, or cannot be read ({library})"
    machine = ask_machine()
    reason = None if machine is None else mismatch(build, machine)
    if reason is None:
        try:
            # It has no types.
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError as error:
            reason = f"its CUDA library does not load ({error.__cause__ or error})"
    return reason


def read_build(library: Path) -> Build | None:
    """What the library says of itself (csrc/cuda/version.cu), or None if its file is damaged."""
    try:
        content = library.read_bytes()
    except OSError:  # as where another user installed it for themselves
        return None
    found = re.search(rb"gnnlib CUDA (\d+) sm_([\d_]+)\0", content)
    if found is None or content[:4] != b"\x7fELF" or len(content) < _elf_size(content):
        return None
    return Build(int(found[1]), [int(architecture) for architecture in found[2].split(b"_")])


def _elf_size(content: bytes) -> int:
    if len(content) < 0x40:
        return 0x40  # the header alone
    # The section headers come last. The loader maps a file that is shorter, and crashes in it.
    (offset,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    return int(offset + size * count)


def mismatch(build: Build, machine: Machine) -> str | None:
    """Why a library that was built so cannot run on this machine, or None if it can."""
    runtime, driver = build.runtime, machine.driver
    if driver // 1000 < runtime // 1000:
        return (
            f"its CUDA library was built with CUDA {_dotted(runtime)}, and the driver runs CUDA up "
            f"to {_dotted(driver)} (update the driver, or build with an older CUDA)"
        )
    gpus = machine.capabilities
    if not gpus or any(_runs_on(gpu, build, driver) for gpu in gpus):
        return None
    built, here = _architectures(build.architectures), _architectures(gpus)
    return f"its CUDA library is for {built}, and the GPU is {here}"


def _runs_on(gpu: int, build: Build, driver: int) -> bool:
    # Code runs on later GPUs of its major version; PTX on all later ones, if the driver knows it.
    newest = build.architectures[-1]
    compiled = any(sm // 10 == gpu // 10 and sm <= gpu for sm in build.architectures)
    return compiled or (newest <= gpu and driver >= build.runtime)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _architectures(numbers: list[int]) -> str:
    return ", ".join(f"sm_{number}" for number in sorted(set(numbers)))


def ask_machine() -> Machine | None:
    """The driver and the GPUs of this machine, or None where NVML does not tell."""
    driver, count = ctypes.c_int(), ctypes.c_uint()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        _call(nvml.nvmlInit_v2)
        _call(nvml.nvmlSystemGetCudaDriverVersion_v2, ctypes.byref(driver))
        _call(nvml.nvmlDeviceGetCount_v2, ctypes.byref(count))
        capabilities = [_capability(nvml, index) for index in range(count.value)]
        _call(nvml.nvmlShutdown)
    except (OSError, AttributeError):  # not installed, older than these functions, or refused
        return None
    return Machine(driver.value, capabilities)


def _capability(nvml: ctypes.CDLL, index: int) -> int:
    device, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    _call(nvml.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(index), ctypes.byref(device))
    function = nvml.nvmlDeviceGetCudaComputeCapability
    _call(function, device, ctypes.byref(major), ctypes.byref(minor))
    return 10 * major.value + minor.value


def _call(function: Callable[..., int], *args: object) -> None:
    status = function(*args)
    if status != 0:
        raise OSError(f"NVML error {status}")
