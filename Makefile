# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
HOME_DIR := $(CURDIR)/data
# One more than the cores, since many tests wait for other processes.
WORKERS ?= 3

.PHONY: env client-env demo cluster-demo test test-postgresql ui check lint types contracts format reliability bench bench-api clean
.DEFAULT_GOAL := help

help:  ## Show what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "implio-pipeline needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

env: $(VENV)/.made  ## Make the Python environment in .venv.

.venv-client/bin/openapi-python-client:
	@$(PYTHON) -m venv .venv-client
	@.venv-client/bin/python -m pip install --quiet --disable-pip-version-check 'openapi-python-client==0.29.1'

client-env: .venv-client/bin/openapi-python-client  ## Make the environment of the generator that a test makes a client with.

demo: env  ## Run the whole pipeline on 20,000 realistic items, in ./data.
	@$(BIN)/implio --home $(HOME_DIR) demo

cluster-demo: env  ## Run the demo on real servers: PostgreSQL, S3, Redis, OpenBao, workers that are killed.
	@$(BIN)/python -m compileall -q implio_pipeline tests
	@PYTHONPATH=tests $(BIN)/python deploy/cluster_demo.py

ui: env  ## Open Dagster's UI on http://127.0.0.1:3000 for the same home.
	@DAGSTER_HOME=$(HOME_DIR) IMPLIO_HOME=$(HOME_DIR) $(BIN)/dagster dev -w $(HOME_DIR)/workspace.yaml -h 127.0.0.1 -p 3000

# Compiled once for the hundreds of interpreters that tests start, also where PYTHONDONTWRITEBYTECODE is set. Pytest keeps
# its own form of the tests too: making it takes each worker 8 s of processor time (measured).
test: env  ## Run every test; with TEST_DEPTH=thorough also every crash point and every example of a law.
	@$(BIN)/python -m compileall -q implio_pipeline tests
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What can differ with the database of homes, on PostgreSQL: tests/support/without_home.py lists what is left out.
test-postgresql: env  ## Run the tests again with the catalog on PostgreSQL, which comes as a wheel.
	@$(BIN)/python -m compileall -q implio_pipeline tests
	@TEST_CATALOG=postgresql PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: env
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: env
	@$(BIN)/mypy && cd tests && ../$(BIN)/mypy --config-file mypy.ini .

contracts: env
	@$(BIN)/lint-imports

check: lint types contracts test  ## Lint, types, import contracts, tests.

reliability: env  ## Kill, race, renew keys, poison and compare; some hours.
	@for what in crash races renewals fuzz fidelity; do PYTHONPATH=tests $(BIN)/python -m reliability $$what --rounds $$( [ $$what = crash ] && echo 0 || echo 20 ); done

bench: env  ## Run the benchmark beside DuckLake, delta-rs and pandas; needs 18 GB of disk and half an hour.
	@$(BIN)/python -m benchmarks.run

bench-api: env  ## Benchmark the API: throughput, latencies, ten minutes of mixed load with faults.
	@$(BIN)/python -m benchmarks.api

format: env
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean:  ## Remove the environments and the demo home.
	rm -rf $(VENV) .venv-client && find data -mindepth 1 -maxdepth 1 ! -name samples ! -name README.md -exec rm -rf {} +
