"""When the CUDA library is built, for which GPUs, and which of its sources are compiled again."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from setuptools import Distribution
from setuptools.errors import CompileError

NVCC = """#!/bin/sh
case $1 in
  --version) echo "nvcc 12.4"; exit ;;
  --list-gpu-code) echo "sm_75 sm_80 sm_87 sm_90"; exit ;;
esac
echo "$*" >> "$(dirname "$0")/log"
case $* in *broken.cu*) echo "broken.cu(1): error"; exit 1 ;; esac
while [ $# -gt 0 ]; do
  case $1 in -o) echo built > "$2" ;; -MF) dep=$2 ;; -c) source=$2 ;; esac
  shift
done
test -z "$source" && exit
printf 'x.o : %s \\\\\\n  %s\\n' "$source" "$(dirname "$source")/shared.h" > "$dep"
"""


@pytest.fixture
def build_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The build of two sources, each with a header, with an nvcc that writes down its calls."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "csrc" / "cuda"))
    module = importlib.import_module("build_cuda")
    for name in ("GNNLIB_CUDA", "GNNLIB_CUDA_ARCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("ops/one.cpp", "ops/shared.h", "cuda/two.cu", "cuda/shared.h"):
        path = tmp_path / "csrc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1, 1))
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text(NVCC)
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    return module


def calls(root: Path) -> list[str]:
    """What nvcc was called for since the last look, but for the one link."""
    log = root / "bin" / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    compiled = [line.split(" -c ")[1].split()[0] for line in lines if " -c " in line]
    assert ["-shared" in line for line in lines] == [False] * len(compiled) + [True]
    return sorted(Path(name).stem for name in compiled)


@pytest.mark.parametrize(
    ("asked", "cuda", "found", "built"),
    [
        ("", None, True, False),
        ("", "12.8", True, True),
        ("", "12.8", False, False),
        ("0", "12.8", True, False),
        ("1", None, True, True),
        ("1", "12.8", True, True),
    ],
)
def test_when(
    build_cuda: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: str,
    cuda: str | None,
    found: bool,
    built: bool,
) -> None:
    monkeypatch.setenv("GNNLIB_CUDA", asked)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    if not found:
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "elsewhere"))
    assert build_cuda.wanted() == (str(tmp_path / "bin" / "nvcc") if built else None)


def test_says_what_is_missing(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GNNLIB_CUDA", "1")
    with pytest.raises(CompileError, match="nvcc is not found: install the CUDA toolkit, or set"):
        build_cuda.wanted()
    monkeypatch.setenv("GNNLIB_CUDA", "yes")
    with pytest.raises(CompileError, match="GNNLIB_CUDA must be 0 or 1, got 'yes'"):
        build_cuda.wanted()


@pytest.mark.parametrize(
    ("asked", "gpus", "found"),
    [
        ("90", [(8, 0)], [90]),
        ("90,80,90", [], [80, 90]),
        ("", [(8, 7), (9, 0), (8, 7)], [87, 90]),
        ("", [(8, 6), (12, 0)], [80, 90]),  # by what this nvcc knows: the last is PTX, too
        ("", [(7, 0), (9, 0)], [90]),
        ("", [], [75, 80, 90]),  # the released ones that this nvcc knows
        ("all", [(8, 6)], [75, 80, 90]),
    ],
)
def test_for_which(
    build_cuda: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: str,
    gpus: list[tuple[int, int]],
    found: list[int],
) -> None:
    monkeypatch.setenv("GNNLIB_CUDA_ARCH", asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpus[device])
    assert build_cuda.architectures(str(tmp_path / "bin" / "nvcc")) == found


@pytest.mark.parametrize("asked", ["sm_90", "9.0", "90;80", "native", "90,"])
def test_bad_architectures(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("GNNLIB_CUDA_ARCH", asked)
    with pytest.raises(CompileError, match=r"must be all, or as 90 or 80,90, got '"):
        build_cuda.architectures(build_cuda.find_nvcc())


def test_architectures_that_nvcc_does_not_know(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = build_cuda.find_nvcc()
    monkeypatch.setenv("GNNLIB_CUDA_ARCH", "80,100")
    with pytest.raises(CompileError, match=r"ARCH=80,100, but .* compiles for 75, 80, 87, 90$"):
        build_cuda.architectures(nvcc)
    monkeypatch.delenv("GNNLIB_CUDA_ARCH")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    with pytest.raises(CompileError, match=r"the GPU is 70, but .* for 75, .* GNNLIB_CUDA=0"):
        build_cuda.architectures(nvcc)


@pytest.mark.parametrize("jobs", ["", "0", "1", "many"])
def test_compiles_with_any_number_of_jobs(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: str
) -> None:
    monkeypatch.setenv("MAX_JOBS", jobs)
    build_cuda.build(build_cuda.find_nvcc(), [80], tmp_path / "library.so")
    assert calls(tmp_path) == ["one", "two"]


def test_leaves_no_library_of_an_earlier_build(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "gnnlib" / "_C_cuda.so"
    command = build_cuda.BuildCuda(Distribution({"ext_modules": []}))
    command.inplace = True
    command.ensure_finalized()
    monkeypatch.setenv("GNNLIB_CUDA_ARCH", "80")
    for asked in ("1", "0"):
        monkeypatch.setenv("GNNLIB_CUDA", asked)
        command.run()
        assert library.exists() == (asked == "1")


def test_compiles_what_has_changed(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nvcc, library = str(tmp_path / "bin" / "nvcc"), tmp_path / "gnnlib" / "_C_cuda.so"

    def build(architecture: int = 80) -> list[str]:
        build_cuda.build(nvcc, [architecture], library)
        assert library.read_text() == "built\n"
        return calls(tmp_path)

    assert build() == ["one", "two"]
    assert build() == []
    os.utime(tmp_path / "csrc" / "cuda" / "two.cu")
    assert build() == ["two"]
    os.utime(tmp_path / "csrc" / "cuda" / "shared.h", (2**33, 2**33))
    assert build() == ["two"]
    os.utime(tmp_path / "csrc" / "cuda" / "shared.h", (1, 1))
    (tmp_path / "csrc" / "cuda" / "three.cu").touch()
    assert build() == ["three"]
    assert build(90) == ["one", "three", "two"]
    (tmp_path / "csrc" / "cuda" / "three.cu").unlink()
    assert build(90) == []
    monkeypatch.setattr(torch, "__version__", "3.0")
    assert build(90) == ["one", "two"]


def test_the_flags_name_every_architecture(build_cuda: ModuleType, tmp_path: Path) -> None:
    build_cuda.build(build_cuda.find_nvcc(), [80, 90], tmp_path / "library.so")
    line = next(
        line for line in (tmp_path / "bin" / "log").read_text().splitlines() if "-c" in line
    )
    assert "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90 " in line
    assert "-gencode=arch=compute_90,code=compute_90 " in line
    assert "compute_80,code=compute_80" not in line
    assert "-DGNNLIB_CUDA_ARCHITECTURES=80_90 " in line


def test_an_error_leaves_the_library(
    build_cuda: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library.so"
    library.write_text("before")
    (tmp_path / "csrc" / "cuda" / "broken.cu").touch()
    for _ in range(2):  # it is no more current the second time
        with pytest.raises(CompileError, match=r"does not build: .*broken\.cu"):
            build_cuda.build(build_cuda.find_nvcc(), [80], library)
        assert "broken.cu(1): error" in capfd.readouterr().out
    assert library.read_text() == "before"
