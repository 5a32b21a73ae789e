# `make` lists the targets. Every target installs first what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
COMMAND := .venv/.command
TOOLS := .venv/.tools
ENGINE := .venv/.engine
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

# One thread in each process: the parallel part is the pool of worker processes.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# make install PYTHON=/usr/bin/python3.12 chooses the interpreter.
export PYTHON

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: command $(TOOLS) engine ## make .venv/ with everything: the command first, what has to be compiled last

.PHONY: command
command: $(COMMAND) ## make .venv/ with the command alone: wheels, no compiler

$(COMMAND): pyproject.toml scripts/find-python.sh scripts/install-system.sh scripts/install.sh
	@scripts/install.sh command
	@touch $@

$(TOOLS): $(COMMAND)
	@scripts/install.sh tools
	@touch $@

# Where they cannot be compiled a sentence says why, everything else works, and the next make tries again.
.PHONY: engine
engine: $(TOOLS)
	@[ $(ENGINE) -nt $(TOOLS) ] || scripts/install.sh engine

.PHONY: demo
demo: command ## the main job: the bundled silicon at 2000 K, results in runs/demo
	$(BIN)/sscha-mlp relax --T 2000 --labels fixed --run-dir runs/demo

.PHONY: test
test: install ## the tests that take seconds
	$(BIN)/python -m pytest -n auto --dist loadfile $(if $(CI),--durations=40)

.PHONY: test-slow
test-slow: install ## the tests that take minutes: whole runs, kills, coverage of the error bars
	$(BIN)/python -m pytest -m slow

.PHONY: test-qe
test-qe: install ## one real label of Quantum ESPRESSO, which is installed first where this user may
	@scripts/install-espresso.sh
	$(BIN)/python -m pytest -m qe

.PHONY: test-all
test-all: install ## every test but that of Quantum ESPRESSO
	$(BIN)/python -m pytest -m "not qe"

.PHONY: test-oldest
test-oldest: $(TOOLS) ## a fast part of the tests with the oldest versions that pyproject.toml allows
	@scripts/test-oldest.sh

.PHONY: lint
lint: $(TOOLS) ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(TOOLS) ## put the code into the house's format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: bench
bench: install ## print the benchmark tables
	$(BIN)/python benchmarks/run.py

.PHONY: bench-peers
bench-peers: install ## install the other potentials that the benchmarks compare with
	@scripts/install-peers.sh

.PHONY: bench-learning
bench-learning: install ## learning curves of each way to choose labels (about a quarter of an hour)
	$(BIN)/python benchmarks/learning_curve.py --seeds 6 --out runs/learning-linear.json
	$(BIN)/python benchmarks/learning_curve.py --model refined --seeds 2 --out runs/learning-refined.json
	$(BIN)/python benchmarks/learning_curve.py --read runs/learning-linear.json runs/learning-refined.json --figure runs/learning-curve.png

.PHONY: accuracy
accuracy: install ## certified answers of many crystals against direct runs of their references, in one table
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/accuracy.py

.PHONY: notebooks
notebooks: install ## run the notebooks, two at a time, outputs in build/notebooks; fails where a cell fails
	$(if $(NOTEBOOKS),,@echo "There are no notebooks in notebooks/." >&2; exit 1)
	mkdir -p build/notebooks && cp $(NOTEBOOKS) build/notebooks/
	printf '%s\n' $(NOTEBOOKS:notebooks/%=build/notebooks/%) | xargs -n 1 -P 2 $(BIN)/jupyter-execute --inplace --timeout=900

.PHONY: docs
docs: $(TOOLS) ## build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: reference-pages
reference-pages: $(TOOLS) ## write the pages on command line, settings and Python from the code
	$(BIN)/python docs/tools/reference_pages.py

.PHONY: clean
clean: ## remove .venv/, caches and build outputs; runs/ stays
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache
	find sscha_mlp tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
