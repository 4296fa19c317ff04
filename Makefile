# Every command of the project; `make` alone prints this list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS_VENV := build/docs-venv
READY := $(VENV)/.ready
BESIDE := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=20
ALONE := $(BIN)/python -m pytest $$(grep -rl "^@pytest.mark.alone" tests)

.DEFAULT_GOAL := help
.PHONY: help setup prism run live test test-slow test-cluster faults check docs bench bench-cluster clean

help: ## prints this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## makes the environment in .venv

$(READY): setup.py containers/requirements.txt tests/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.10 to 3.13"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Python 3.10 to 3.13 is needed; say which one with PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv --help >/dev/null 2>&1 || { echo "venv is missing: install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

prism: $(READY) ## builds Prism, which runs endless jobs on this machine; needs Go
	@$(BIN)/python -m runners.prism_binary

run: $(READY) ## runs the example: the flights of 2013, by carrier and by route
	@$(BIN)/python -m dataflow.main run examples/flights.yaml

live: $(READY) prism ## runs it live, with a page at http://localhost:8081
	@$(BIN)/python examples/live.py

test: $(READY) prism ## runs the tests, in some minutes
	@tests/tools.sh
	@$(BESIDE) -m "not slow and not alone"
	@$(ALONE) -m "alone and not slow"

test-slow: $(READY) prism ## runs the tests of whole jobs that are killed, lose something or are upgraded, as long again
	@tests/tools.sh
	@$(BESIDE) -m "slow and not alone"
	@$(ALONE) -m "alone and slow"

test-cluster: $(READY) prism ## runs the tests on real clusters: Flink, Kafka, containers; builds what they need
	@tests/tools.sh
	@$(BIN)/python -m tests.cluster.equipment
	@$(BIN)/python -m pytest tests/cluster -n 2 --dist loadscope --no-loadscope-reorder --durations=20

faults: $(READY) prism ## kills, stops, cuts, fills and locks, 20 seeds each: half an hour, as root
	@tests/tools.sh
	@$(BIN)/python -m tests.faults --jobs 2

check: $(READY) ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(DOCS_VENV)/.ready ## builds the guides and the reference of transforms as one site, build/docs/index.html
	@$(DOCS_VENV)/bin/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet -d build/docs-trees docs build/docs
	@echo "build/docs/index.html"

$(DOCS_VENV)/.ready: docs/requirements.txt $(READY)
	@$(BIN)/python -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r docs/requirements.txt
	@$(DOCS_VENV)/bin/python -m pip check
	@# The reference is read from the code, which is imported and needs what the project needs.
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(DOCS_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	@touch $@

bench: $(READY) prism ## measures this and its peers on the same events, and prints tables
	-@$(BIN)/python -m benchmarks --install-peers
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.live

bench-cluster: $(READY) prism ## measures jobs on a Flink cluster and a Kafka broker of this machine
	@$(BIN)/python -m tests.cluster.equipment
	@$(BIN)/python -m benchmarks.cluster

clean: ## removes the environment and everything that was built
	rm -rf $(VENV) build dist examples/out examples/.streamgauge .pytest_cache .mypy_cache .ruff_cache .hypothesis
