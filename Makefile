# Commands for development. Each target installs its requirements on first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo serve test train lint check bench loadtest site faults graphs fuzz docker-test docker-loadtest clean
.DEFAULT_GOAL := help

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[serve]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.serve

$(VENV)/.loadtest: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[loadtest]'
	@touch $@ $(VENV)/.serve

demo: $(VENV)/.serve ## a server with an example model, killed and resumed; its page opens in the browser
	@$(BIN)/cellgate demo

serve: $(VENV)/.serve ## serve the models in models/ (HOST, PORT; settings from CELLGATE_*)
	@exec $(BIN)/python -m service serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: $(VENV)/.dev ## run all tests except those that need Docker, in JOBS=3 processes: many of them wait
	$(BIN)/python -m pytest --numprocesses $(or $(JOBS),3) --dist worksteal

train: $(VENV)/.dev ## train on UCI Japanese Vowels, and export my-models/vowels/1
	$(BIN)/python -m training train vowels --export my-models/vowels/1

lint: $(VENV)/.dev ## check format, style, types and import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint test ## lint and test, as CI does

bench: $(VENV)/.dev ## compare speed with other servers; see benchmarks/README.md
	$(BIN)/python -m benchmarks

loadtest: $(VENV)/.loadtest ## load testing with Locust: URL= (default: starts a server), USERS=50, TIME=30s
	$(BIN)/python -m benchmarks.loadtest --users $(or $(USERS),50) --time $(or $(TIME),30s) $(if $(URL),--url $(URL))

site: $(VENV)/.dev ## build the website of docs/ into build/site, and for /docs/guide of the server
	@$(BIN)/python -m deploy.site --install

faults: $(VENV)/.dev ## long fault-injection test on real servers: HISTORIES=2000, SEED=, DRIVERS=http,stream,…
	$(BIN)/python -m tests.faults --histories $(or $(HISTORIES),2000) $(if $(SEED),--seed $(SEED)) $(if $(DRIVERS),--drivers $(DRIVERS))

graphs: $(VENV)/.dev ## long test of foreign graphs against ONNX Runtime: GRAPHS=1000, DRAFTS=300, SEED=0
	$(BIN)/python -m tests.service.foreign --graphs $(or $(GRAPHS),1000) --drafts $(or $(DRAFTS),300) --seed $(or $(SEED),0)

fuzz: $(VENV)/.dev ## mutated requests on a real server: REQUESTS=1000000, SEED= (default: random)
	$(BIN)/python -m tests.fuzz --requests $(or $(REQUESTS),1000000) $(if $(SEED),--seed $(SEED))

docker-test: $(VENV)/.dev ## build the image, run a container and a cluster, kill them, check the sessions
	$(BIN)/python -m deploy.docker_test
	$(BIN)/python -m deploy.cluster_test

docker-loadtest: ## load testing of the compose services: LOADTEST_URL=http://nginx:8080 for the cluster
	@mkdir -p benchmarks/out
	LOADTEST_USER=$$(id -u):$$(id -g) docker compose run --build --rm loadtest

clean: ## delete everything that the targets above created
	rm -rf $(VENV) build service/guide .mypy_cache .pytest_cache .ruff_cache .hypothesis runs
