# Everything from a fresh clone: `make demo`, `make test`, `make checks`. Each sets up .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-all test-slow test-nightly test-lowest test-wheel fuzz kills checks docs format bench clean
.DEFAULT_GOAL := test

setup: $(READY)

# The stamp is as new as what it was installed from, so an edit of either file installs again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "conceptseg needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	# Its decoder reads our brush masks in a test. What it asks for besides, an older OpenCV with an older numpy, is not used.
	$(BIN)/python -m pip install --quiet --no-deps label-studio-sdk==2.1.2 ijson==3.6.0
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

# What takes longer, sharded runs on CPUs among it; DeepSpeed comes with it and compiles one small part on first use,
# with ninja, which is why the environment's programs have to be found.
test-nightly: export PATH := $(CURDIR)/$(BIN):$(PATH)
test-nightly: $(READY)
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt deepspeed bitsandbytes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not gpu' --durations=0

# 10⁵ inputs that nobody foresaw, and 100 kills: minutes each; what they found is kept in docs/figures, and gone on from.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py

kills: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py

checks: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate --quiet src/conceptseg

# The site, into site/; warnings are errors.
docs: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/stages.py --rounds 3 --out stages.json
	$(BIN)/python benchmarks/inference_speed.py

clean:
	rm -rf $(VENV) $(LOWEST) build dist demo site .mypy_cache .pytest_cache .ruff_cache .hypothesis
