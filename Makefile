# Two commands for a fresh clone: `make demo` and `make test`. Everything else is in the justfile.
# What they need: Python 3.11 or newer with venv, make, git. `PYTHON=...` names another interpreter.

SETUP := .venv/.stoker-setup
JUST := .venv/bin/just

.PHONY: demo test evaluate setup clean
.DEFAULT_GOAL := help

demo: $(SETUP)
	@$(JUST) demo

test: $(SETUP)
	@$(JUST) check

evaluate: $(SETUP)
	@$(JUST) evaluate

setup: $(SETUP)

$(SETUP): tools/setup.sh pyproject.toml requirements/uv.lock requirements/dev.lock requirements/model.lock
	@bash tools/setup.sh
	@touch $@

clean:
	rm -rf .venv .venv-vllm .clients .models

.PHONY: help
help:
	@echo "make demo   set up, then the main job on a real small model, ending with a table"
	@echo "make test   set up, then everything that has to be green"
	@echo "make evaluate  set up, then every scenario and arm on the simulated engine; some minutes"
	@echo "make setup  set up only; then '.venv/bin/just --list' has the rest"
