# Each line is a command a person could type. `make run PIP_ARGS=...` hands more arguments to pip (README, "On a laptop").

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test space demo bench lint clean

# The first Python that answers and is one the packages support. A name on the PATH may be a shim that only prints an error.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1 && echo "$$p" && break; done)
PIP_ARGS ?=
PYTEST_ARGS ?=
BIN := .venv/bin

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: .venv/installed  ## set everything up and serve the app at http://127.0.0.1:7860
	$(BIN)/python app.py

test: lint  ## set everything up, look at the code with ruff, run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

space: .venv-space/installed  ## all tests in what a ZeroGPU Space gets: Python 3.12, torch 2.11, the newest that requirements.txt allows
	.venv-space/bin/python -m pytest $(PYTEST_ARGS)

demo: .venv/installed  ## the whole job on the sample data, without a browser, into out/demo
	rm -rf out/demo
	$(BIN)/python -m pipeline demo --out out/demo

bench: .venv/installed-dev  ## every benchmark, about an hour on 2 cores; each prints a table and writes out/bench/NAME.json
	mkdir -p out/bench
	$(BIN)/python benchmarks/startup.py --json out/bench/startup.json
	$(BIN)/python benchmarks/base_quality.py --json out/bench/base_quality.json
	$(BIN)/python benchmarks/train_speed.py --quick --json out/bench/train_speed.json
	$(BIN)/python benchmarks/generate_speed.py --quick --json out/bench/generate_speed.json
	$(BIN)/python benchmarks/finetune_270m.py --json out/bench/finetune_270m.json
	$(BIN)/python benchmarks/export_cost.py --quick --json out/bench/export_cost.json

lint: .venv/installed-dev  ## ruff
	$(BIN)/ruff check .

clean:  ## remove what make made: the environments and out/
	rm -rf .venv .venv-space out

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and none was found on the PATH: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv

# The stamps come last, so that an installation that was cut short is done again.
.venv/installed: requirements.txt constraints.txt Makefile | .venv/bin/python
	$(BIN)/python -m pip install -r requirements.txt -c constraints.txt $(PIP_ARGS)
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install -r requirements-dev.txt -c constraints.txt $(PIP_ARGS)
	touch $@

.venv-space/installed: requirements.txt requirements-dev.txt
	python3.12 -m venv --clear .venv-space
	.venv-space/bin/python -m pip install "torch==2.11.*" -r requirements.txt -r requirements-dev.txt $(PIP_ARGS)
	touch $@
