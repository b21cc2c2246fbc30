"""Builds the CUDA kernels for the CPU, by a C++ compiler that takes cuda_runtime.h from here.

``python tests/emulator/build.py OUT`` writes OUT, a library that registers the kernels of csrc/ops
as csrc/cuda has them, in the place of the CPU's own. What did not change is not compiled again.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch.utils.cpp_extension import include_paths, library_paths

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDERS = (HERE, ROOT / "csrc/cuda", ROOT / "csrc/ops")
FLAGS = [
    *("-x", "c++", "-std=c++20", "-O0", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall"),
    *("-Wno-psabi", "-Wno-unknown-pragmas", "-DUSE_CUDA", "-DGNNLIB_DISPATCH_KEY=CPU"),
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
]


def _compile(source: Path, out: Path, newest: float) -> Path:
    made = out.parent / f"{source.name}.o"
    if not made.exists() or made.stat().st_mtime < max(newest, source.stat().st_mtime):
        folders = [f"-I{path}" for path in (*FOLDERS, *include_paths())]
        compiler = os.environ.get("CXX", "g++")
        subprocess.run([compiler, *FLAGS, *folders, "-c", source, "-o", made], check=True)
    return made


def build(out: Path) -> None:
    """Write the library ``out``, and its objects beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    headers = [path for folder in (*FOLDERS, ROOT / "csrc") for path in folder.glob("*.h")]
    newest = max(path.stat().st_mtime for path in headers)
    sources = [*ROOT.glob("csrc/ops/*.cpp"), HERE / "device.cpp"]
    sources.sort(key=lambda path: -path.stat().st_size)
    jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(lambda source: _compile(source, out, newest), sources))
    libraries = [f"-L{path}" for path in library_paths()]
    subprocess.run(
        ["g++", "-shared", *objects, *libraries, "-ltorch", "-ltorch_cpu", "-lc10", "-o", out],
        check=True,
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
