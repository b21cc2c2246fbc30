"""Builds gnnlib._C on the libtorch stable ABI and CPython's limited API.

GNNLIB_NO_EXT=1 leaves it out: gnnlib then runs on its pure-torch references.
GNNLIB_SANITIZE=address,undefined or thread builds it for that sanitizer (see `make sanitize`).
GNNLIB_CUDA and GNNLIB_CUDA_ARCH: see csrc/cuda/build_cuda.py, which builds gnnlib/_C_cuda.so.
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import setup

FLAGS = [
    "-std=c++20",
    "-O2",
    "-g0",
    "-fvisibility=hidden",
    "-Wno-psabi",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
]


def sanitizer() -> list[str]:
    name = os.environ.get("GNNLIB_SANITIZE")
    if not name:
        return []
    # One instruction set, whose registers reach further than the baseline's: all are one source,
    # and a sanitizer makes the compiler slow.
    only = ["-O1", "-mavx2", "-mfma"] if platform.machine() == "x86_64" else ["-O1"]
    return [f"-fsanitize={name}", "-fno-sanitize-recover=all", "-g1", *only]


def extensions() -> dict:
    if os.environ.get("GNNLIB_NO_EXT") == "1":
        return {}
    from torch.utils.cpp_extension import CppExtension

    here = Path(__file__).parent
    sys.path.insert(0, str(here / "csrc" / "cuda"))
    from build_cuda import BuildCuda

    sources = [
        "csrc/library.cpp",
        *(
            str(p.relative_to(here))
            for room in ("ops", "cpu")
            for p in sorted(here.glob(f"csrc/{room}/*.cpp"))
        ),
    ]
    return {
        "ext_modules": [
            CppExtension(
                "gnnlib._C",
                sources,
                depends=[str(p.relative_to(here)) for p in here.glob("csrc/**/*.h")],
                include_dirs=[str(here / "csrc/cpu"), str(here / "csrc/ops")],
                extra_compile_args=FLAGS + sanitizer(),
                extra_link_args=sanitizer(),
                py_limited_api=True,
            )
        ],
        "cmdclass": {"build_ext": BuildCuda},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


setup(**extensions())
