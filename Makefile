# What a person types. On a fresh Debian or Ubuntu machine `make run` needs Python 3.11 or newer, and make.

BIN := .venv/bin
MINTWIRE := $(BIN)/python -m mintwire
PYTEST_ARGUMENTS ?= -n 2
RACE_ARGUMENTS ?=

.DEFAULT_GOAL := help
.PHONY: help run up down status clean test lint format types bench race compose-check proof lock local dev

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

run: local ## Start the whole system on this machine, play the main job, stay up until Ctrl-C
	@$(MINTWIRE) stack up

up: local ## Start the whole system in the background
	@$(MINTWIRE) stack up --detach

down: local ## Stop what `make up` started, and whatever a killed run left behind
	@$(MINTWIRE) stack down

status: local ## Show what runs
	@$(MINTWIRE) stack status

clean: local ## Remove all data of the stopped system: databases, queues, keys, logs
	@$(MINTWIRE) stack clean

test: lint types ## Run every check and all tests, against real PostgreSQL and RabbitMQ
	@$(BIN)/python -c 'from mintwire.stack.install import ensure_rabbitmq; ensure_rabbitmq()'
	$(BIN)/pytest $(PYTEST_ARGUMENTS)

lint: dev ## Check style, formatting, import contracts and the compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/docker-compose config -q

format: dev ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: dev ## Check types
	$(BIN)/mypy

bench: dev ## Measure speed beside bare programs of the same libraries
	$(BIN)/python -m bench

race: dev ## Race buyers for codes on replicas of the redemption service; RACE_ARGUMENTS="--runs 20 --codes 1000 --racers 64" for long
	$(BIN)/python -m bench.race $(RACE_ARGUMENTS)

compose-check: dev ## Do to the compose stack what people do to it, on fresh engines of Debian 12 and 13; root, an hour
	@for engine in classic modern; do COMPOSE_REAL_ENGINE=$$engine scripts/compose-up-for-real.sh check || exit 1; \
	    COMPOSE_REAL_ENGINE=$$engine scripts/compose-up-for-real.sh down || exit 1; done

proof: compose-check ## All that takes too long for `make test`: twenty races, and the compose stack; root, an hour and a half
	$(BIN)/python -m bench.race --runs 20

lock: dev ## Lock the dependencies again, with hashes, after a change to requirements*.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements-local.in -o requirements-local.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 requirements-dev.in -o requirements-dev.txt

local:
	@scripts/venv.sh requirements-local.txt

dev:
	@scripts/venv.sh requirements-dev.txt
