# Everything from a fresh clone: `make demo`, `make test`, `make checks`. Each sets up .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-all test-slow test-nightly test-lowest test-wheel checks format bench clean
.DEFAULT_GOAL := test

setup: $(READY)

# The stamp is as new as what it was installed from, so an edit of either file installs again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "conceptseg needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/conceptseg demo --out demo

# What takes seconds; `test-all` adds the tests marked `slow`.
test: $(READY)
	$(BIN)/python -m pytest -m 'not slow and not gpu'

test-all: $(READY)
	$(BIN)/python -m pytest

# The slow ones alone, each with its time.
test-slow: $(READY)
	$(BIN)/python -m pytest -m 'slow and not gpu' --durations=0

# The wheel in an empty environment, outside the clone.
test-wheel: $(READY)
	.ci/try_wheel

# The fast tests with the lowest versions that pyproject.toml allows, in an environment of their own. Needs `uv`.
LOWEST := .venv-lowest
test-lowest:
	uv venv --quiet --allow-existing --python 3.11 $(LOWEST)
	uv pip install --quiet --python $(LOWEST)/bin/python --torch-backend cpu --resolution lowest-direct -e '.[dev]'
	$(LOWEST)/bin/python -m pytest -m 'not slow and not gpu'

# What takes longer, sharded runs on CPUs among it; DeepSpeed comes with it and compiles one small part on first use.
test-nightly: $(READY)
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --no-build-isolation deepspeed==0.19.8
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not gpu' --durations=0

checks: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate --quiet src/conceptseg

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/inference_speed.py

clean:
	rm -rf $(VENV) $(LOWEST) build dist demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
