# `make quickstart` does everything on a fresh machine and runs the whole road; `make test` runs the tests.
.PHONY: install quickstart web test test-slow test-gpu lint types docs clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt scripts/install.sh

install: $(STAMP)

$(STAMP): $(SOURCES)
	PYTHON="$(PYTHON)" VENV="$(VENV)" bash scripts/install.sh
	@touch $@

web:
	$(PYTHON) web/backend.py

quickstart: install
	$(BIN)/amenable --workspace $(WORKSPACE) quickstart

test: install
	$(BIN)/python -m pytest -n 2

test-slow: install
	$(BIN)/python -m pytest -m slow -n 2

test-gpu: install
	$(BIN)/python -m pytest -m gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	$(BIN)/python scripts/make_docs.py

clean:
	rm -rf $(VENV) web/node_modules src/amenable/server/static build dist .pytest_cache .mypy_cache .ruff_cache
