# Two commands on a fresh machine: `make demo`, `make test`. Every target sets up what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
ARGS ?=

.venv/.ready: pyproject.toml requirements/dev.lock requirements/uv.lock tools/venv.sh
	@bash tools/venv.sh

.venv: .venv/.ready  ## the private environment, as the lock file says
.PHONY: .venv

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: .venv/.ready  ## platform and OCP simulator, one bad day of 200 calls (ARGS="--calls 50 --json")
	@.venv/bin/ocp-ingest demo $(ARGS)

.PHONY: test
test: .venv/.ready  ## every test that needs nothing but Python (ARGS="-k name")
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: check
check: .venv/.ready  ## lint, types, import contracts, generated docs up to date
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) tools/docs.py --check

.PHONY: docs
docs: .venv/.ready  ## write the generated parts of docs/
	@$(PY) tools/docs.py

.PHONY: fix
fix: .venv/.ready  ## format and apply safe lint fixes
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

.PHONY: bench
bench: .venv/.ready  ## measure, print ratios against named peers
	@$(PY) -m bench $(ARGS)

.PHONY: lock
lock: .venv/.ready  ## resolve the dependencies anew
	@.venv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --upgrade \
	    --python-version 3.11 pyproject.toml --extra aws --extra sim --group dev -o requirements/dev.lock

.PHONY: ci
ci: check test demo  ## what has to pass before anything lands

.PHONY: clean
clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
