# The words that README and .ci/run use. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= torch
ARGS ?=
ONLY ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo serve test test-services fuzz crash check format reference bench clean

help: ## list these words
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 16

demo: $(VENV)/.demo ## train two small language models, watch one collapse; ARGS="--exit --json out.json"
	$(BIN)/foreshock demo $(ARGS)

serve: $(VENV)/.demo ## the service on http://127.0.0.1:8642; ARGS="--port 9000 --data-dir DIR"
	$(BIN)/foreshock serve $(ARGS)

# What fails among many on two cores runs once more by itself, and is named in the last lines; see tests/README.md.
AGAIN = $(BIN)/python -m pytest --last-failed --last-failed-no-failures none

test: $(VENV)/.dev ## every test that needs no service and no browser; ARGS="-k word"
	$(BIN)/python -m pytest --cache-clear -n 3 --dist worksteal -m "not (postgres or redis or browser or gpu or demo)" $(ARGS) || \
		$(AGAIN) -m "not (postgres or redis or browser or gpu or demo)"

test-services: $(VENV)/.dev ## the whole demo and the tests that need PostgreSQL, Redis or Chromium: they fail where one is missing
	FORESHOCK_TEST_STRICT=1 $(BIN)/python -m pytest --cache-clear -n 3 --dist worksteal -m "(postgres or redis) and not browser" $(ARGS) || \
		FORESHOCK_TEST_STRICT=1 $(AGAIN) -m "(postgres or redis) and not browser"
	FORESHOCK_TEST_STRICT=1 FORESHOCK_TEST_BROWSER=1 $(BIN)/python -m pytest --cache-clear -m browser $(ARGS) || \
		FORESHOCK_TEST_STRICT=1 FORESHOCK_TEST_BROWSER=1 $(AGAIN) -m browser
	FORESHOCK_TEST_STRICT=1 FORESHOCK_TEST_DEMO=1 $(BIN)/python -m pytest --cache-clear -m demo $(ARGS) || \
		FORESHOCK_TEST_STRICT=1 FORESHOCK_TEST_DEMO=1 $(AGAIN) -m demo

fuzz: $(VENV)/.dev ## the tests that draw their input, with new draws; FORESHOCK_TEST_EXAMPLES=2000
	FORESHOCK_TEST_EXAMPLES=$${FORESHOCK_TEST_EXAMPLES:-2000} $(BIN)/python -m pytest --hypothesis-show-statistics -q \
		-m "hypothesis and not (postgres or redis or browser or gpu or demo)" $(ARGS)

crash: $(VENV)/.dev ## the crash matrix at full size: each victim killed fifty times; an hour
	FORESHOCK_TEST_STRICT=1 FORESHOCK_CRASH_ROUNDS=50 $(BIN)/python -m pytest -n 2 --dist loadfile tests/crash $(ARGS)

check: $(VENV)/.dev ## format, lint, types, layers, and the page's types where Node is there
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if command -v npx >/dev/null 2>&1; then \
		npx --yes -p typescript@5.9.3 tsc -p web && node --test web/test/; \
	else echo "Node is not there: the page's types were not checked"; fi

reference: $(VENV)/.dev ## write what the server explains each statistic from, out of the catalogue, and the table of the built-in rules
	$(BIN)/python -m foreshock.measure.statistics.reference server/foreshock_server/reference/statistics.json
	$(BIN)/python -m foreshock_server.rules.description

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## ours beside its rivals, as ratios, into build/bench; ONLY=overhead; cut off, it goes on; PAIRS="grpo simsiam"
	$(BIN)/python -m tests.bench $(ONLY) --keep build/zoo $(if $(PAIRS),--pairs $(PAIRS))

clean: ## forget the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# torch first and by itself, so that nothing else decides which build of it comes.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install -q -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo
