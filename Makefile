# Everything from a fresh clone: `make demo`, `make test`. Each target sets up what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPP := $(wildcard csrc/*.cpp csrc/*.h csrc/*/*.cpp csrc/*/*.h)

.PHONY: help setup demo test lint types unit test-slow bench docs format clean
help:
	@echo "make demo       train a GCN and its cooperative twin, with pictures (minutes)"
	@echo "make test       lint, types and tests"
	@echo "make test-slow  the long tests"
	@echo "make bench      the kernel benchmark (peers: pip install -e '.[bench]' --no-build-isolation)"
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
$(VENV)/.built: $(VENV)/.tools pyproject.toml setup.py $(CPP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

setup: $(VENV)/.built

demo: setup
	$(BIN)/gnnlib demo --out runs/demo

test: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest -m 'not slow' -n 2

test-slow: setup
	$(BIN)/pytest -m slow

bench: setup
	$(BIN)/python -m benchmarks.kernels.gather_reduce

docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[docs]'
	$(BIN)/sphinx-build docs docs/_build

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf $(VENV) build *.egg-info gnnlib/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
