# Everything from a fresh clone: `make demo`, `make test`. Each target sets up what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPP := $(wildcard csrc/*.cpp csrc/*.h csrc/*/*.cpp csrc/*/*.h csrc/*/*.cu)
TEST_CPP := $(wildcard tests/*/*.h tests/*/*.cpp)
# As csrc/cuda/build_cuda.py finds it.
NVCC := $(if $(CUDA_HOME),$(wildcard $(CUDA_HOME)/bin/nvcc),$(or $(shell command -v nvcc),$(wildcard /usr/local/cuda/bin/nvcc)))
# Without a GPU it says so in words.
FINDS_GPU := nvidia-smi -L 2>/dev/null | grep -q '^GPU '
# For the GPUs at hand. Where there is none, the library is only looked into: for that, one
# architecture is enough, and code that nobody has optimised.
ifeq ($(shell $(FINDS_GPU) && echo yes),)
export GNNLIB_CUDA_ARCH ?= 90
unit-cuda: export NVCC_APPEND_FLAGS ?= $(if $(NVCC),$(shell $(NVCC) --help | grep -q Ofast-compile && echo --Ofast-compile=max))
endif

.PHONY: help setup demo cuda test lint types unit unit-cuda unit-emulated emulate test-slow sanitize sanitize-address sanitize-thread bench docs format clean
help:
	@echo "make demo       train a GCN and its cooperative twin, with pictures (minutes)"
	@echo "make cuda       build the CUDA kernels, with a GPU or without"
	@echo "make test       lint, types and tests"
	@echo "make test-slow  the long tests"
	@echo "make emulate    the operators' tests on the CUDA kernels, built for the CPU"
	@echo "make sanitize   the kernels' tests under the address, undefined behaviour and thread sanitizers"
	@echo "make bench      the benchmarks, half an hour (peers: pip install -e '.[bench]' --no-build-isolation)"
	@echo "make gpu        on a GPU: build for it, test and measure; no new work after 7 minutes (PYTHON=python3: torch as installed)"
	@echo "make gpu-sanitize  on a GPU: the operators' tests under compute-sanitizer"
	@echo "make docs       the reference, in docs/_build"
	@echo "make format     rewrite the sources in the project's format"
	@echo "make clean      remove the environment and everything built"

# torch comes first and on its own, so that the package builds against the pinned one.
$(VENV)/.tools: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gnnlib needs Python >= 3.10, this is " + sys.version) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV) || { echo "no venv: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch numpy setuptools wheel ninja
	touch $@

# Editable, so Python sources need no second install; C++ sources do.
$(VENV)/.built: $(VENV)/.tools pyproject.toml setup.py csrc/cuda/build_cuda.py $(CPP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

setup: $(VENV)/.built

demo: setup
	$(BIN)/gnnlib demo --out runs/demo

# setup does it already where torch is a CUDA build; then nothing is compiled here.
cuda: setup
	GNNLIB_CUDA=1 $(BIN)/python csrc/cuda/build_cuda.py

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP) $(TEST_CPP)

types: setup
	$(BIN)/mypy

# Two processes of one thread each: with two threads each they wait for each other.
unit: export OMP_NUM_THREADS := 1
unit: setup unit-cuda unit-emulated
	$(BIN)/pytest -m 'not slow' -n 2

# The CUDA library is built and looked into wherever nvcc is, without a GPU too.
ifdef NVCC
unit-cuda: cuda
else
unit-cuda:
	@echo "skipped: the CUDA library and tests/cuda/test_build.py, as nvcc is not found"
endif

# The tests of the operators on the CUDA kernels, built for the CPU: all of them, for a quarter of an
# hour, or every operator once in every dtype.
EMULATED := build/emulator/_C_emulated.so
QUICK := tests/cuda/test_op_cases.py
emulate unit-emulated: export GNNLIB_EMULATED := $(CURDIR)/$(EMULATED)
emulate unit-emulated: export OMP_NUM_THREADS := 1
emulate unit-emulated: setup
	$(BIN)/python tests/emulator/build.py $(EMULATED)
	$(BIN)/python -m pytest -p tests.emulator.plugin -W ignore -m 'not slow' -n 2 $(if $(filter emulate,$@),tests/cuda tests/ops tests/aggr tests/test_adjacency.py,$(QUICK))

# The kernels' tests, on a copy of gnnlib built for a sanitizer. It watches what is built so: the
# kernels, not Python and not torch, which keep memory to the end.
SANITIZED := tests/ops tests/test_adjacency.py
sanitize: sanitize-address sanitize-thread

