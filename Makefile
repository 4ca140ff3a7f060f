# `make demo` shows what this is; `make test` checks everything. Both set up .venv when needed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The machine's own Python if it is supported, else the newest one that is.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python python3.13 python3.12 python3.11 python3.10; do \
	"$$name" -c '$(SUPPORTED)' 2>/dev/null && echo "$$name" && break; done)

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python -m
REPORT := $(BIN)/python -c 'from qwen3_vl.ops import native; print(native.report())'

# What decides whether an installation is still good. An editable one sees the sources by itself.
NATIVE := CMakeLists.txt $(shell find csrc -name '*.h' -o -name '*.cpp')
SET_UP := pyproject.toml requirements.txt requirements-dev.txt $(NATIVE)
SOURCES := $(shell find src -type f -not -name '*.pyc')

# The development installation can do all that the plain one can: where it is, it is kept.
DEV := .venv/installed-dev
PLAIN := .venv/installed
INSTALLED := $(if $(wildcard $(DEV)),$(DEV),$(PLAIN))

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 16

.PHONY: demo
demo: $(INSTALLED)  ## Ask the embedded model about pictures
	@$(RUN) qwen3_vl demo

.PHONY: test check
test: check  ## Check everything: what CI runs
check: format-check lint types layers docs tests
	@echo '==> all checks passed'

.PHONY: format
format: $(DEV)  ## Rewrite the files in the project's format
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix-only .
	@$(BIN)/clang-format -i $(filter csrc/%,$(NATIVE))

.PHONY: format-check
format-check: $(DEV)  ## Is every file in the project's format?
	@echo '==> format (ruff, clang-format)'
	@$(RUN) ruff format --check .
	@$(BIN)/clang-format --dry-run -Werror $(filter csrc/%,$(NATIVE))

.PHONY: lint
lint: $(DEV)  ## Look for likely mistakes
	@echo '==> lint (ruff)'
	@$(RUN) ruff check .

.PHONY: types
types: $(DEV)  ## Check the types
	@echo '==> types (basedpyright)'
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

.PHONY: layers
layers: $(DEV)  ## Check that imports point down
	@echo '==> layers (import-linter)'
	@$(BIN)/lint-imports

.PHONY: docs
docs: $(DEV)  ## Build the documentation; a warning is an error
	@echo '==> docs (mkdocs)'
	@site=$$(mktemp -d); trap 'rm -rf "$$site"' EXIT; \
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet --strict --site-dir "$$site"

.PHONY: tests
tests: $(DEV)  ## Run the tests that are not slow
	@echo '==> tests (pytest)'
	@$(RUN) pytest

.PHONY: bench
bench: $(DEV)  ## Compare the speed with transformers here, in some minutes
	@$(RUN) benchmarks.compare --short

.PHONY: clean
clean:  ## Remove .venv and all that was built
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Set-up ---------------------------------------------------------------------------------------

.venv/made:
	@python='$(PYTHON)'; \
	[[ -n $$python ]] && "$$python" -c '$(SUPPORTED)' || { \
	echo 'Python 3.10, 3.11, 3.12 or 3.13 is needed and was not found.'; \
	echo 'Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'; \
	exit 1; }; \
	echo "==> making .venv with $$python"; \
	"$$python" -m venv .venv || { \
	echo 'This Python cannot make virtual environments. On Debian: apt install python3-venv'; \
	exit 1; }
	@touch $@

$(PLAIN): .venv/made $(SET_UP) $(SOURCES)
	@echo '==> installing what the package needs to run (the first time takes minutes)'
	@$(RUN) pip install --quiet --requirement requirements.txt
	@$(REPORT)
	@touch $@

# The parity tests compare pixels with transformers' own image processor, which needs torchvision.
# On its own and without its dependencies, or it could bring another torch.
$(DEV): .venv/made $(SET_UP)
	@echo '==> installing what work on the package needs (the first time takes minutes)'
	@$(RUN) pip install --quiet --requirement requirements-dev.txt
	@$(RUN) pip install --quiet --no-deps torchvision==0.28.0
	@$(REPORT)
	@touch $@
