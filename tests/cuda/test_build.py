"""What is in the CUDA library, read without a GPU. `make test` builds it where nvcc is found."""

import ctypes
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import gnnlib
from gnnlib import _cuda, _library

LIBRARY = Path(gnnlib.__file__).with_name("_C_cuda.so")
CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = [*CSRC.glob("ops/*.cpp"), *CSRC.glob("cuda/*.cu")]
TEXT = "".join(source.read_text() for source in SOURCES)

pytestmark = pytest.mark.skipif(
    not (LIBRARY.exists() and _library.AVAILABLE),
    reason="the CUDA library is not built: run `make cuda` where nvcc is found",
)


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


def undefined() -> set[str]:
    """What the library takes from others; with `@` and a version, where that has one."""
    return {line.split()[-1] for line in output("nm", "-D", "-u", LIBRARY).splitlines()}


def test_keeps_to_the_stable_abi() -> None:
    pytest.importorskip("torch_abi_audit")
    audit = "import sys; from torch_abi_audit.cli import main; sys.exit(main())"
    report = json.loads(output(sys.executable, "-c", audit, "--json", LIBRARY))
    assert report["extensions"] == []  # it is no module of Python's
    (library,) = report["bundled_libs"]
    assert library["error"] is None
    assert library["torch"]["stable"]
    assert library["torch"]["unstable_symbols"] == []
    assert library["torch"]["min_torch_version"] == "2.10.0"


def test_takes_nothing_from_cuda_nor_python() -> None:
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", LIBRARY)))
    assert {"libtorch.so", "libtorch_cpu.so"} <= needed
    assert needed <= {"libtorch.so", "libtorch_cpu.so", "libc10.so", "libstdc++.so.6"} | {
        name
        for name in needed
        if re.match(r"(libm|libgcc_s|libc|libdl|librt|libpthread|ld-)\b", name)
    }
    of_torch = re.compile("aoti_torch_|torch_")
    of_compiler = re.compile(
        "_Z[A-Z]*St|_Zdl|_Znw|_Zna|_Zda|_ZTVN10__cxxabiv1|_ITM_|__gmon_start__"
    )
    others = {name for name in undefined() if "@" not in name}
    assert {
        name for name in others if not (of_torch.match(name) or of_compiler.match(name))
    } == set()


def test_shows_nothing_of_cuda() -> None:
    # Its static runtime, found by another library of the process, would serve that one too.
    shown = {
        line.split()[-1] for line in output("nm", "-D", "--defined-only", LIBRARY).splitlines()
    }
    assert "gnnlib_cuda_version" in shown
    assert {name for name in shown if re.match("_*(cu|nv)[A-Za-z]", name)} == set()


SCRIPT = """
import ctypes, sys
import torch
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
import gnnlib
torch.ops.load_library(sys.argv[2])
names = torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")
names = [name.split("::")[1] for name in names if name.startswith("gnnlib::")]
assert all(hasattr(torch.ops.gnnlib, name) for name in names)
print(*names)
"""


def test_loads_and_registers_its_kernels(tmp_path: Path) -> None:
    # What only a CUDA build of torch has is written here, to be found in its place.
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    names = [name for name in undefined() if re.fullmatch(r"aoti_torch_\w*cuda\w*", name)]
    names = [name for name in names if not hasattr(torch_cpu, name)]
    source = "".join(f"int {name}(void) {{ return 1; }}\n" for name in names)
    stub = tmp_path / "stub.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(stub)]
    subprocess.run(command, input=source, text=True, check=True)
    registered = output(sys.executable, "-c", SCRIPT, stub, LIBRARY).split()
    assert set(registered) == set(re.findall(r'm\.impl\(\s*"(\w+)"', TEXT))


def cuobjdump(*options: str) -> str:
    """NVIDIA's reader of device code: the toolkit's, or the one on PyPI."""
    found = shutil.which("cuobjdump")
    if found is None:
        try:
            files = metadata.files("nvidia-cuda-cuobjdump") or []
        except metadata.PackageNotFoundError:
            pytest.skip("cuobjdump is not found: pip install nvidia-cuda-cuobjdump")
        found = next(str(file.locate()) for file in files if file.name == "cuobjdump")
    return output(found, *options, LIBRARY)


def symbols(kind: str) -> dict[int, set[str]]:
    """The symbols of a kind in the device code, by architecture."""
    found: dict[int, set[str]] = {}
    for section in cuobjdump("-symbols").split("Fatbin elf code:")[1:]:
        architecture = int(re.search(r"arch = sm_(\d+)", section)[1])
        names = re.findall(rf"^{kind} .* (_Z\w+)$", section.split("Fatbin ptx")[0], re.MULTILINE)
        found.setdefault(architecture, set()).update(names)
    return found


def test_every_source_is_there_for_every_architecture() -> None:
    build = _cuda.read_build(LIBRARY)
    assert build is not None
    compiled = re.findall(r"sm_(\d+)\.cubin", cuobjdump("-lelf"))
    assert sorted(map(int, compiled)) == sorted(build.architectures * len(SOURCES))
    portable = re.findall(r"sm_(\d+)\.ptx", cuobjdump("-lptx"))
    assert list(map(int, portable)) == build.architectures[-1:] * len(SOURCES)


def test_every_kernel_is_there_for_every_architecture() -> None:
    # The host's side names the kernels and device variables that it looks up when it is loaded.
    strings = output("readelf", "-p", ".rodata", LIBRARY)
    # A name may follow numbers that look like letters.
    named = set(re.findall(r"(_ZN\w+)$", strings, re.MULTILINE))
    build = _cuda.read_build(LIBRARY)
    assert build is not None
    kernels, variables = symbols("FUNC .* ENTRY"), symbols("OBJECT")
    for architecture in build.architectures:
        assert kernels[architecture] == named - variables[architecture]
    assert any(kernels.values()) or len(SOURCES) == 1  # version.cu has none
