# Two commands are all that a newcomer needs: `make demo` and `make test`.
# Every target sets up what it needs in .venv, from pinned and hashed requirements.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     ?= uv

.PHONY: help demo test fuzz lint format bench fairness protos manifests venv lock clean

help:            ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/ \t/' | sort

demo: $(VENV)/.demo   ## everything on this machine: Envoy, simulated model servers, an overload, a verdict
	@$(BIN)/epp demo $(ARGS)

test: $(VENV)/.dev    ## the whole test suite
	@$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile $(ARGS)

fuzz: $(VENV)/.dev    ## the wire engine against whatever peers may send, a minute for each target (x86-64)
	@$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/.dev    ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## what the machine can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev   ## what the picker costs, and how it does under load beside others: ratios in one run
	@$(BIN)/python -m benchmarks $(ARGS)

fairness: $(VENV)/.dev  ## who gets how much, beside other policies, and how right Retry-After is: numbers, figures, docs
	@$(BIN)/python -m benchmarks.fairness $(ARGS)

protos: $(VENV)/.dev  ## regenerate the message classes from protos/
	@$(BIN)/python -m protos.compile

manifests: $(VENV)/.dev  ## regenerate what deploy/ has from the code: CRDs, Envoy's configurations
	@$(BIN)/python -m deploy.generate

venv: $(VENV)/.dev    ## everything for development

# An interrupted or failed installation leaves no stamp, so the next call starts it again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "epp needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "python3-venv is missing. Install it: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (pinned, hashed) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/demo.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

lock:            ## recompile the pinned requirements (needs uv)
	@$(UV) pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" requirements/run.in -o requirements/run.txt
	@for level in demo dev build; do \
	  $(UV) pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command "make lock" -c requirements/run.txt requirements/$$level.in -o requirements/$$level.txt; \
	done

clean:           ## forget .venv and the reports
	@rm -rf $(VENV) demo-report bench-report .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
