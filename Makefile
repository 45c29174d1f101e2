# Everything a newcomer types. `make demo` and `make test` set themselves up; nothing else is needed first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
BENCH ?=
TIMED := tests/acceptance tests/peer/test_sip_line.py
PART ?= kills sip sound mail api speech
SOAK_kills := tests/acceptance
SOAK_sip := tests/unit/test_sip_mutations.py
SOAK_sound := tests/unit/test_sound_mutated.py
SOAK_mail := tests/unit/test_mail_hostile.py
SOAK_api := tests/unit/test_api_schemathesis.py
SOAK_speech := tests/unit/test_transcribe_hard.py tests/unit/test_transcribe_kill.py
SOAK_OTHERS := $(foreach part,$(filter-out kills,$(PART)),$(SOAK_$(part)))

.PHONY: install demo test check check-crm soak run bench lint types imports format lock peers clean help

help: ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.developing: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what requirements-dev.lock names …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.assets: package.json package-lock.json hatch_build.py $(VENV)/.installed
	@echo "Fetching the pages' modules that package-lock.json names …"
	@$(BIN)/python hatch_build.py && touch $@ || echo "Going on without them: a form then loads its page anew."

install: $(VENV)/.installed $(VENV)/.assets ## What the service needs, into .venv

demo: $(VENV)/.installed $(VENV)/.assets ## Real calls and mails onto client cards; CHECK=1 only checks and cleans up; CRM=tryton tells one
	@$(if $(CRM),./tests/install-peers)
	@$(BIN)/cardline demo $(if $(CHECK),--check) $(if $(CRM),--crm $(CRM))

run: $(VENV)/.installed $(VENV)/.assets ## The service with cardline.toml
	@$(BIN)/cardline run

test: $(VENV)/.developing $(VENV)/.assets peers ## All tests but the soak; those that look at times by themselves first
	@$(BIN)/pytest -m "not soak" $(TIMED) $(ARGS)
	@$(BIN)/pytest -m "not soak" --numprocesses $(JOBS) --dist loadfile tests/unit tests/peer $(TIMED:%=--ignore=%) $(ARGS)

check: $(VENV)/.developing lint types imports test ## Lint, types, import rules, tests

check-crm: $(VENV)/.developing ## The contract of CRMs against a real account: CRM=name of a [[crm]] in cardline.toml
	@CARDLINE_CHECK_CRM="$(CRM)" $(BIN)/pytest tests/peer/test_crm_account.py $(ARGS)

lint: $(VENV)/.developing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.developing
	@$(BIN)/mypy

imports: $(VENV)/.developing
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.developing ## Put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# On two cores about three quarters of an hour: kills 20 minutes by the clock, one after the other, since they look at
# times; the others side by side, in minutes of processor time: sip 4, sound 1, mail 2, api 17, speech 2.
soak: $(VENV)/.developing $(VENV)/.assets peers ## Floods, fuzzing, kill matrices: under an hour; PART=kills sip sound mail api speech
	@$(if $(filter kills,$(PART)),HYPOTHESIS_PROFILE=searching $(BIN)/pytest -m soak --timeout 3600 $(SOAK_kills) $(ARGS))
	@$(if $(SOAK_OTHERS),HYPOTHESIS_PROFILE=searching $(BIN)/pytest -m soak --timeout 3600 --numprocesses $(JOBS) \
		--dist worksteal $(SOAK_OTHERS) $(ARGS))

bench: $(VENV)/.developing ## Every benchmark, or one with BENCH=name
	@$(BIN)/python -m tests.bench $(BENCH)

peers: ## Install the real servers the tests talk to, where apt may
	@./tests/install-peers

UV_COMPILE := .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --extra ru pyproject.toml

lock: ## Pin the newest allowed versions anew: all for developing, and of these what the service needs
	@$(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv
	@$(UV_COMPILE) --upgrade --group dev --output-file requirements-dev.lock
	@$(UV_COMPILE) --group build --constraint requirements-dev.lock --output-file requirements.lock

clean: ## Remove what was built
	@rm -rf $(VENV) .cache build dist node_modules agent/web/static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis
