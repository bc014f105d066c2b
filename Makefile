# `make` lists the commands. Everything runs in .venv, which the first command makes with the Python that PYTHON=… names,
# else with the first of python3.11, python3.12, python3.13, python3 that fits.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
AUDIT := .audit
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: environment-demo ## two models, one getting worse, on a broker in memory; needs Python 3.11 to 3.13 alone (SECONDS=60 ends it)
	@$(BIN)/tally demo $(if $(SECONDS),--seconds $(SECONDS))

test: check ## the checks, then all tests, with a real Kafka, Elasticsearch and Prometheus
	$(BIN)/python -m pytest -n 3 --dist loadfile

soak: environment-dev ## faults under traffic for MINUTES=30, with a table; then all live tests in full size; 100,000 histories; 20,000 stories; fresh seeds
	TALLY_TEST_SOAK=1 TALLY_TEST_SOAK_MINUTES=$(or $(MINUTES),30) $(BIN)/python -m pytest tests/live/faults -v --timeout=7200
	TALLY_TEST_SOAK=1 $(BIN)/python -m pytest tests/live -v --ignore tests/live/faults
	TALLY_TEST_SOAK=1 $(BIN)/python -m pytest tests/simulation tests/oracle tests/core -s --timeout=3600 --hypothesis-seed=$(shell date +%N)

check: environment-dev ## format, lint, types, layer contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: environment-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: environment-bench ## throughput, CPU, recovery, memory and latency, beside Kafka Streams, Quix Streams and plain Faust
	$(BIN)/python -m tests.bench $(ARGS)

audit: environment-dev ## known vulnerabilities of all that .requirements.lock pins, as PyPI tells them; in an environment of its own
	@[ -x "$(AUDIT)/bin/pip-audit" ] || { $(BIN)/python -m venv "$(AUDIT)" && \
		"$(AUDIT)/bin/python" -m pip install --quiet --disable-pip-version-check "pip-audit>=2.7,<3"; }
	@# Strict: a mirror that knows of no vulnerability at all says nothing, and that is not taken for good news.
	"$(AUDIT)/bin/pip-audit" --strict --require-hashes --disable-pip --progress-spinner off -r .requirements.lock

services: environment-dev ## Kafka and Elasticsearch on loopback, in the foreground; prints their addresses
	@$(BIN)/python -m tests.live.services

clean: ## remove the environment and all caches
	rm -rf "$(VENV)" "$(AUDIT)" build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# $1 is a set of packages in pyproject.toml; a change of that file installs it anew.
define ENVIRONMENT
set -eu
fits='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
why=
version='import sys; print("%d.%d" % sys.version_info[:2])'

# One that was moved, was left half made, or has another Python than it should is made anew; a link is somebody else's.
if [ -e "$$VENV" ] && [ ! -L "$$VENV" ]; then
    if [ ! -f "$$VENV/pyvenv.cfg" ]; then
        echo "$$VENV is no environment of Python: move it away, then run this again." >&2
        exit 2
    fi
    if ! "$$VENV/bin/python" -c "$$fits" 2> /dev/null; then
        why="its Python is gone, or none of 3.11 to 3.13"
    elif ! grep -qF "$$(cd "$$VENV" && pwd -P)/bin/python" "$$VENV/bin/pip" 2> /dev/null; then
        why="it was moved, or is half made"
    elif [ -n "$$PYTHON" ] && [ "$$("$$PYTHON" -c "$$version" 2> /dev/null)" != "$$("$$VENV/bin/python" -c "$$version")" ]; then
        why="its Python is not that of PYTHON=$$PYTHON"
    fi
fi

if [ ! -e "$$VENV" ] || [ -n "$$why" ]; then
    packages=$$1
    if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3.11 python3.12 python3.13 python3; fi
    found=
    for python in "$$@"; do
        if "$$python" -c "$$fits" 2> /dev/null; then found=$$python; break; fi
    done
    if [ -z "$$found" ]; then
        echo "Tally needs Python 3.11, 3.12 or 3.13 with venv, and there is none as $$(echo "$$@" | sed 's/ /, /g'):" \
            "install one (Debian: python3.11 and python3.11-venv), or name it: make PYTHON=/path/to/python3.11 …" >&2
        exit 2
    fi
    if [ -n "$$why" ]; then
        echo "$$VENV is made anew: $$why."
        rm -rf "$$VENV"
    fi
    "$$found" -m venv "$$VENV"
    set -- "$$packages"
fi

if [ ! -e "$$VENV/$$1" ] || [ pyproject.toml -nt "$$VENV/$$1" ]; then
    echo "Installing Tally and what it needs into $$VENV: about a minute, once …"
    if ! "$$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$$1]"; then
        echo "The packages could not be installed (see above): is the package index reached?" >&2
        exit 1
    fi
    touch "$$VENV/$$1"
fi
endef
export ENVIRONMENT PYTHON VENV

ENVIRONMENTS := environment-demo environment-dev environment-bench
$(ENVIRONMENTS): environment-%:
	@sh -c "$$ENVIRONMENT" environment $*

.PHONY: help demo test soak check format bench audit services clean $(ENVIRONMENTS)
