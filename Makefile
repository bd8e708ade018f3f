# Everything from a fresh clone: needs python3 (3.11 or newer, with venv and pip) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
STORE ?=
ROUNDS ?= 20
CASES ?= 400

.DEFAULT_GOAL := help
.PHONY: help demo serve page types screenshots test check chaos fuzz bench lock clean

PAGE := src/stocksync/web_dist/index.html
PAGE_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*')
NPM := $(BIN)/python scripts/page.py npm

help: ## Show what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime $(PAGE) ## A whole sync against a made-up market: no token, no network [PORT=8000]
	@$(BIN)/stocksync demo --port $(PORT)

serve: $(VENV)/.runtime $(PAGE) ## The server against the real upstreams [PORT=8000 STORE=sqlite:///path/file.db]
	@$(BIN)/stocksync serve --port $(PORT) $(if $(STORE),--store $(STORE))

page: $(PAGE) ## The web page, built into the package (done by the others when needed)

types: $(VENV)/.dev $(VENV)/.node ## The page's types anew, from the OpenAPI document
	@$(BIN)/python scripts/openapi.py > web/openapi.json
	@$(NPM) run --silent types

screenshots: $(VENV)/.dev $(PAGE) ## The pictures of docs/screenshots anew; needs a Chromium
	@$(BIN)/python scripts/screenshots.py

test: $(VENV)/.dev $(PAGE) ## The tests, with coverage
	@$(NPM) test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered

check: $(VENV)/.dev $(VENV)/.node ## Lint, types and layer rules; the page's too, and whether its types are the API's
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/openapi.py | diff web/openapi.json - || { echo "The API has changed: run make types"; exit 1; }
	@$(NPM) run --silent types -- --check
	@$(NPM) run --silent lint
	@$(NPM) run --silent typecheck

chaos: $(VENV)/.dev ## The kill and race loops, long [ROUNDS=20]
	@$(BIN)/python -m pytest tests -m chaos -s --rounds $(ROUNDS)

fuzz: $(VENV)/.dev ## Everything in the OpenAPI document, long [CASES=400 for each route]
	@$(BIN)/python -m pytest tests/contract/test_openapi.py -s --rounds $(CASES)

bench: $(VENV)/.dev ## The benchmarks; each prints a ratio measured in one run
	@for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

lock: $(VENV)/.dev ## Make the requirement files anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--group build --extra akshare --extra baostock pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--group dev --extra akshare --extra baostock -c requirements/runtime.txt \
		pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--group pyproject.toml:node -o requirements/node.txt

clean: ## Remove what make and the tools left here
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist web/node_modules src/stocksync/web_dist

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "venv or pip is missing: on Debian, apt install python3-venv"; exit 1; }

$(VENV)/.node: $(BIN)/python requirements/node.txt
	@$(BIN)/python scripts/page.py has-node || { echo "Installing Node.js into $(VENV) ..."; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
			-r requirements/node.txt; }
	@touch $@

$(PAGE): $(PAGE_SOURCES) scripts/page.py | $(VENV)/.node
	@echo "Building the page ..."
	@$(BIN)/python scripts/page.py build
	@touch $@

# The package is installed with the page in it.
$(VENV)/.runtime $(VENV)/.dev: | $(PAGE)

$(VENV)/.runtime: $(BIN)/python requirements/runtime.txt pyproject.toml
	@echo "Installing stocksync into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements/dev.txt pyproject.toml
	@echo "Installing stocksync and its tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
