# Cellgate: every command a developer or a newcomer needs. Each target installs what it needs, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help serve test compiled test-compiled train lint check bench loadtest faults docker-test docker-loadtest clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.serve

$(VENV)/.loadtest: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[loadtest]'
	@touch $@ $(VENV)/.serve

serve: $(VENV)/.serve ## serve the committed models (HOST, PORT; settings from CELLGATE_*)
	@exec $(BIN)/python -m service serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: $(VENV)/.dev ## every test but Docker's
	$(BIN)/python -m pytest

# One for each interpreter: another could not import it, and would take the Python files without a word.
COMPILED = build/compiled-$(shell $(BIN)/python -c 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null)

compiled: $(BIN)/python ## build/compiled-…: the service with its hot path compiled; needs a C compiler (docs/performance.md)
	@$(MAKE) --no-print-directory $(COMPILED)

$(COMPILED): $(shell find service -name '*.py') deploy/compile.py pyproject.toml constraints.txt
	@rm -rf $@ $@.wheel $@.new
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $@.wheel .
	@$(BIN)/python -m zipfile -e $@.wheel/*.whl $@.new
	@rm -rf $@.wheel && mv $@.new $@

test-compiled: $(VENV)/.dev compiled ## the service's tests, on the compiled service (needs a git checkout)
	@rm -rf build/tree && mkdir build/tree && git ls-files -z | xargs -0 cp --parents --target-directory build/tree
	@cp -r $(COMPILED)/service $(COMPILED)/*.so build/tree
	cd build/tree && $(abspath $(BIN))/python -c 'import service.predict as it; assert it.__file__.endswith(".so"), it.__file__'
	cd build/tree && $(abspath $(BIN))/python -P -m pytest tests/service tests/e2e

train: $(VENV)/.dev ## rebuild models/vowels/1 from the data
	$(BIN)/python -m training train vowels --export models/vowels/1 --force

lint: $(VENV)/.dev ## format, style, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint test ## what CI runs

bench: $(VENV)/.dev ## compare with peers; see benchmarks/README.md
	$(BIN)/python -m benchmarks

loadtest: $(VENV)/.loadtest ## users at work: URL= (default: a server of its own), USERS=50, TIME=30s
	$(BIN)/python -m benchmarks.loadtest --users $(or $(USERS),50) --time $(or $(TIME),30s) $(if $(URL),--url $(URL))

faults: $(VENV)/.dev ## break real servers at random, for long: HISTORIES=2000, SEED= (default: by the clock)
	$(BIN)/python -m tests.faults --histories $(or $(HISTORIES),2000) $(if $(SEED),--seed $(SEED))

docker-test: $(VENV)/.dev ## build the image, run it and a cluster of it, kill them, find the sessions again
	$(BIN)/python -m deploy.docker_test
	$(BIN)/python -m deploy.cluster_test

docker-loadtest: ## users at work against what compose runs: LOADTEST_URL=http://nginx:8080 for the cluster
	@mkdir -p benchmarks/out
	LOADTEST_USER=$$(id -u):$$(id -g) docker compose run --build --rm loadtest

clean: ## remove what the targets above made
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis runs
