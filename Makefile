# make demo: the main job on a real cluster, from nothing.   make test: everything that must pass.   make help: all targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_BUILD_JOBS ?= 2
export CARGO_TERM_COLOR ?= never
export NTRO_CACHE ?= $(HOME)/.cache/ntro
export PYTHONDONTWRITEBYTECODE := 1
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
export NTRO_BIN := $(CURDIR)/target/$(TRIPLE)/debug
CLUSTER := tests/cluster/cluster.sh
PY := $(NTRO_CACHE)/venv/bin/python

.PHONY: help
help: ## Show the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: binaries ## Bring up a cluster, install the charts, run nav-monthly for two tenants, approve its gate, print the outputs.
	@tests/demo/demo.sh

.PHONY: down
down: ## Remove the cluster that demo and test bring up.
	@$(CLUSTER) down

.PHONY: packages
packages:
	@$(CLUSTER) packages

.PHONY: binaries
binaries: packages
	cargo build --locked -p ntro-operator -p ntro-runner -p ntro

.PHONY: test
test: lint golden built images kueue ## Everything that must pass.
	# What needs the processor and what mostly waits for pods, side by side; the first gives way.
	$(MAKE) -j2 --no-print-directory --output-sync=line unit e2e

.PHONY: lint
lint: venv ## Formatting, lints, and the lints of our own: who imports whom.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(PY) -m ruff check lints runtime examples tests
	$(PY) -m ruff format --check lints runtime
	cd runtime && $(PY) -m mypy
	cd lints && $(PY) -m mypy --strict . && $(PY) -m pytest -q .
	$(PY) lints/imports.py >/dev/null
	$(PY) lints/licenses.py
	$(PY) lints/doc_lines.py

.PHONY: imports
imports: venv ## Draw which part imports which; FLAGS=--dot for Graphviz.
	@$(PY) lints/imports.py $(FLAGS)

.PHONY: counts
counts: venv ## Count sizes and repetitions; CHECKOUT=path for another commit, FLAGS=--list to name the places.
	@$(PY) lints/counts.py $(FLAGS) $(CHECKOUT)

.PHONY: built
built:
	cargo test --locked --workspace --no-run
	cargo build --locked -p journal-testserver -p ntro-runner

.PHONY: unit
unit: export PATH := $(NTRO_CACHE)/bin/registry:$(PATH)
unit: venv built ## Unit, property and model tests; the crash tests of the runtime against the real journal.
	+nice -n 15 cargo test --locked --workspace
	cd runtime && nice -n 15 $(PY) -m pytest -q tests
	nice -n 15 $(PY) -m pytest -q examples/runbooks tests/faults

.PHONY: golden
golden: ## Generated files are up to date: charts, the table of entries, the runtime's tables.
	cargo run --locked -q -p xtask -- generate --check

.PHONY: generate
generate: ## Write the generated files.
	cargo run --locked -q -p xtask -- generate

.PHONY: images
images: binaries ## Build the images and push them to the test registry.
	@$(CLUSTER) build
	@$(CLUSTER) up
	@$(CLUSTER) push-images

.PHONY: kueue
kueue: packages
	@$(CLUSTER) kueue build

.PHONY: e2e
e2e: venv images kueue ## Behaviour on the real cluster.
	# First what leaves the others alone, side by side; then what takes the operator away or watches all it does.
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q -n 4 --dist loadscope -m "not alone" --durations=5 tests/e2e
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q -m alone --durations=5 tests/e2e
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q -n 2 tests/admission

.PHONY: test-long
test-long: venv built images memory ## What takes its real time: an outage of five minutes, a thousand random schedules, a full volume in 512 MiB.
	cd runtime && nice -n 15 $(PY) -m pytest -q -s --long -m long tests
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q --long -m long tests/e2e

.PHONY: memory
memory: venv ## The operator in 512 MiB with a thousand journals, full ones, and 5 GB of blobs that move; needs no cluster.
	cargo build --locked --release -p ntro-operator
	cargo build --locked -p journal-testserver
	NTRO_OPERATOR_BIN=$(CURDIR)/target/$(TRIPLE)/release/ntro-operator $(PY) tests/long/memory.py

.PHONY: bench-images
bench-images: venv binaries
	cargo build --locked --release -p ntro-operator -p ntro-runner
	@$(CLUSTER) build
	# What a test left behind (Kueue, say) would be measured as well.
	@$(CLUSTER) down
	@$(CLUSTER) up
	@NTRO_OPERATOR_BIN=$(CURDIR)/target/$(TRIPLE)/release/ntro-operator \
	  NTRO_RUNNER_BIN=$(CURDIR)/target/$(TRIPLE)/release/ntro-runner $(CLUSTER) push-images

.PHONY: bench-skew
bench-skew: bench-images ## From the tick to the Jobs of N=1000 schedules due at once, against CronJob; on a fresh cluster.
	eval "$$($(CLUSTER) env)"; $(PY) tests/bench/skew.py $(or $(N),1000) $(FLAGS)

.PHONY: bench-idle
bench-idle: bench-images ## Memory, writes and restart with N=10000 schedules and four finished runs each.
	eval "$$($(CLUSTER) env)"; $(PY) tests/bench/idle.py $(or $(N),10000)
	# Its fifty thousand objects would keep the garbage collector busy for an hour.
	@$(CLUSTER) down >/dev/null 2>&1

.PHONY: bench-noop
bench-noop: bench-images ## A run that does nothing against a bare Job of the same image: alone, and 60 at a time.
	eval "$$($(CLUSTER) env)"; $(PY) tests/bench/noop.py $(N)

.PHONY: bench-append
bench-append: venv ## What one more activity costs in a run of N=10000, and 200 that only sleep; needs no cluster.
	cargo build --locked --release -p journal-testserver
	NTRO_JOURNAL_SERVER=$(CURDIR)/target/$(TRIPLE)/release/journal-testserver $(PY) tests/bench/append.py $(or $(N),10000)

.PHONY: faults
faults: bench-images ## KILLS=20 times kill -9 of the operator while N=1000 schedules fire: none lost, none doubled.
	eval "$$($(CLUSTER) env)"; $(PY) tests/faults/kills.py $(or $(N),1000) $(or $(KILLS),20)
	@$(CLUSTER) down >/dev/null 2>&1

.PHONY: soak
soak: bench-images ## MIN=30 minutes of a mixed load in which everything goes wrong: nothing lost, doubled, stuck, refused in time.
	eval "$$($(CLUSTER) env)"; $(PY) tests/faults/soak.py $(or $(MIN),30)
	@$(CLUSTER) down >/dev/null 2>&1

.PHONY: venv
venv: packages $(NTRO_CACHE)/venv/.stamp

$(NTRO_CACHE)/venv/.stamp: tests/requirements.txt
	@mkdir -p $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --require-virtualenv -r tests/requirements.txt
	@touch $@
