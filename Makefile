# Everything runs in .venv, which the first target that needs it creates. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first interpreter that is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
CHROMIUM := $(shell command -v chromium chromium-browser google-chrome 2>/dev/null | head -n 1)
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_S ?=
PYTEST_ARGS ?=
# Of the week that `make bench-questions` asks: spans, and as many points and log records.
ITEMS ?= 10000000
# Without incident, that `make outcomes` plays.
QUIET_DAYS ?= 7
# Files of tests side by side; 0 is one after the other in one process, for a debugger.
JOBS ?= 2

# A machine without Chromium can run all tests but those that open pages. .ci/run installs it, so CI leaves none out.
MARKERS := not long$(if $(SLOW),, and not slow) and not grafana$(if $(CHROMIUM),, and not browser)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml locks/image-embedded.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed; found: $$(python3 --version 2>&1 || true)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c '' 2>/dev/null || { rm -rf .venv && "$(PYTHON)" -m venv .venv; }
	@echo "installing into .venv with $$($(BIN)/python --version) (a few minutes the first time)"
	@grep -oE '^[a-z0-9-]+==\S+' locks/image-embedded.txt > .venv/constraints.txt # what is tested is what the image installs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt -e '.[embedded,dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## run the pipeline with a shop that sends to it; DEMO_S=60 ends by itself, with the audit's exit code
	@SLUICEWAY_ALERTS__EVALUATE=true SLUICEWAY_ALERTS__SLO_FOLDER=slos \
		$(BIN)/sluiceway demo $(if $(DEMO_S),--seconds $(DEMO_S))

.PHONY: up
up: $(STAMP) ## run the pipeline without the demo load, until Ctrl-C
	@$(BIN)/sluiceway up

.PHONY: test
test: $(STAMP) ## run the tests; with SLOW=1 also faults that are played for a minute or more, as .ci/run does
	@$(if $(CHROMIUM),,echo "make: no Chromium found: the browser tests are left out (apt-get install chromium)" >&2)
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "$(MARKERS) and not alone" $(PYTEST_ARGS)
	@$(BIN)/pytest -n 0 -m "$(MARKERS) and alone" $(PYTEST_ARGS) || [ $$? -eq 5 ] # none among those that were named

.PHONY: test-long
test-long: $(STAMP) ## run the long tests: 50 rounds of kill -9, 10 million fuzzed inputs; hours
	@$(BIN)/pytest -m long --timeout 0 $(PYTEST_ARGS)

.PHONY: faults
faults: $(STAMP) ## break the pipeline on Kafka in every way that we can: 200 rounds of kill -9 and the rest; hours
	@$(BIN)/pytest -m "long or not long" --timeout 0 -s tests/faults/test_cluster_*.py $(PYTEST_ARGS)

.PHONY: parts
parts: $(STAMP) ## fetch and build what tests run against, into ~/.cache/sluiceway
	@$(BIN)/python -m tests.testbed

.PHONY: check
check: $(STAMP) ## format, lint, types, imports, generated documents
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m sluiceway.reference --check
	@$(BIN)/python -m supply.licenses --check

.PHONY: golden
golden: $(STAMP) ## write the generated documents and golden files again
	@$(BIN)/python -m sluiceway.reference
	@$(BIN)/python -m supply.licenses
	@$(BIN)/pytest -q tests/unit/test_ddl.py tests/deployment/test_kubernetes_schemas.py tests/contract/test_gate_names.py --update-golden

# One folder that only its owner enters; the files must be read by the containers' users.
SECRETS := data/secrets
.PHONY: secrets
secrets: ## make the passwords that compose.yaml mounts, those that are missing, in data/secrets
	@install -d -m 0700 data $(SECRETS)
	@for name in clickhouse_writer clickhouse_reader grafana_admin \
		kafka_admin kafka_collector kafka_ingest kafka_process; do \
		test -s $(SECRETS)/$$name || head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' > $(SECRETS)/$$name; \
		chmod 0444 $(SECRETS)/$$name; done

.PHONY: lock
lock: $(STAMP) ## lock the image's packages again after a change of pyproject.toml; UPGRADE=1 takes the newest
	@$(BIN)/python -m supply.lock $(if $(UPGRADE),--upgrade)

.PHONY: sbom
sbom: $(STAMP) ## write the image's bill of materials (CycloneDX), build/sbom.cdx.json
	@$(BIN)/python -m supply.sbom build/sbom.cdx.json

.PHONY: digests
digests: $(STAMP) ## ask registries for the images' digests (needs docker buildx); WRITE=1 changes the files
	@$(BIN)/python -m supply.images $(if $(WRITE),--write)

.PHONY: charts
charts: $(STAMP) ## renew the viewer's chart library out of its npm package (needs npm): VERSION=6.1.0
	@test -n "$(VERSION)" || { echo "make: VERSION=... is needed" >&2; exit 1; }
	@$(BIN)/python -m supply.charts $(VERSION)

.PHONY: bench
bench: $(STAMP) ## measure speed against peers; writes build/bench.json
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt -e '.[embedded,dev,bench]'
	@$(BIN)/python -m bench

.PHONY: bench-questions
bench-questions: $(STAMP) ## ask the questions of an incident of a week of ITEMS spans, points and log records each
	@$(BIN)/python -m bench.questions --items $(ITEMS)

.PHONY: outcomes
outcomes: $(STAMP) ## play incidents and seven quiet days: who is paged, how soon, with the culprit named? (10 minutes)
	@$(BIN)/python -m bench.outcomes --quiet-days $(QUIET_DAYS)

.PHONY: screenshots
screenshots: $(STAMP) ## take the README's screenshots again (needs Chromium)
	@$(BIN)/pytest -m browser tests/browser/test_screenshots.py --screenshots docs/images

.PHONY: clean
clean: ## remove .venv, caches and build output; leaves data alone
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
