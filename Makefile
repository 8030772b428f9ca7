# Every target brings its own environment: Python 3.13, make and a package index are all that is needed.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

python := .venv/bin/python
export SAM_CLI_TELEMETRY := 0

.PHONY: help env env-local demo chaos simulate fuzz load nightly test test-long sam-local engine up down invoke replay redrive migrate trace verify-audit export forget bench screenshots openapi check format lock build clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: env-local ## Sell out a show while things break, and print what held (SEED= STATE=)
	@$(python) -m local.demo

chaos: env-local ## Besiege a sale: kill everything, cut every connection, then check every promise (SECONDS=120 MINUTES= SEED= STATE=)
	@$(python) -m local.chaos

simulate: env ## Everything that can happen, in random order made by a seed, and every promise checked (SECONDS=120 or STEPS=, SEED= REPLAY=file GUARDS=1)
	@$(python) -m local.simulation

fuzz: env ## Call every function with all that docs/openapi.json allows, and all that it does not (SECONDS=120 SEED= STATE=)
	@PYTHONPATH=.:shared:layers/postgres:layers/stripe $(python) -m local.fuzz

load: env-local ## 200 buyers at a time and a flood of error reports; then all is counted (SECONDS=60 SEED= STATE=)
	@$(python) -m local.load

nightly: env ## What takes hours: fuzz, simulate and chaos with fresh seeds, every hole found, the races over thousands of rounds, bench
	SEED= STEPS= SECONDS=3600 $(MAKE) simulate
	SEED= MINUTES=30 SECONDS= $(MAKE) chaos
	SEED= GUARDS=1 $(MAKE) simulate
	SEED= SECONDS=1800 $(MAKE) fuzz
	$(MAKE) test-long
	$(MAKE) bench

test: env ## Run every test (ARGS='-k webhook -x' and the like go to pytest)
	@$(python) -m pytest -n auto --dist worksteal $(ARGS)

test-long: env ## Run the races again, over thousands of rounds
	@$(python) -m pytest -n auto --dist worksteal -m long --timeout 3600 $(ARGS)

sam-local: engine env ## Build with SAM, and sell a ticket through the functions in their containers (needs Docker)
	@$(python) -m pytest tests/sam_local -m '' -p no:randomly -q -s $(ARGS)

up: env-local ## Start the machine-sized cloud (PORT=8787 STATE=.local DETACH=1 SCHEDULES=off RATE_LIMITS=off LOCAL_ENVIRONMENTS=8)
	@$(python) -m local up

down: env-local ## Stop it (STATE=.local)
	@$(python) -m local down

invoke: env-local ## Invoke a function of the running cloud once (FUNCTION=reservation-cleanup EVENT=events/x.json STATE=.local)
	@$(python) -m local invoke '$(FUNCTION)' $(if $(EVENT),--event '$(EVENT)')

replay: env-local ## Have events of Stripe's done again (EVENT=, or STATUS=failed TYPE= SINCE= DRY_RUN=1; ADMIN_URL= ADMIN_TOKEN=)
	@$(python) -m scripts.replay

redrive: env-local ## Move webhook events that were given up back to the inbox (STATE=.local, or QUEUE_URL= of the inbox in AWS)
	@$(python) -m scripts.redrive $(if $(QUEUE_URL),--queue-url '$(QUEUE_URL)')

migrate: env-local ## Bring a database up to date: DATABASE_OWNER_URL's if set, else the running cloud's
	@if [ -n "$$DATABASE_OWNER_URL" ]; then $(python) -m scripts.migrate; else $(python) -m local invoke migrate; fi

trace: env-local ## Print the whole story that an id belongs to, in order (ID= of a reservation, payment, booking, refund, or Stripe's; ARGS=--json; DATABASE_OWNER_URL as for migrate)
	@PYTHONPATH=.:shared:layers/postgres $(python) -m scripts.trace $(ARGS)

verify-audit: env-local ## Recompute the audit's hash chain; names the first row that does not fit (HEAD=position:hash; DATABASE_OWNER_URL as for migrate)
	@$(python) -m scripts.verify_audit

export: env-local ## Print all that is kept of a person as JSON (EMAIL=; DATABASE_OWNER_URL as for migrate)
	@$(python) -m scripts.export_person

forget: env-local ## Remove what is personal of a person, and keep books and audit whole (EMAIL=; DATABASE_OWNER_URL as for migrate)
	@$(python) -m scripts.forget_person

bench: env ## Measure everything against its limit, some ten minutes (ARGS=--quick for a look, ARGS='--only cold')
	@PYTHONPATH=.:shared:layers/postgres:layers/stripe $(python) -m bench $(ARGS)

openapi: env ## Write docs/openapi.json anew, as the functions' code has it
	@PYTHONPATH=.:shared:layers/postgres:layers/stripe $(python) -m scripts.openapi write

screenshots: env ## Take the pictures of the storefront that the README shows (needs Chromium)
	@PYTHONPATH=.:shared:layers/postgres:layers/stripe $(python) -m scripts.screenshots

check: env ## Lint, types, migrations, exports, template
	@$(python) -m scripts.check

format: env ## Format the Python files
	@$(python) -m ruff check --fix-only --quiet . ; $(python) -m ruff format .

lock: env ## Renew uv.lock after a change of pyproject.toml, and the layers' requirements
	@$(python) -m scripts.requirements write

build: env ## Build what sam deploy deploys: compiled, and named by commit and time (ARGS go to sam build)
	@$(python) -m scripts.build $(ARGS)

env: ## Make .venv from uv.lock, with all that tests and checks need
	@scripts/environment all

env-local:
	@scripts/environment local

engine:
	@docker info >/dev/null 2>&1 || { echo "make sam-local runs the functions in containers: it needs Docker, running and open to this user (docker info)" >&2; exit 1; }

clean: ## Remove what can be made again (not .local, a cloud's state)
	rm -rf .venv .venv.lock .aws-sam .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
