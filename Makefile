# Everything a checkout needs; each target sets itself up. On a fresh machine: Python 3.11 with pip, and make.
SHELL := /bin/sh
PYTHON_IN := .venv/bin/python
COMPILE := .venv/bin/uv pip compile --python-version 3.11 --universal --generate-hashes --no-header -q
PYTEST := $(PYTHON_IN) -m pytest -n 2
# What SQLite cannot change, or PostgreSQL has shown already, beside the tests that use no database.
NOT_ON_SQLITE := --ignore=tests/engine --ignore=tests/browser --ignore=tests/supervisor --ignore=tests/test_broker.py --ignore=tests/test_containers.py
# Storms that need no server, but a database.
IN_PROCESS := tests/torture/test_audit.py tests/torture/test_tenants.py
# Settings as a production server would have them, for Django's own checks.
PRODUCTION := DEBUG=false SECRET_KEY=a-key-for-checks-0123456789-abcdefghijklmnopqrstuvwxyz PUBLIC_URL=https://tiltyard.example.org \
	ALLOWED_HOSTS=tiltyard.example.org
# Containers often set it; every process that a test starts would then compile our own code anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run up test lint format lock torture clean setup setup-tests

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

run: setup ## everything with a demo, or with DATA=file-or-folder of your own, SUNDAYS=n weeks of it lived through; Ctrl-C stops it
	@exec $(PYTHON_IN) -m mlops.supervisor run $${DATA:+--data "$$DATA"} $${SUNDAYS:+--sundays="$$SUNDAYS"}

up: setup ## the same processes on the database as it is
	@exec $(PYTHON_IN) -m mlops.supervisor up

test: setup-tests ## the suite on PostgreSQL, and its database part on SQLite; ARGS="-k name" narrows it
	@failed=0; \
	echo "--- tests on PostgreSQL"; TEST_DATABASE=postgresql $(PYTEST) -m "not torture" $(ARGS) || failed=1; \
	echo "--- tests on SQLite"; TEST_DATABASE=sqlite $(PYTEST) --only-database $(NOT_ON_SQLITE) -m "not torture and not postgres_only" $(ARGS) || [ $$? -eq 5 ] || failed=1; \
	exit $$failed

torture: setup-tests ## the promises at full size; takes a day, TORTURE_SCALE=0.01 is a sample; ARGS="-k name" narrows it
	@failed=0; export TORTURE=1; \
	echo "--- storms on whole installations, and in this process on PostgreSQL"; \
	TEST_DATABASE=postgresql $(PYTHON_IN) -m pytest -m torture $(ARGS) || [ $$? -eq 5 ] || failed=1; \
	echo "--- storms in this process on SQLite"; \
	TEST_DATABASE=sqlite $(PYTHON_IN) -m pytest -m torture $(IN_PROCESS) $(ARGS) || [ $$? -eq 5 ] || failed=1; \
	if [ "$${TORTURE_SCALE:-1}" = 1 ]; then \
		echo "--- every mutant of every format, and every address, query and body"; \
		$(PYTEST) tests/engine/formats tests/test_promises.py $(ARGS) || [ $$? -eq 5 ] || failed=1; \
	fi; exit $$failed

lint: setup-tests ## style, types, import contracts, migrations, production settings
	@$(PYTHON_IN) -m ruff check .
	@$(PYTHON_IN) -m ruff format --check --quiet .
	@.venv/bin/lint-imports
	@$(PYTHON_IN) -m mypy
	@$(PRODUCTION) $(PYTHON_IN) manage.py makemigrations --check --dry-run
	@$(PRODUCTION) $(PYTHON_IN) manage.py check --deploy --fail-level WARNING

format: setup-tests ## let ruff rewrite what it can
	@$(PYTHON_IN) -m ruff check --fix --quiet . ; $(PYTHON_IN) -m ruff format .

lock: setup-tests ## requirements.txt and tests/requirements.txt from pyproject.toml
	@$(COMPILE) -o requirements.txt pyproject.toml
	@$(COMPILE) --group dev -c requirements.txt -o tests/requirements.txt pyproject.toml

clean: ## remove .venv and var/, the demo's data with it
	rm -rf .venv var

setup:
	@.ci/setup requirements.txt

setup-tests:
	@.ci/setup tests/requirements.txt
