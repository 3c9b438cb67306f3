# The commands of this repository. `make` alone lists them.
#
# Each command installs what it needs into .venv first (scripts/setup), which costs nothing the second time.
# A longer proof NAME is an executable file scripts/prove-NAME, and runs as `make prove-NAME`.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Some shells export their machine's name as HOST, which would open the service to the network unasked: `make run`
# takes it as an argument only. Without arguments the service's own settings decide (cepstra serve --help).
HOST :=

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help run test lint bench sbom clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@for proof in scripts/prove-*; do [ ! -e "$$proof" ] || printf '  make %-12s %s\n' "$${proof#scripts/}" "$$(sed -n '2s/^# *//p' "$$proof")"; done

run:  ## serve the shipped bundle; PORT=8123 HOST=0.0.0.0 to listen elsewhere
	@scripts/setup
	@exec cepstra serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test:  ## everything that must hold: lint, then all tests; ARGS="-k name" for a part
	@scripts/setup train dev
	@scripts/browser
	@$(MAKE) --no-print-directory lint
	pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint:  ## ruff and mypy --strict
	@scripts/setup train dev
	ruff check .
	ruff format --check .
	mypy

bench:  ## measure: every module of benchmarks/
	@scripts/setup train dev
	@set -e; for file in benchmarks/[!_]*.py; do echo "== $$file"; python -m "benchmarks.$$(basename "$$file" .py)"; done

sbom:  ## what the image holds, as CycloneDX; IMAGE=cepstra:0.1.0
	@scripts/sbom $(IMAGE)

prove-%: scripts/prove-%
	@scripts/setup train dev
	@exec $<

clean:  ## remove .venv and all caches; runs/ and bundles/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
