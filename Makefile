# Needs Python 3.11+, make and a package registry; nothing else, no root, no Docker (but for compose-check).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install demo browser screenshots mailcheck test chaos bench lint types contract check format words lock wheel compose-check clean

help: ## Show what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## Set up .venv from the lock; .venv/bin/newsletter is then there

$(VENV)/installed: requirements/base.txt requirements/build.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here; try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Newsletter needs Python 3.11 or newer; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: install ## See it work: sample list, real workers, inbox in the browser (ARGS=--once stops when all is sent)
	@$(BIN)/newsletter demo $(ARGS)

browser: $(VENV)/installed-dev ## Find Chromium for the tests of the pages, or fetch Playwright's own
	@$(BIN)/python tests/browsing.py

screenshots: browser ## Pictures of every page and state of the site in build/screenshots/ (ARGS='subscribe leave' for some)
	@$(BIN)/python tests/browser/screenshots.py $(ARGS)

mailcheck: $(VENV)/installed-dev ## Write digests and notices in each language into build/mailcheck/ (.eml, .html) and check them
	@$(BIN)/python tests/mailcheck.py

test: $(VENV)/installed-dev ## Run the tests (ARGS='-k words' for some of them)
	@-$(BIN)/python tests/browsing.py
	@$(BIN)/python -m pytest -q -n 3 --dist worksteal -m "not chaos and not browser" $(ARGS)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m browser $(ARGS) || test $$? = 5  # no such tests among ARGS

chaos: $(VENV)/installed-dev ## Storm it: killed workers, lost Redis, full disks, relays that lie (half an hour)
	@$(BIN)/python -m pytest -q -m chaos $(ARGS)

bench: $(VENV)/installed-dev ## Measure it all: a table, and JSON in build/bench.json (ARGS='--json', '--full', '--only end_to_end')
	@$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/installed-dev ## Check style, the compose file and the Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/hadolint Dockerfile

types: $(VENV)/installed-dev ## Check types
	@$(BIN)/mypy

contract: $(VENV)/installed-dev ## Check that imports run one way
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

check: test lint types contract ## All of these, as the continuous integration does

format: $(VENV)/installed-dev ## Rewrite the code in our style
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

words: $(VENV)/installed-dev ## Bring the translations up to date and check them (ARGS=pt begins Portuguese)
	@$(BIN)/python scripts/translating.py $(ARGS)

lock: $(VENV)/installed-dev ## Renew requirements/*.txt from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url pyproject.toml -o requirements/base.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --group build -o requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url pyproject.toml --group dev -o requirements/dev.txt

wheel: $(VENV)/installed-dev ## Build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null && ls dist

compose-check: ## Start docker-compose.yml, see a digest come, a reader sign up and leave (needs Docker)
	@scripts/compose-check

clean: ## Remove what the other targets made, but no state of yours
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
