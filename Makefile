# Set-up, run, tests, checks. Nothing is installed twice: .venv/.installed is newer than what it was made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What pip installs as torch. PyPI has the CUDA build; TORCH=cpu takes the CPU build.
TORCH ?= torch==2.13.0
ifeq ($(TORCH),cpu)
override TORCH := torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
endif
# Where runs lie: make run RUNS=/data/runs
RUNS ?= runs
# Processes that share the tests: tests of Ray wait more than they compute, so three keep two cores busy.
JOBS ?= 3
# More of what pytest takes: make test ONLY=--last-failed
ONLY ?=

.PHONY: run test test-long test-exports test-serve test-slow chaos check docs format clean torch

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[cluster,data,dev]"
	touch $@

run: $(VENV)/.installed
	$(BIN)/mome run jobs/recipes/quickstart.yaml --runs $(RUNS)

PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ONLY)

# A file's tests stay in one process, which keeps what they share; each process computes on one thread.
test: $(VENV)/.installed
	$(PYTEST) -m "not slow and not long" --ignore tests/documents

# What watches memory, processes, a store and clusters beside it: of three at once each would wait for the others.
test-long: JOBS := 2
test-long: $(VENV)/.installed
	$(PYTEST) -m "long and not slow"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

# Twelve kills of workers, controllers, nodes and commands over a cluster of three nodes; 208, of every kind, are in
# test-slow.
chaos: $(VENV)/.installed
	$(BIN)/python tests/cluster/chaos.py --kills 12

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/test_house.py

# The site, in build/site. It stops at a broken link, at a docstring that does not fit its function, and where a notebook
# or the example package does not do what its page says.
docs: $(VENV)/.docs
	$(BIN)/python docs/figures.py --check
	$(BIN)/python docs/build.py
	$(PYTEST) -q -m "not slow" tests/documents

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

# The interface of serving, as its clients see it. Its pages are tested where chromium is installed.
test-serve: $(VENV)/.serve
	$(PYTEST) -m "not slow" tests/serve/api tests/serve/test_alone.py

$(VENV)/.serve: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[serve-test]"
	touch $@

# Exports, each in the tool that it is for.
test-exports: $(VENV)/.exports
	$(PYTEST) -m "not slow" tests/unit/exports

$(VENV)/.exports: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[export]"
	touch $@

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Print it: deploy/Dockerfile installs the same.
torch:
	@echo $(TORCH)

clean:
	rm -rf $(VENV) build *.egg-info
