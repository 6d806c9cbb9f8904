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
	@if [ -x .venv/bin/hadolint ]; then .venv/bin/hadolint Dockerfile; fi
	@$(PY) tools/docs.py --check
	@$(PY) tools/grafana.py --check

.PHONY: docs
docs: .venv/.ready  ## write the generated parts of docs/
	@$(PY) tools/docs.py
	@$(PY) tools/grafana.py

.PHONY: fix
fix: .venv/.ready  ## format and apply safe lint fixes
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

.PHONY: bench
bench: .venv/.ready  ## measure, print ratios against named peers
	@$(PY) -m bench $(ARGS)

.venv-infra/.ready: requirements/infra.lock tools/infra_venv.sh .venv/.ready
	@bash tools/infra_venv.sh

.PHONY: lambda
lambda: .venv/.ready  ## the package of the functions, in build/lambda (ARGS="--config ocp-ingest.toml")
	@$(PY) tools/build_lambda.py $(ARGS)

.PHONY: synth
synth: .venv-infra/.ready  ## plain CloudFormation in build/synth (ARGS="-c config=ocp-ingest.toml")
	@[ -d build/lambda ] || $(PY) tools/build_lambda.py
	@.venv-infra/bin/python infra/app.py --out build/synth $(ARGS)

.PHONY: test-infra
test-infra: .venv-infra/.ready  ## the laws of the template: rights, alarms, cdk-nag, cfn-lint
	@cd infra && MYPYPATH=.:.. ../.venv-infra/bin/mypy --strict --explicit-package-bases \
	    --namespace-packages --python-version 3.11 app.py ocp_infra
	@OCP_TEST_INFRA=1 $(PY) -m pytest tests/infra --timeout 1500 $(ARGS)

.PHONY: test-aws
test-aws: .venv-infra/.ready  ## the whole system on servers that stand for AWS; fetches them itself
	@OCP_TEST_AWS=1 $(PY) -m pytest tests/aws -n 2 --dist loadfile --timeout 1200 --durations=5 $(ARGS)
	@# Counts of one scaled day vary; what moved by a fifth is told, and the page is made anew by hand.
	@$(PY) -m tools.costs --check build/aws-operations.json || \
	    echo "docs/reference/costs.md counts another day: python -m tools.costs --keep build/aws-operations.json"

.PHONY: test-browser
test-browser: .venv/.ready  ## the console in Debian's Chromium, on the data of a demo; screenshots in build/
	@bash tools/chromium.sh
	@OCP_TEST_BROWSER=1 $(PY) -m pytest tests/browser --timeout 600 $(ARGS)

.PHONY: simulate
SEEDS ?= 100
simulate: .venv/.ready  ## simulated days with faults at every effect (SEEDS=100 ARGS="--from 1")
	@.venv/bin/ocp-proof many --seeds $(SEEDS) $(ARGS)

.PHONY: simulate-ci
# Every commit takes seeds of its own, and each run of it the same ones.
SEEDS_FROM ?= $(shell echo $$(( 0x$$(git rev-parse HEAD 2>/dev/null | cut -c1-5 | grep . || echo 1) * 1000 )))
simulate-ci: .venv/.ready  ## what fits into five minutes, of seeds of this commit (SEEDS_FROM=n: these)
	@.venv/bin/ocp-proof many --from $(SEEDS_FROM) --seeds 500 --seconds 290 $(ARGS)

.PHONY: simulate-quick
simulate-quick: .venv/.ready  ## three hundred seeds that were clean, or five minutes: what a change has broken
	@.venv/bin/ocp-proof many --from 4401 --seeds 300 --seconds 290 --no-pairs $(ARGS)

.PHONY: prove-the-proof-quick
prove-the-proof-quick: .venv/.ready  ## the dozen that falls first, within two minutes
	@$(PY) tools/prove.py --quick $(ARGS)

.PHONY: prove-the-proof
prove-the-proof: .venv/.ready  ## breaks one line at a time; the simulation must notice
	@$(PY) tools/prove.py $(ARGS)

.PHONY: fuzz
FUZZ_SECONDS ?= 300
fuzz: .venv/.ready  ## every reader of others' bytes, and the whole API (FUZZ_SECONDS=300 ARGS=--note)
	@nice $(PY) tools/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)
	@FUZZ_NOTE=$(findstring --note,$(ARGS)) FUZZ_SECONDS=$(FUZZ_SECONDS) \
	    nice $(PY) -m pytest tests/fuzz -p no:xdist

.PHONY: fuzz-quick
fuzz-quick: .venv/.ready  ## the same within half a minute; part of `make test` too
	@$(PY) -m pytest tests/fuzz -p no:xdist $(ARGS)

.PHONY: soak
ROUNDS ?= 100
soak: .venv/.ready  ## kills and power cuts under load, bad disks and lines (ROUNDS=100 ARGS="--seed 2")
	@$(PY) tools/soak.py --rounds $(ROUNDS) $(ARGS)

.PHONY: soak-quick
soak-quick: .venv/.ready  ## the same in eight rounds, within a minute
	@$(PY) tools/soak.py --rounds 8 $(ARGS)

.PHONY: tamper
tamper: .venv/.ready  ## every byte of a call's evidence changed, one at a time; who notices?
	@nice $(PY) tools/tamper.py $(ARGS)

LOCK = .venv/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --upgrade
.PHONY: lock
lock: .venv/.ready  ## resolve the dependencies anew
	@$(LOCK) --python-version 3.11 pyproject.toml --extra aws --extra sim --group dev \
	    -o requirements/dev.lock
	@$(LOCK) --python-version 3.11 pyproject.toml --extra aws -c requirements/dev.lock \
	    -o requirements/aws.lock
	@$(LOCK) --python-version 3.11 requirements/build.in -c requirements/dev.lock \
	    -o requirements/build.lock
	@$(LOCK) --python-version 3.13 requirements/lambda.in -c requirements/aws.lock \
	    -o requirements/lambda.lock
	@$(LOCK) --python-version 3.11 requirements/infra.in -o requirements/infra.lock

.PHONY: ci
ci: check test simulate-quick prove-the-proof-quick soak-quick test-browser test-infra test-aws demo  ## what has to pass before anything lands

.PHONY: clean
clean:
	rm -rf .venv .venv-infra .emulators build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
