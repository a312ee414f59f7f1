# `make demo` and `make test` need python3 (3.11 or newer) and nothing else. Another one: PYTHON=python3.12 make demo
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ARGS ?=
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt

.PHONY: help demo test lint golden papers
.DELETE_ON_ERROR:

help:
	@echo "make demo      train the built-in model in two arms, side by side, and write one report"
	@echo "make test      run the tests; ARGS='-m slow' runs those that take minutes"
	@echo "make lint      ruff and pyright"
	@echo "make golden    renew the stored trajectory after a change of numerics that is meant"
	@echo "make papers    write docs/papers.md from the table of methods"
	@echo "make bench-X   run bench/X.py; ARGS='...' passes options on"

demo: $(VENV)/.installed
	$(BIN)/isotherm demo $(ARGS)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

golden: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/golden/trajectory.py

papers: $(VENV)/.installed-dev
	$(BIN)/python docs/papers.py

bench-%: bench/%.py $(VENV)/.installed-dev
	$(BIN)/python $< $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Isotherm needs Python 3.11 or newer; name one, e.g. PYTHON=python3.12 make demo.')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.installed
