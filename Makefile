# Each target installs the packages that it needs.
SHELL := /bin/bash
# The first Python that runs and is new enough, because a name on PATH may be a broken shim.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do $$each -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIGHT := $(VENV)/.light
OPA := $(or $(GUARDRAIL_OPA),$(shell command -v opa))
COMPLETE := guardrail/core/*,guardrail/guard.py,guardrail/call/guarded_calls.py,guardrail/call/entering.py,guardrail/call/steps.py,guardrail/call/stages.py,guardrail/call/settling.py,guardrail/call/released.py,guardrail/call/attempts.py,guardrail/call/early_denials.py,guardrail/call/outcome_record.py,guardrail/call/options.py,guardrail/call/asserted.py,guardrail/call/drivers.py,guardrail/call/budget.py,guardrail/call/decision_writer.py,guardrail/call/refusals.py,guardrail/call/decision_record.py,guardrail/call/record_checks.py,guardrail/call/admission.py,guardrail/identity/session.py,guardrail/call/scope.py,guardrail/call/caller.py,guardrail/call/bodies.py,guardrail/call/timed_bodies.py,guardrail/call/ended.py,guardrail/call/journal.py,guardrail/call/owners.py,guardrail/system/waiting.py

# The tests that cover every line and branch of COMPLETE. Measuring coverage makes a test half as slow again, so the other tests run without it.
GATED := tests/core tests/call tests/guard tests/identity tests/promises tests/wiring tests/system/test_waiting.py tests/system/test_cpu_meter.py \
	$(patsubst %,tests/approvals/test_approval_%.py,calls records ledger)

# Tests start thousands of processes. If this is set, each of them compiles the package again, which takes 0.2 s of CPU time.
unexport PYTHONDONTWRITEBYTECODE

# With more workers than cores, tests are hardly faster, and their calls begin to miss deadlines.
WORKERS ?= $(shell nproc)
# A module stays on one worker until another worker is idle.
SPREAD := -n $(WORKERS) --dist worksteal
# A test that hangs shows the stacks of its threads and fails, instead of stopping the run. The longest test takes half a minute.
ENDS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true
# Tests that take seconds: no crash runs, no real servers, few processes.
FAST := tests/core tests/call tests/guard tests/integrations tests/access_log tests/vectors \
	$(wildcard tests/review/test_*.py tests/review/doctor/test_*.py) \
	tests/review/verify/test_verify_approvals.py tests/review/verify/test_verify_sessions.py \
	tests/policy/embedded/test_embedded_engine.py tests/policy/rego/test_policy_merge.py \
	tests/policy/test_policy_bad_input.py tests/policy/test_policy_sources.py \
	tests/ledger/writing/test_ledger_writer.py tests/ledger/test_ledger_reader.py \
	tests/promises/test_p4_not_written.py tests/promises/test_p8_who.py \
	$(filter-out tests/system/test_input_files.py tests/system/test_disk_full.py tests/system/test_listener.py, \
		$(wildcard $(addsuffix /test_*.py,tests/config tests/errors tests/identity tests/keys tests/system tests/tools)))

.PHONY: help demo test test-fast lint types api policies node bench redaction-report soak clean
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "guardrail needs Python 3.11 or newer, with its venv module: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV)

# pip runs again only if the list of dependencies has changed.
$(READY): pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

# The demo needs one extra, which the set-up of `make test` includes.
$(LIGHT): pyproject.toml | $(BIN)/python
	@test $(READY) -nt pyproject.toml || { echo "setting up $(VENV) for the demo (once)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[langchain]'; }
	@touch $(LIGHT)

demo: $(LIGHT) ## watch a governed agent: allowed, denied, redacted, failing and killed calls
	@$(BIN)/guardrail demo

# COVERAGE=1 also measures the coverage of the GATED tests, and fails if they miss a line or branch of COMPLETE.
test: $(READY) ## run every test (WORKERS=1: one after the other)
ifdef COVERAGE
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest $(SPREAD) $(ENDS) --cov --cov-report= $(GATED)
	@$(BIN)/coverage report --fail-under=100 --show-missing --skip-covered --include='$(COMPLETE)'
	@$(BIN)/python -m pytest $(SPREAD) $(ENDS) $(addprefix --ignore=,$(GATED))
else
	@$(BIN)/python -m pytest $(SPREAD) $(ENDS)
endif

test-fast: $(READY) ## the inner loop: the tests that need neither crash runs nor real servers
	@$(BIN)/python -m pytest $(SPREAD) -m "not slow" $(FAST)

lint: $(READY) ## ruff, and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

api: $(READY) ## generate docs/api.md, and the tables in docs/integrations.md and docs/redaction.md
	@$(BIN)/python docs/make_api.py
	@$(BIN)/python docs/make_paths.py
	@$(BIN)/python docs/make_redaction_table.py

policies: $(READY) ## check the format of the shipped policies, and check and test them with a real OPA
	@test -n "$(OPA)" || { echo "no opa: set GUARDRAIL_OPA, or put it on PATH"; exit 2; }
	@$(OPA) fmt --list --fail policies
	@$(OPA) check --strict policies
	@$(OPA) test policies/guardrail policies/lib policies/starter
	@$(OPA) test policies/guardrail policies/lib policies/examples

NODE := tests/node/node_modules/.ready

# No lock file: it would name a registry. The versions are pinned, and no install scripts of the packages are run.
$(NODE): tests/node/package.json
	@npm install --prefix tests/node --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $(NODE)

node: $(NODE) ## install the Node clients and the OpenID Connect provider that tests run

bench: $(READY) ## run the benchmarks: ratios, with limits measured in the same run (QUICK=1: one round of every script)
	@for file in tests/bench/bench_*.py; do echo "== $$file"; GUARDRAIL_BENCH_QUICK=$(QUICK) $(BIN)/python -m "tests.bench.$$(basename $$file .py)" || exit 1; done

redaction-report: $(READY) ## print how much the redactor finds, and how much it removes needlessly
	@$(BIN)/python -m tests.core.redaction.report

# MINUTES=5 for less than half an hour, PROGRAMS=1000 for fewer policies, SEED=x to repeat a run, ROUNDS=100 for fewer rounds
soak: $(READY) ## every injected fault, ten times the crash states, 20,000 policies in both engines, a minute of broken streams, 1,000 rounds of one limit, half an hour of kills
	@GUARDRAIL_FUZZ=$(or $(PROGRAMS),20000) GUARDRAIL_FUZZ_SEED=$(or $(SEED),$(shell date +%s)) $(BIN)/python -m pytest tests/policy/embedded/test_engine_fuzz.py
	@GUARDRAIL_SOAK=1 $(BIN)/python -m pytest tests/crash tests/proxy/test_proxy_tally.py
	@$(BIN)/python -m tests.soak.rounds $(or $(ROUNDS),1000)
	@$(BIN)/python tests/soak/soak.py $(or $(MINUTES),30)

clean: ## remove the files that the targets above created
	rm -rf $(VENV) tests/node/node_modules .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
