"""Builds gnnlib/_C_cuda.so from csrc/ops and csrc/cuda by nvcc alone, whatever torch is installed.

torch's own CUDAExtension links libtorch_cuda, which a CPU build of torch lacks. On the stable ABI
its headers are enough: the library is compiled, and its symbols are checked, without a GPU.

GNNLIB_CUDA=1 builds it, 0 does not; unset, it is built where nvcc is found and torch is a CUDA
build. GNNLIB_CUDA_ARCH names its architectures: 90, or several as 80,90, or all. Unset, those of
the GPUs at hand, and all where there is none. The last is in it as PTX too, which newer GPUs run.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from setuptools.errors import CompileError
from torch.utils.cpp_extension import BuildExtension, include_paths, library_paths

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path("gnnlib/_C_cuda.so")
RELEASED = [75, 80, 86, 89, 90, 100, 120]
FLAGS = [
    "-std=c++20",
    "-O3",
    "--expt-relaxed-constexpr",
    "-DUSE_CUDA",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
    # Kernels for any device include csrc/cuda's headers here, by the names of csrc/cpu's.
    "--x=cu",
    *(f"-I{ROOT / 'csrc' / folder}" for folder in ("cuda", "ops")),
    *(f"-I{path}" for path in include_paths()),
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wno-psabi",
]
# libtorch.so brings in libtorch_cuda where there is one, so it stays though nothing in it is named.
# The CUDA runtime is inside, hidden, so that torch may have another version of it.
LINK = [
    "-shared",
    "-cudart=static",
    "--no-device-link",
    "-Xlinker=--no-as-needed",
    *(f"-L{path}" for path in library_paths()),
    *("-ltorch", "-ltorch_cpu", "-lc10"),
]


class BuildCuda(BuildExtension):
    """Builds the extension, and the CUDA library beside it."""

    def run(self) -> None:
        nvcc = wanted()  # first, as the extension takes a minute
        super().run()
        if nvcc is not None:
            build(nvcc, (ROOT if self.inplace else Path(self.build_lib)) / LIBRARY)


def find_nvcc() -> str | None:
    """The compiler of $CUDA_HOME, of $PATH, or where the toolkit is installed by default."""
    home = os.environ.get("CUDA_HOME")
    if home:
        return shutil.which("nvcc", path=f"{home}/bin")
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def wanted() -> str | None:
    """The compiler to build the CUDA library with, or None where it is not to be built."""
    asked = os.environ.get("GNNLIB_CUDA", "")
    if asked not in ("", "0", "1"):
        raise CompileError(f"GNNLIB_CUDA must be 0 or 1, got {asked!r}")
    if asked == "0" or (asked == "" and torch.version.cuda is None):
        return None
    nvcc = find_nvcc()
    if nvcc is None and asked == "1":
        raise CompileError(
            "GNNLIB_CUDA=1 asks for the CUDA kernels, but nvcc is not found: install the CUDA "
            "toolkit, or set CUDA_HOME to where it is"
        )
    return nvcc


def sources() -> list[Path]:
    """The kernels for any device, and those for CUDA alone."""
    return sorted([*ROOT.glob("csrc/ops/*.cpp"), *ROOT.glob("csrc/cuda/*.cu")])


def architectures(nvcc: str) -> list[int]:
    """What to compile for, ascending: 90 is compute capability 9.0."""
    asked = os.environ.get("GNNLIB_CUDA_ARCH", "")
    if asked not in ("", "all"):
        if not re.fullmatch(r"\d{2,3}(,\d{2,3})*", asked):
            raise CompileError(f"GNNLIB_CUDA_ARCH must be all, or as 90 or 80,90, got {asked!r}")
        return sorted({int(architecture) for architecture in asked.split(",")})
    if asked == "" and torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        capabilities = {torch.cuda.get_device_capability(device) for device in devices}
        return sorted(10 * major + minor for major, minor in capabilities)
    known = _output(nvcc, "--list-gpu-code").split()
    return [architecture for architecture in RELEASED if f"sm_{architecture}" in known]


def build(nvcc: str, library: Path) -> None:
    """Compile what has changed, side by side, and link it."""
    targets = architectures(nvcc)
    flags = [*FLAGS, *_generate(targets)]
    # Other flags, of which nvcc reads some from the environment, or another compiler make other objects.
    more = [os.environ.get(f"NVCC_{where}_FLAGS", "") for where in ("PREPEND", "APPEND")]
    identity = " ".join([_output(nvcc, "--version"), *flags, *more])
    folder = ROOT / "build" / "cuda" / hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(lambda source: _compile(nvcc, flags, source, folder), sources()))
    library.parent.mkdir(parents=True, exist_ok=True)
    # In two steps: a process may have the old one loaded, and its pages must stay.
    linked = folder / library.name
    _run([nvcc, *LINK, "-o", str(linked), *map(str, objects)])
    library.unlink(missing_ok=True)
    shutil.copy(linked, library)


def _generate(targets: list[int]) -> list[str]:
    names = "_".join(map(str, targets))
    code = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in targets]
    newest = f"compute_{targets[-1]}"
    return [*code, f"-gencode=arch={newest},code={newest}", f"-DGNNLIB_CUDA_ARCHITECTURES={names}"]


def _compile(nvcc: str, flags: list[str], source: Path, folder: Path) -> Path:
    built = folder / f"{source.name}.o"
    if not _is_current(built):
        built.unlink(missing_ok=True)
        depfile = str(built.with_suffix(".d"))
        _run([nvcc, *flags, "-MD", "-MF", depfile, "-c", str(source), "-o", str(built)])
    return built


def _is_current(built: Path) -> bool:
    """Whether nothing that the object was compiled from, by its depfile, is newer or gone."""
    depfile = built.with_suffix(".d")
    if not (built.exists() and depfile.exists()):
        return False
    _, _, prerequisites = depfile.read_text().replace("\\\n", " ").partition(" : ")
    paths = [Path(name) for name in shlex.split(prerequisites)]
    made = built.stat().st_mtime
    return all(path.exists() and path.stat().st_mtime <= made for path in paths)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="")  # noqa: T201  (the compiler's warnings)
    if done.returncode != 0:
        raise CompileError(f"the CUDA library does not build: {shlex.join(command)}")


def _output(nvcc: str, option: str) -> str:
    return subprocess.run([nvcc, option], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":  # the library alone, in place
    found = wanted()
    if found is not None:
        build(found, ROOT / LIBRARY)
