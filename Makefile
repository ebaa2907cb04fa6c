# raftdb: `make demo` shows a cluster at work, `make test` proves it. Both set everything up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo bench guard chaos powercut fuzz simulate test lint types layers core parts processes storms seeds clean

help:
	@echo "make demo          three real nodes on loopback do real work; Ctrl-C ends them"
	@echo "make demo ONCE=1   the same, and exits with 0 or 1"
	@echo "make test          style, types, layers and all tests"
	@echo "make simulate      runs simulated clusters under faults until one breaks a promise; Ctrl-C ends it"
	@echo "make bench         measures raftdb beside etcd and PySyncObj, a quarter of an hour (docs/benchmarks.md)"
	@echo "make guard         CPU time of the hot paths against a kept baseline, a minute"
	@echo "make chaos         faults on real nodes in network namespaces, five minutes (as root)"
	@echo "make powercut      cuts the power under real file systems two thousand times, a minute or two (as root)"
	@echo "make fuzz          lets atheris attack every parser, a minute each (FUZZ=\"--seconds 600\")"
	@echo "make clean         removes everything made here"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "raftdb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) (once; a minute or so)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check \
	  --config-settings editable_mode=compat --editable '.[test]'
	@touch $@

demo: $(READY)
	@$(BIN)/raftdb demo $(if $(ONCE),--once)

bench: $(READY)
	@$(BIN)/python -c 'import matplotlib, pysyncobj' 2>/dev/null || \
	  $(BIN)/pip install --quiet --disable-pip-version-check matplotlib pysyncobj
	@$(BIN)/python -m benchmarks $(if $(PUBLISH),--publish) $(BENCH)

guard: $(READY)
	@$(BIN)/python -m benchmarks.guard $(GUARD)

simulate: $(READY)
	@$(BIN)/python -m raftdb.simulation --forever $(SEED)

chaos: $(READY)
	@$(BIN)/python -m tests.chaos $(CHAOS)

powercut: $(READY)
	@$(BIN)/python -c 'import mfusepy' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check '.[powercut]'
	@$(BIN)/python -m tests.powercut $(POWERCUT)

fuzz: $(READY)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# The tests on real processes mostly wait, so they run beside others; what they say comes at the end. Simulated
# clusters take all the processors there are, and know no real time: they come after those that do.
test: lint types layers core
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target parts processes
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target storms seeds

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

core: $(READY)
	$(BIN)/coverage run --source=raftdb.raft -m pytest tests/raft
	$(BIN)/coverage report --fail-under=98 --skip-covered

parts: $(READY)
	+$(BIN)/python -m pytest --ignore=tests/raft --ignore=tests/integration --ignore=tests/chaos --ignore=tests/simulation

storms: $(READY)
	$(BIN)/python -m pytest tests/simulation --ignore=tests/simulation/test_run_seed.py

seeds: $(READY)
	$(BIN)/python -m pytest tests/simulation/test_run_seed.py

processes: $(READY)
	$(BIN)/python -m pytest tests/integration tests/chaos

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache .fuzz
