# `make run` and `make test` need nothing but Python 3.11 or newer; each makes .venv on its first use.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
MINUTES ?= 30
SEEDS ?= 2000

.PHONY: run test test-slow check sweep fuzz bench papers clean help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | awk -F: '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say make PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/checks: $(VENV)/installed
	@$(PY) -m pip install --quiet --disable-pip-version-check 'ruff==0.17.6' 'mypy==2.4.1'
	@touch $@

run: $(VENV)/installed  ## seven peers and a live picture of their ring
	@$(PY) runner.py -r $(ARGS)

test: $(VENV)/installed  ## all tests, in about six minutes
	@$(PY) -m pytest $(ARGS)

test-slow: $(VENV)/installed  ## the tests that take minutes
	@$(PY) -m pytest -m slow $(ARGS)

check: $(VENV)/checks  ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

sweep: $(VENV)/installed  ## thousands of simulated rings, stores and peers that last, under faults (SEEDS=2000)
	@$(PY) -m tests.sweep --seeds $(SEEDS) $(ARGS)
	@$(PY) -m tests.sweep --store --seeds $(SEEDS) $(ARGS)
	@$(PY) -m tests.sweep --lasting --seeds $(SEEDS) $(ARGS)

fuzz: $(VENV)/installed  ## MINUTES=30 of fuzzing
	@$(PY) -m tests.fuzz --minutes $(MINUTES) $(ARGS)

$(VENV)/bench: $(VENV)/installed
	@$(PY) -m pip install --quiet --disable-pip-version-check 'simpy>=4' || echo "without simpy: its column stays empty"
	@$(PY) -m pip install --quiet --disable-pip-version-check 'kademlia>=2.2' || echo "without kademlia: its column stays empty"
	@touch $@

bench: $(VENV)/bench  ## the benchmark table, within fifteen minutes (ARGS="--only form --quick")
	@$(PY) -m benchmarks $(ARGS)

$(VENV)/lab: $(VENV)/installed
	@$(PY) -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8' || echo "without matplotlib: no plots"
	@touch $@

papers: $(VENV)/lab  ## the papers' tables at their own scale, on all cores
	@plot=$$($(PY) -c 'import matplotlib' 2>/dev/null && echo --plot); \
	for suite in chord gossip store; do \
	  PYTHONPATH=lib $(PY) -m overlay.app.program lab $$suite --scale paper --jobs 0 --csv papers-$$suite.csv \
	    $${plot:+--plot papers-$$suite.png} $(ARGS) || bad=1; \
	done; test -z "$$bad"

clean:  ## remove what was made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build lib/overlay.egg-info
