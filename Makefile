# `make` lists the commands. Everything runs in .venv, which the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: $(VENV)/demo ## two models, one getting worse, on a broker in memory; needs Python 3.11 alone (SECONDS=60 ends it)
	@$(BIN)/tally demo $(if $(SECONDS),--seconds $(SECONDS))

test: check ## the checks, then all tests, with a real Kafka, Elasticsearch and Prometheus
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(VENV)/dev ## the live tests in full size (200,000 request ids, ten kills, a minute without broker); 100,000 histories; 20,000 stories; fresh seeds
	TALLY_TEST_SOAK=1 $(BIN)/python -m pytest tests/live -v
	TALLY_TEST_SOAK=1 $(BIN)/python -m pytest tests/simulation tests/oracle tests/core -s --timeout=3600 --hypothesis-seed=$(shell date +%N)

check: $(VENV)/dev ## format, lint, types, layer contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench ## throughput, CPU, recovery, memory and latency, beside Kafka Streams, Quix Streams and plain Faust
	$(BIN)/python -m tests.bench $(ARGS)

services: $(VENV)/dev ## Kafka and Elasticsearch on loopback, in the foreground; prints their addresses
	@$(BIN)/python -m tests.live.services

clean: ## remove the environment and all caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# One stamp for each set of packages; a change of pyproject.toml installs anew.
$(VENV)/demo $(VENV)/dev $(VENV)/bench: $(VENV)/%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

.PHONY: help demo test soak check format bench services clean