sanitize-address sanitize-thread: export GNNLIB_CUDA := 0
sanitize-address: export GNNLIB_SANITIZE := address,undefined
sanitize-address: export ASAN_OPTIONS := detect_leaks=0
sanitize-address: PRELOAD = $(shell g++ -print-file-name=libasan.so) $(shell g++ -print-file-name=libubsan.so)
sanitize-thread: export GNNLIB_SANITIZE := thread
sanitize-thread: export TSAN_OPTIONS := halt_on_error=1:ignore_noninstrumented_modules=1
sanitize-thread: PRELOAD = $(shell g++ -print-file-name=libtsan.so)
sanitize-address sanitize-thread: setup
	rm -rf build/$@
	mkdir -p build/$@
	cp -r csrc gnnlib tests setup.py pyproject.toml README.md LICENSE build/$@
	rm -f build/$@/gnnlib/*.so
	cd build/$@ && ../../$(BIN)/python setup.py --quiet build_ext --inplace
	cd build/$@ && LD_PRELOAD="$(PRELOAD)" PYTHONPATH=. setarch -R ../../$(BIN)/python -m pytest -s -p no:cacheprovider $(SANITIZED)

test-slow: setup
	$(BIN)/pytest -m slow

# One after another, and all of them, even where a side disagrees in one.
BENCHMARKS := kernels.gather_reduce kernels.segments kernels.neighbours kernels.contextual kernels.k_hop kernels.scaling layers.accelerate layers.aggregations layers.delayed layers.directed layers.swap layers.cognn rewiring.ollivier_ricci rewiring.forman rewiring.sdrf rewiring.borf rewiring.fosr rewiring.laser
bench: setup
	failed=; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# Where PYTHON has torch with CUDA, and what tests and benchmarks import, it is used as it is, and
# nothing is installed; elsewhere .venv is.
# No work begins after GPU_SECONDS: all should end within 8 minutes, which no GPU has shown yet.
.PHONY: gpu gpu-here gpu-sanitize gpu-sanitize-here
GPU_SECONDS := 420
GPU_TEST_SECONDS := 180
GPU_OUT := benchmarks/results
GPU_TESTED := tests/cuda tests/ops tests/aggr tests/test_adjacency.py
HAS_CUDA = $(PYTHON) -c 'import sys, hypothesis, pytest, rich, torch, torch_geometric; sys.exit(torch.version.cuda is None)' 2>/dev/null
on_gpu = if ! { $(FINDS_GPU); }; then echo "make $@: nvidia-smi finds no GPU here, so nothing was done"; \
	elif $(HAS_CUDA); then $(MAKE) --no-print-directory $@-here PYTHON="$(PYTHON)"; \
	else $(MAKE) setup && $(MAKE) --no-print-directory $@-here PYTHON=$(BIN)/python; fi
gpu gpu-sanitize:
	@$(on_gpu)

BUILD_CUDA = GNNLIB_CUDA=1 $(PYTHON) setup.py --quiet build_ext --inplace
gpu-here gpu-sanitize-here: export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
gpu-here:
	@start=$$(date +%s); failed=; $(BUILD_CUDA) || exit; \
	timeout --signal=INT --kill-after=10 $(GPU_TEST_SECONDS) $(PYTHON) -m pytest $(GPU_TESTED) -m 'not slow' --device cuda -q; \
	case $$? in 0) ;; 124|137) failed=" tests (not all of them: $(GPU_TEST_SECONDS) seconds were over)" ;; *) failed=" tests" ;; esac; \
	measure() { $(PYTHON) -m benchmarks.gpu --seconds $$((start + $(GPU_SECONDS) - $$(date +%s))) --out $(GPU_OUT) "$$@"; }; \
	measure; code=$$?; while test $$code = 3; do measure --resume; code=$$?; done; \
	test $$code = 0 || failed="$$failed benchmarks"; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# Few tests, as each runs a hundred times slower. Without torch's own cache of memory, which would
# hide what lies beyond the end of a tensor.
GPU_SANITIZED := tests/cuda/test_ops.py -k 'what_float64_gives or nothing'
gpu-sanitize-here: export PYTORCH_NO_CUDA_MEMORY_CACHING := 1
gpu-sanitize-here:
	@tool=$$(command -v compute-sanitizer || command -v $(or $(CUDA_HOME),/usr/local/cuda)/bin/compute-sanitizer) || \
		{ echo "make gpu-sanitize: compute-sanitizer, which comes with the CUDA toolkit, is not found, so nothing was checked"; exit 0; }; \
	failed=; $(BUILD_CUDA) || exit; \
	for check in "memcheck --report-api-errors no" racecheck; do \
		$$tool --tool $$check --error-exitcode 1 $(PYTHON) -m pytest -p no:cacheprovider -q $(GPU_SANITIZED) --device cuda || failed="$$failed $${check%% *}"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[docs]'
	$(BIN)/sphinx-build docs docs/_build

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP) $(TEST_CPP)

clean:
	rm -rf $(VENV) build *.egg-info gnnlib/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
