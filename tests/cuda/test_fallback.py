"""Where the CUDA kernels cannot run, one warning says why, and everything else works."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gnnlib
from gnnlib import _cuda, _library
from gnnlib._cuda import Build, Machine

ALL = Build(13000, [75, 80, 86, 89, 90, 100, 120])
NVML = """
typedef struct device* device;
int nvmlInit_v2(void) { return STATUS; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int* version) { return *version = 13010, 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { return *count = 2, 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device* out) {
  return *out = (device)(0x7f0000000000 + index), 0;
}
int nvmlDeviceGetCudaComputeCapability(device gpu, int* major, int* minor) {
  const int first = (unsigned long)gpu == 0x7f0000000000;
  return *major = first ? 9 : 12, *minor = first ? 0 : 1, 0;
}
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA build of torch that finds a GPU; who asks it for more ends the freedom to fork."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("starts CUDA"))
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("starts CUDA"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def compiled(source: str, to: Path, *flags: str) -> Path:
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    command = [compiler, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(to), *flags]
    subprocess.run(command, input=source, text=True, check=True)
    return to


def library(to: Path, text: str = "gnnlib CUDA 13000 sm_75_90", code: str = "") -> Path:
    return compiled(f'const char gnnlib_cuda_version[] = "{text}";\n{code}', to)


def reason(path: Path) -> str:
    with pytest.warns(UserWarning, match="^gnnlib runs on its pure-torch references") as caught:
        assert not _cuda.load(path)
    (warning,) = caught
    text = str(warning.message)
    assert "GNNLIB_CUDA=1 pip install" in text
    return text


@pytest.mark.parametrize(("cuda", "count"), [(None, 0), (None, 1), ("13.0", 0)])
def test_says_nothing_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: str | None, count: int
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert not _cuda.load(tmp_path / "missing.so")


@pytest.mark.usefixtures("gpu")
def test_a_missing_library(tmp_path: Path) -> None:
    assert "installed without CUDA kernels" in reason(tmp_path / "missing.so")


@pytest.mark.usefixtures("gpu")
def test_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_cuda, "ask_machine", lambda: Machine(13000, [90]))
    whole = library(tmp_path / "whole.so")
    assert _cuda.load(whole)
    assert str(whole) in torch.ops.loaded_libraries


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kept", [0, 3, 50, 1000, 0.5, 0.99])
def test_a_truncated_library(tmp_path: Path, kept: float) -> None:
    content = library(tmp_path / "whole.so").read_bytes()
    part = tmp_path / "part.so"
    part.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert f"is not whole, or cannot be read ({part})" in reason(part)


@pytest.mark.usefixtures("gpu")
def test_another_file(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_bytes(b"gnnlib CUDA 13000 sm_90\0" * 10)
    assert "is not whole" in reason(text)
    assert "is not whole" in reason(library(tmp_path / "other.so", "another library"))
    text.write_bytes(b"\x7fELFgnnlib CUDA 13000 sm_90\0")
    assert "is not whole" in reason(text)
    (tmp_path / "folder.so").mkdir()
    assert "cannot be read" in reason(tmp_path / "folder.so")


@pytest.mark.usefixtures("gpu")
def test_a_missing_symbol(tmp_path: Path) -> None:
    code = "void gnnlib_nowhere(); void f() { gnnlib_nowhere(); }"
    assert "undefined symbol: gnnlib_nowhere" in reason(library(tmp_path / "l.so", code=code))


@pytest.mark.usefixtures("gpu")
def test_a_library_that_cannot_run_here_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_cuda, "ask_machine", lambda: Machine(12040, [90]))
    monkeypatch.setattr(torch.ops, "load_library", pytest.fail)
    assert "built with CUDA 13.0, and the driver runs CUDA up to 12.4" in reason(
        library(tmp_path / "library.so")
    )


@pytest.mark.parametrize(
    ("runtime", "driver", "runs"),
    [
        (13000, 13000, True),
        (13000, 13010, True),
        (13010, 13000, True),  # compiled code runs on every driver of the major version
        (12080, 13000, True),
        (13000, 12090, False),
        (12080, 11080, False),
    ],
)
def test_drivers(runtime: int, driver: int, runs: bool) -> None:
    text = _cuda.mismatch(Build(runtime, [90]), Machine(driver, [90]))
    assert (text is None) == runs
    if text is not None:
        assert f"CUDA {runtime // 1000}.{runtime // 10 % 100}" in text
        assert f"up to {driver // 1000}.{driver // 10 % 100}" in text


@pytest.mark.parametrize(
    ("built", "gpus", "runs"),
    [
        ([90], [90], True),
        ([80], [86], True),  # a later GPU of the same major version
        ([86], [80], False),  # an earlier one
        ([80], [90], True),  # by its PTX
        ([120], [90], False),
        ([80, 120], [90], False),  # there is PTX of the last only
        (ALL.architectures, [75], True),
        (ALL.architectures, [70], False),
        (ALL.architectures, [103, 121, 130], True),
        ([90], [70, 90], True),  # CUDA_VISIBLE_DEVICES may choose among several
        ([90], [70, 80], False),
        ([90], [], True),  # NVML does not see what torch sees
    ],
)
def test_architectures(built: list[int], gpus: list[int], runs: bool) -> None:
    text = _cuda.mismatch(Build(13000, built), Machine(13000, gpus))
    assert (text is None) == runs
    if text is not None:
        for number in (*built, *gpus):
            assert f"sm_{number}" in text


def test_an_older_driver_compiles_no_newer_ptx() -> None:
    assert _cuda.mismatch(Build(13010, [80]), Machine(13000, [90])) is not None
    assert _cuda.mismatch(Build(13010, [80]), Machine(13010, [90])) is None


def test_asks_nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_library = ctypes.CDLL
    fake = compiled(NVML, tmp_path / "nvml.so", "-DSTATUS=0")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: open_library(str(fake)))
    assert _cuda.ask_machine() == Machine(13010, [90, 121])
    refuses = compiled(NVML, tmp_path / "refuses.so", "-DSTATUS=9")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: open_library(str(refuses)))
    assert _cuda.ask_machine() is None
    empty = compiled("", tmp_path / "empty.so")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: open_library(str(empty)))
    assert _cuda.ask_machine() is None
    monkeypatch.setattr(ctypes, "CDLL", lambda _: open_library(str(tmp_path / "missing.so")))
    assert _cuda.ask_machine() is None


SCRIPT = """
import warnings
import torch, torch_geometric
torch.version.cuda, torch.cuda.device_count = "13.0", lambda: 1
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import gnnlib
ours = [str(w.message) for w in caught if "gnnlib" in str(w.message)]
assert len(ours) == 1 and "is not whole" in ours[0], ours
assert not gnnlib._library.CUDA
x = torch.ones(3, 2)
print(gnnlib._library.AVAILABLE, gnnlib.ops.gather_reduce(x, torch.tensor([[0, 1], [2, 2]])).sum())
"""


@pytest.mark.skipif(not _library.AVAILABLE, reason="the extension is not built")
def test_gnnlib_works_beside_a_damaged_library(tmp_path: Path) -> None:
    package = tmp_path / "gnnlib"
    ignore = shutil.ignore_patterns("_C_cuda.so", "__pycache__")
    shutil.copytree(Path(gnnlib.__file__).parent, package, ignore=ignore, copy_function=os.symlink)
    (package / "_C_cuda.so").write_bytes(b"\x7fELF")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True tensor(4.)\n"
