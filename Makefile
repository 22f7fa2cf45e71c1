# The commands for people. On a fresh Debian or Ubuntu machine `make run` needs Python 3.11 or newer, and make.

BIN := .venv/bin
MINTWIRE := $(BIN)/python -m mintwire
PYTEST_ARGUMENTS ?= -n 2
RACE_ARGUMENTS ?=

.DEFAULT_GOAL := help
.PHONY: help run up down status clean test lint format types bench race compose-check proof lock local dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

run: local ## Start the whole system on this machine, run the demo, stay up until Ctrl-C
	@$(MINTWIRE) stack up

up: local ## Start the whole system in the background
	@$(MINTWIRE) stack up --detach

down: local ## Stop what `make up` started, and whatever a killed run left behind
	@$(MINTWIRE) stack down

status: local ## Show what is running
	@$(MINTWIRE) stack status

clean: local ## Delete all data of the stopped system: databases, queues, keys, logs
	@$(MINTWIRE) stack clean

test: lint types ## Run every check and all tests, against real PostgreSQL and RabbitMQ
	@$(BIN)/python -c 'from mintwire.stack.install import ensure_rabbitmq; ensure_rabbitmq()'
	@$(BIN)/python -c 'from tests.chromium import ensure_chromium; ensure_chromium()'
	@$(BIN)/python -c 'from tests.deploy.proxies import ensure_haproxy; ensure_haproxy()'
	$(BIN)/pytest $(PYTEST_ARGUMENTS)

lint: dev ## Check style, formatting, import contracts and the compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/docker-compose config -q

format: dev ## Format the code and fix what can be fixed automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: dev ## Check types
	$(BIN)/mypy

bench: dev ## Measure speed against bare programs with the same libraries
	$(BIN)/python -m bench

race: dev ## Race buyers for codes on replicas of the redemption service; RACE_ARGUMENTS="--runs 20 --codes 1000 --racers 64" for long
	$(BIN)/python -m bench.race $(RACE_ARGUMENTS)

compose-check: dev ## Use the compose stack as people do, on fresh engines of Debian 12 and 13; needs root, takes an hour
	@for engine in classic modern; do COMPOSE_REAL_ENGINE=$$engine scripts/compose-up-for-real.sh check || exit 1; \
	    COMPOSE_REAL_ENGINE=$$engine scripts/compose-up-for-real.sh down || exit 1; done

proof: compose-check ## All checks that are too slow for `make test`: twenty races, and the compose stack; needs root, takes 90 minutes
	$(BIN)/python -m bench.race --runs 20

lock: dev ## Lock the dependencies again, with hashes, after a change to requirements*.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements-local.in -o requirements-local.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements-dev.in -o requirements-dev.txt

local:
	@scripts/venv.sh requirements-local.txt

dev:
	@scripts/venv.sh requirements-dev.txt
