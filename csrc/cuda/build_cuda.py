"""Builds gnnlib/_C_cuda.so from csrc/ops and csrc/cuda by nvcc alone, whatever torch is installed.

torch's own CUDAExtension links libtorch_cuda, which a CPU build of torch lacks. On the stable ABI
its headers are enough: the library is compiled, and its symbols are checked, without a GPU.

GNNLIB_CUDA=1 builds it, 0 does not; unset, it is built where nvcc is found and torch is a CUDA
build. GNNLIB_CUDA_ARCH names its architectures: 90, or several as 80,90, or all. Unset, those of
the GPUs at hand, and all where there is none. The last is in it as PTX too, which newer GPUs run;
so one that nvcc is too old for has what nvcc knows best.
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
        targets = None if nvcc is None else architectures(nvcc)
        super().run()
        library = (ROOT if self.inplace else Path(self.build_lib)) / LIBRARY
        if nvcc is None or targets is None:
            library.unlink(missing_ok=True)  # an earlier one, for the schemas of another extension
        else:
            build(nvcc, targets, library)


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
    known = sorted(map(int, re.findall(r"\bsm_(\d+)\b", _output(nvcc, "--list-gpu-code"))))
    knows = f"{nvcc} compiles for {', '.join(map(str, known))}"
    if asked not in ("", "all"):
        if not re.fullmatch(r"\d{2,3}(,\d{2,3})*", asked):
            raise CompileError(f"GNNLIB_CUDA_ARCH must be all, or as 90 or 80,90, got {asked!r}")
        targets = {int(architecture) for architecture in asked.split(",")}
        if not targets <= set(known):
            raise CompileError(f"GNNLIB_CUDA_ARCH={asked}, but {knows}")
        return sorted(targets)
    if asked == "" and torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        capabilities = {torch.cuda.get_device_capability(device) for device in devices}
        gpus = sorted(10 * major + minor for major, minor in capabilities)
        targets = {max(k for k in known if k <= gpu) for gpu in gpus if gpu >= known[0]}
        if not targets:
            raise CompileError(
                f"the GPU is {gpus[-1]}, but {knows}: install an older CUDA toolkit, or set "
                "GNNLIB_CUDA=0 to go without the CUDA kernels"
            )
        return sorted(targets)
    return [architecture for architecture in RELEASED if architecture in known]


def build(nvcc: str, targets: list[int], library: Path) -> None:
    """Compile what has changed for these architectures, side by side, and link it."""
    flags = [*FLAGS, *_generate(targets)]
    # Other flags, of which nvcc reads some from the environment, another compiler or other headers
    # of torch, which may bear the date of their release, make other objects.
    more = [os.environ.get(f"NVCC_{it}", "") for it in ("PREPEND_FLAGS", "APPEND_FLAGS", "CCBIN")]
    identity = " ".join([_output(nvcc, "--version"), torch.__version__, *flags, *more])
    folder = ROOT / "build" / "cuda" / hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_jobs()) as pool:
        objects = list(pool.map(lambda source: _compile(nvcc, flags, source, folder), sources()))
    library.parent.mkdir(parents=True, exist_ok=True)
    # In two steps: a process may have the old one loaded, and its pages must stay.
    linked = folder / library.name
    _run([nvcc, *LINK, "-o", str(linked), *map(str, objects)])
    library.unlink(missing_ok=True)
    shutil.copy(linked, library)


def _jobs() -> int:
    asked = os.environ.get("MAX_JOBS", "")  # as torch reads it: what is no number says nothing
    return int(asked) if asked.isdecimal() and int(asked) > 0 else os.cpu_count() or 1


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
        build(found, architectures(found), ROOT / LIBRARY)
