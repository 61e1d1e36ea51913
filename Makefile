# Every verb makes the machine ready first (tools/setup); see README.md for what each is for.
# ARGS goes to the command behind the verb:  make demo ARGS=--json,  make test ARGS=tests/unit

PYTHON := .venv/bin/python
SOAK_SECONDS ?= 300
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench soak docs clean environment lint format types imports

help:
	@echo "make demo    run a whole initiative on this machine and play the cheats"
	@echo "make test    run the tests"
	@echo "make check   lint, formatting, types, imports"
	@echo "make bench   measure ourselves beside the peers"
	@echo "make soak    full counts of kills, and the coverage-guided fuzzers (SOAK_SECONDS each)"
	@echo "make docs    regenerate the generated pages under docs/"
	@echo "make setup   make .venv and install missing system packages"
	@echo "make clean   remove everything that the other verbs made"

setup:
	@tools/setup

demo: setup
	@.venv/bin/glasshouse demo $(ARGS)

test: setup
	@$(PYTHON) -m pytest $(ARGS)

check: lint format types imports

environment:
	@tools/setup python

lint: environment
	@.venv/bin/ruff check .

format: environment
	@.venv/bin/ruff format --check .

types: environment
	@.venv/bin/mypy -p glasshouse -p glasshouse_verify -p bench -p tools

imports: environment
	@.venv/bin/lint-imports --no-logo

bench:
	@tools/setup bench
	@$(PYTHON) -m bench all $(ARGS)

soak: setup
	@GLASSHOUSE_SOAK=1 $(PYTHON) -m pytest tests/fault tests/property $(ARGS)
	@tools/fuzz $(SOAK_SECONDS)

docs: setup
	@$(PYTHON) -m tools.cli_pages
	@$(PYTHON) -m tools.attacks_table

clean:
	rm -rf .venv .tools .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench/results
	find src verify tests bench tools -name __pycache__ -prune -exec rm -rf {} +
