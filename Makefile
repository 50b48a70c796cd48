# What a newcomer types. `make` alone lists the targets; ARGS passes options on: make test ARGS="-k splits".

PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all lint format results performance reliability choices serving clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

quickstart: $(VENV)/.installed ## install into .venv, run flags/quickstart.flags, predict from the export
	$(PY) run.py --flagfile=flags/quickstart.flags $(ARGS)
	$(PY) run.py --phase=predict --run_dir=runs/quickstart --inputs=runs/quickstart/samples

test: ## run the tests, with one network a family
test-all: ## run every test, with all networks
test-all: TIER := --all
test test-all: $(VENV)/.installed-dev
	$(PY) -m pytest -q -n 2 --dist worksteal $(TIER) $(ARGS)

lint: $(VENV)/.installed-dev ## check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.installed-dev ## fix style and formatting in place
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

results: $(VENV)/.installed ## make docs/results.md anew
	$(PY) -m benchmarks.results $(ARGS)

performance: $(VENV)/.installed ## make docs/performance.md anew
	$(PY) -m benchmarks.performance $(ARGS)

reliability: $(VENV)/.installed ## make docs/reliability.md anew
	$(PY) -m benchmarks.reliability $(ARGS)

choices: $(VENV)/.installed ## make docs/choices.md anew
	$(PY) -m benchmarks.choices $(ARGS)

serving: $(VENV)/.installed-dev ## make docs/serving.md anew
	$(PY) -m benchmarks.service $(ARGS)

clean: ## remove .venv, caches and builds; runs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are touched last: an interrupted installation is resumed, a finished one is left alone
# until the dependencies change.
$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "This needs Python 3.11, 3.12 or 3.13, for which TensorFlow is published; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' lacks the venv module; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing TensorFlow and the rest into $(VENV): about 750 MB to fetch, 3 GB on disk; 1 to 10 minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@
