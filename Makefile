# Set-up, demo and tests: needs Python 3.11 or newer with its venv module, make and a package index. No root, no conda.
#
#   make demo     set up, simulate a small VLA observation, image it by RIM and by CLEAN, say where the results are
#   make test     set up, then lint, types and tests
#   make lint     ruff and mypy alone
#   make docs     the pages as HTML, docs/_build/html
#   make clean    remove .venv, the demo's files and caches
#
# What can be set on the command line (docs/installation.md): PYTHON, VENV, TORCH_INDEX, PIP_FLAGS.

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test

# A name on the PATH may be a shim that does not run, so each candidate is asked.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(USABLE)' >/dev/null 2>&1; then command -v $$p; break; fi; done)
endif

# TORCH_INDEX: a second package index, such as the one with PyTorch's small CPU builds; their version "2.13.0+cpu"
# ranks above the same "2.13.0" with CUDA, so pip takes it.
# Compiling every module of every dependency takes longer than installing them; Python does it for those it imports.
# Where the environment forbids that, every command would compile them anew, for longer than it works.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check $(PIP_FLAGS)
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo cufinufft==2.5.1)

DEMO_MS := data/demo.ms
PYTEST_FLAGS ?= -n 2

.PHONY: setup demo test lint docs clean
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): .ci/pins.txt pyproject.toml Makefile
	@"$(PYTHON)" -c '$(USABLE)' || { \
		echo "radrim needs Python 3.11 or newer with its venv module; found PYTHON='$(PYTHON)', python3 is $$(python3 --version 2>&1)."; \
		echo "Install one (on Debian or Ubuntu: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11"; \
		exit 2; }
	@echo "Installing pinned dependencies into $(VENV) with $$("$(PYTHON)" --version) (once; 1 to 3 minutes)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(PIP) -r .ci/pins.txt $(GPU) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY_TEST): .ci/pins-test.txt $(READY)
	@echo "Installing what the tests and the documentation need, too (once; about 1 minute)"
	@$(PIP) -r .ci/pins-test.txt -c .ci/pins.txt
	@touch $@

# The simulator renames the Measurement Set into place when it is complete: a folder of that name is whole.
$(DEMO_MS): | $(READY)
	$(BIN)/radrim simulate $@ --array vla-b --sky demo

demo: $(READY) | $(DEMO_MS)
	$(BIN)/radrim image $(DEMO_MS) --size 512 512 --scale 1asec --compare --name data/demo
	@echo
	@echo "Done. What came out:"
	@ls -1 data/demo-*.fits data/demo.png data/demo-report.html

lint: $(READY_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Warnings are errors: a link that leads nowhere, a page that nobody lists.
docs: $(READY_TEST)
	rm -rf docs/generated
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) docs/_build docs/generated data/demo* .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find radrim tests pipelines -name __pycache__ -prune -exec rm -rf {} +
