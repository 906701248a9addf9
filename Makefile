# Everything sets itself up: Python 3.11 or 3.12 and make are all that a machine needs.
#
# What the set-up says goes to standard error, so that `make -s demo JSON=1 | jq` sees nothing but JSON.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m voxqueue
RUNS ?= 3

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo up test check bench soak fault clean
.SILENT:

help:
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/dev ## Install everything for working on it into .venv

demo: $(VENV)/embedded ## One voice note through the whole stack, then stop. NOTE=recording.ogg JSON=1
	exec $(RUN) demo $${NOTE:+--note "$$NOTE"} $${JSON:+--json}

up: $(VENV)/embedded ## The whole stack in this terminal until Ctrl-C. ARGS="--port 8001"
	exec $(RUN) up $(ARGS)

test: $(VENV)/dev ## All tests. ARGS="-k name"
	$(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

check: $(VENV)/dev ## Lint, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev ## Measure throughput and latency. ARGS="--help"
	exec $(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/dev ## 50,000 queued jobs: memory, accept latency, none lost; a quarter of an hour
	exec $(BIN)/python -m benchmarks soak

fault: $(VENV)/dev ## Break things while jobs run, and check that nothing is lost; half an hour. RUNS=1 ARGS="--only Redis"
	exec $(BIN)/python -m tests.fault --runs $(RUNS) --report docs/reliability.md $(ARGS)

clean: ## Remove .venv and all caches; the data of `make up` in .voxqueue stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says what has been installed; the versions are those of constraints.txt.
PIP = $(BIN)/python -m pip --disable-pip-version-check -qq install -c constraints.txt
INSTALL = $(PIP) -e

$(VENV)/embedded: pyproject.toml constraints.txt | $(BIN)/python
	echo "Installing Voxqueue into $(VENV), which takes a minute" >&2
	$(INSTALL) '.[embedded]' >&2
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(BIN)/python
	echo "Installing Voxqueue, the model runtimes and its tools into $(VENV), which takes some minutes" >&2
	$(PIP) torch >&2  # by itself and first: constraints.txt says which version
	$(INSTALL) '.[embedded,models,s3,dev]' >&2
	touch $@ $(VENV)/embedded

$(BIN)/python:
	found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case "$$found" in 3.11 | 3.12) ;; *) \
	  echo "Voxqueue is set up with Python 3.11 or 3.12, and $(PYTHON) is $${found:-not there}." \
	    "Choose another: make $(MAKECMDGOALS) PYTHON=python3.11, or PYTHON=/path/to/python3.12" >&2; exit 1 ;; esac
	$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); \
	  echo "Python cannot make virtual environments here; on Debian, apt-get install python3-venv" >&2; exit 1; }
