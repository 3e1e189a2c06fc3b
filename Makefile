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
	cargo build --locked -p ntro-operator -p ntro

.PHONY: test
test: lint unit golden e2e ## Everything that must pass.

.PHONY: lint
lint: venv ## Formatting and lints, Rust and Python.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(PY) -m ruff check runtime examples tests
	$(PY) -m ruff format --check runtime
	cd runtime && $(PY) -m mypy

.PHONY: unit
unit: venv ## Unit, property and model tests; the crash tests of the runtime against the real journal.
	cargo test --locked --workspace
	cargo build --locked -p ntro-journal --example journal-server
	cd runtime && $(PY) -m pytest -q tests
	$(PY) -m pytest -q examples/runbooks

.PHONY: golden
golden: ## Generated files are up to date: CRDs, chart schemas, tenant chart.
	cargo run --locked -q -p ntro-crds --example generate -- --check

.PHONY: generate
generate: ## Write the generated files.
	cargo run --locked -q -p ntro-crds --example generate

.PHONY: images
images: binaries ## Build the images and push them to the test registry.
	@$(CLUSTER) build
	@$(CLUSTER) up
	@$(CLUSTER) push-images

.PHONY: e2e
e2e: venv images ## Behaviour on the real cluster.
	# What failed is run once more by itself, so that a machine that stalled for a minute is told from a defect.
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q tests/e2e || $(PY) -m pytest -q --last-failed tests/e2e
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q tests/admission || $(PY) -m pytest -q --last-failed tests/admission

.PHONY: test-long
test-long: venv images ## The same with the real, long times (leases, outages): about half an hour.
	eval "$$($(CLUSTER) env)"; $(PY) -m pytest -q --long tests/e2e

.PHONY: venv
venv: packages $(NTRO_CACHE)/venv/.stamp

$(NTRO_CACHE)/venv/.stamp: tests/requirements.txt
	@mkdir -p $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --require-virtualenv -r tests/requirements.txt
	@touch $@
