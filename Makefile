# Everything happens in .venv in this directory; nothing is installed globally.
# A stamp in .venv says that its packages fit pyproject.toml, so that a second `make` starts at once.

BIN := .venv/bin
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11

.PHONY: demo test fuzz race gates floods engines lint format bench screenshots clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         an embedded Postgres with an incident in it, and the console; ENGINE=procrastinate, river, pg-boss …"
	@echo "make test         the tests, two at a time for each processor, or JOBS=3; ARGS='-k cancel' goes to pytest"
	@echo "make fuzz         random expressions over random payloads; EXPRESSIONS=6000, 20 payloads each"
	@echo "make race         workers and operators against each other, and random histories; COMMITS=10000 HISTORIES=1000"
	@echo "make gates        the workers of each engine that can be gated against commits; COMMITS=1000, ARGS='-k Oban'"
	@echo "make floods       floods of known cause, whose filters must be suggested; FLOODS=200 of each generator"
	@echo "make engines      every installation of every other engine's queue, on every Postgres"
	@echo "make lint         ruff, mypy and the direction of imports"
	@echo "make format       what ruff can mend by itself"
	@echo "make bench        the benchmarks; ARGS='drain sweep' for some of them, --resume for what is missing, --quick to try,"
	@echo "                  ARGS='pressure chaos --nightly' for hours under pressure"
	@echo "make screenshots  the README's pictures, from the running program; ARGS='tour story others' for some of them"
	@echo "make clean        remove .venv, .venv-peers*, .engines and caches"

ifdef ENGINE
demo: .venv/.dev
	@exec $(BIN)/python tests/engines/incident.py $(ENGINE) $(ARGS)
else
demo: .venv/.demo
	@exec $(BIN)/secateur demo $(ARGS)
endif

# Tests wait for one another's processes more than they compute.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? 2 * n : 6)))

test: .venv/.dev
	@$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

EXPRESSIONS ?= 6000

fuzz: .venv/.dev
	@SECATEUR_FUZZ_EXPRESSIONS=$(EXPRESSIONS) $(BIN)/pytest -s tests/differential $(ARGS)

COMMITS ?= 10000
HISTORIES ?= 1000

race: .venv/.dev
	@SECATEUR_RACED_COMMITS=$(COMMITS) SECATEUR_HISTORIES=$(HISTORIES) $(BIN)/pytest -s \
	  tests/guarantee/test_races.py tests/guarantee/test_model.py $(ARGS)

gates: COMMITS = 1000
gates: .venv/.dev
	@SECATEUR_RACED_COMMITS=$(COMMITS) $(BIN)/pytest -s tests/engines/test_gated_workers.py::test_raced_commits $(ARGS)

FLOODS ?= 200

floods: .venv/.dev
	@SECATEUR_FLOODS=$(FLOODS) SECATEUR_FLOOD_RUNS=5000 $(BIN)/pytest -s --timeout 7200 tests/floods $(ARGS)

engines: .venv/.dev
	@SECATEUR_ENGINES=all $(BIN)/pytest --numprocesses $(JOBS) --dist worksteal tests/engines $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/.dev
	@$(BIN)/python -m screenshots $(ARGS)

clean:
	rm -rf .venv .venv-peers .venv-peers-newer .engines .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# Each stamp is an extra of pyproject.toml.
.venv/.demo .venv/.dev: .venv/.%: pyproject.toml | $(BIN)/python
	@echo "Installing what secateur needs into .venv …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "secateur needs Python 3.11 or newer; none of these is one: $(PYTHONS)" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "$$found cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Making .venv with $$($$found --version) …"; \
	$$found -m venv .venv || { rm -rf .venv; exit 1; }
