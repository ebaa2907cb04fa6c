# raftdb: `make demo` shows a cluster at work, `make test` proves it. Both set everything up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PRODUCT := $(VENV)/.product-$(notdir $(PYTHON))
READY := $(VENV)/.ready-$(notdir $(PYTHON))
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: help demo docs changelog bench guard chaos powercut fuzz simulate test lint types layers pages \
	core parts processes storms seeds clean

help:
	@echo "make demo          three real nodes on loopback do real work; Ctrl-C ends them"
	@echo "make demo ONCE=1   the same, and exits with 0 or 1"
	@echo "make test          style, types, layers, documents and all tests (PYTHON=python3.12: on another one)"
	@echo "make docs          the documentation site on 127.0.0.1:8000; Ctrl-C ends it"
	@echo "make changelog     what the next release will say (WRITE=1: into CHANGELOG.md)"
	@echo "make simulate      runs simulated clusters under faults until one breaks a promise; Ctrl-C ends it"
	@echo "make bench         measures raftdb beside etcd and PySyncObj, a quarter of an hour (docs/benchmarks.md)"
	@echo "make guard         CPU time of the hot paths against a kept baseline, a minute"
	@echo "make chaos         faults on real nodes in network namespaces, five minutes (as root)"
	@echo "make powercut      cuts the power under real file systems two thousand times, a minute or two (as root)"
	@echo "make fuzz          lets atheris attack every parser, a minute each (FUZZ=\"--seconds 600\")"
	@echo "make clean         removes everything made here"

# The product alone: what a demonstration needs. A virtual environment of another Python is made anew.
$(PRODUCT): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "raftdb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) (once; half a minute or so)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --config-settings editable_mode=compat --editable .
	@touch $@

# What the tests need besides.
$(READY): $(PRODUCT)
	@echo "adding what the tests need (once; half a minute or so)"
	@$(PIP) --config-settings editable_mode=compat --editable '.[test,docs]'
	@touch $@

demo: $(PRODUCT)
	@$(BIN)/raftdb demo $(if $(ONCE),--once)

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict --dev-addr 127.0.0.1:8000

changelog: $(READY)
	@$(BIN)/towncrier build --version "$$($(BIN)/python -c 'import raftdb; print(raftdb.__version__)')" \
	  $(if $(WRITE),--yes,--draft)

bench: $(READY)
	@$(BIN)/python -c 'import matplotlib, pysyncobj' 2>/dev/null || $(PIP) matplotlib pysyncobj
	@$(BIN)/python -m benchmarks $(if $(PUBLISH),--publish) $(BENCH)

guard: $(READY)
	@$(BIN)/python -m benchmarks.guard $(GUARD)

simulate: $(READY)
	@$(BIN)/python -m raftdb.simulation --forever $(SEED)

chaos: $(READY)
	@$(BIN)/python -m tests.chaos $(CHAOS)

powercut: $(READY)
	@$(BIN)/python -c 'import mfusepy' 2>/dev/null || $(PIP) '.[powercut]'
	@$(BIN)/python -m tests.powercut $(POWERCUT)

fuzz: $(READY)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# The tests on real processes mostly wait, so they run beside others; what they say comes at the end. Simulated
# clusters take all the processors there are, and know no real time: they come after those that do.
test: lint types layers pages core
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target parts processes
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target storms seeds

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

pages: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/towncrier build --draft --version next >build/changelog.md

core: $(READY)
	$(BIN)/coverage run --source=raftdb.raft -m pytest tests/raft
	$(BIN)/coverage report --fail-under=98 --skip-covered

parts: $(READY)
	$(BIN)/python -m pytest --ignore=tests/raft --ignore=tests/integration --ignore=tests/chaos --ignore=tests/simulation

storms: $(READY)
	$(BIN)/python -m pytest tests/simulation --ignore=tests/simulation/test_run_seed.py

seeds: $(READY)
	$(BIN)/python -m pytest tests/simulation/test_run_seed.py

processes: $(READY)
	$(BIN)/python -m pytest tests/integration tests/chaos

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .import_linter_cache .fuzz
