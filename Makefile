# Everything a newcomer runs. Each target makes its venv and installs what it needs, once, on a
# machine with nothing but make and Python 3.11 or newer (on Debian, python3-venv too): `make demo`.
#
#   make test VENV=/somewhere/venv     another venv
#   make test PYTHON=python3.12        another Python
#   make demo DEMO=runs/another        another run: code that changed goes on with none begun before

VENV ?= .venv
PYTHON ?= python3
DEMO ?= runs/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench growth lint types tiny wheel

help:  ## Say what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(DEV_STAMP)  ## Install everything, for users and developers

demo: $(RUN_STAMP)  ## Compare four strategies on three environments (12 minutes on 2 cores; DEMO=folder)
	$(BIN)/progym bench run demo --out $(DEMO) --resume

test: $(DEV_STAMP)  ## Run the tests, but not those marked slow, gpu or real
	$(BIN)/python -m pytest -m "not slow and not gpu and not real"

bench: $(DEV_STAMP)  ## Measure speed, against dspy and TRL in the same process (SmolLM2, if installed, takes over an hour)
	$(BIN)/python -m pytest tests/speed --benchmark-enable --benchmark-only -s

growth: $(DEV_STAMP)  ## Draw how speed against TRL grows with runs, prompt length and demos
	$(BIN)/python tests/speed/growth_against_trl.py docs/growth.svg

lint: $(DEV_STAMP)  ## Check style, format and the one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(DEV_STAMP)  ## Check types: strictly in the package, more mildly in the tests
	$(BIN)/pyright --pythonpath $(BIN)/python

tiny: $(RUN_STAMP)  ## Train the language model that the package ships (up to 90 minutes on 2 cores)
	$(BIN)/python -m progym.agents.tiny.train

wheel: $(DEV_STAMP)  ## Build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

# What runs: torch goes first and by its version, so that pip takes the smallest build on offer.
$(RUN_STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("progym needs Python 3.11 or newer; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e ".[train,serve,bench]"
	@touch $@

# What checks: test tools, linters, and the peer that speed is measured against.
$(DEV_STAMP): $(RUN_STAMP)
	$(PIP) -e ".[train,serve,bench,dev]"
	@touch $@
