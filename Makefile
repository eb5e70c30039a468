# make demo: labels drawn scenes with the embedded model, offline. make test: runs the test suite.
# make test-slow: its long part, dozens of kills, thousands of images and long random series.
# make test-interop: what other programs read of our files. make test-lowest: the commands, with the
# oldest versions of what they need.
# Each creates its own environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Start-up takes twice as long without compiled bytecode, which some systems switch off.
export PYTHONDONTWRITEBYTECODE :=

UV := $(BIN)/uv pip install --quiet --python .venv

.PHONY: demo test test-slow test-interop test-lowest gpu lint format docs tiny-model clean

demo: .venv/.installed
	$(BIN)/dinoiser demo

# Torch's threads spin while they wait for work. Two processes on two cores then keep each other
# from it, and everything takes four times as long; "passive" threads sleep.
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile

test: .venv/.tools .venv/.system
	$(PYTEST)

test-slow: .venv/.tools .venv/.system
	$(PYTEST) -m "slow or hypothesis" --hypothesis-profile=long

# Other programs read what we write. They live apart, as they bring their own OpenCV and more; one
# that does not install is skipped, and the tests say so.
INTEROP := .venv/interop
test-interop: $(BIN)/uv
	test -d $(INTEROP) || $(BIN)/uv venv --quiet $(INTEROP)
	$(BIN)/uv pip install --quiet --python $(INTEROP) --editable ".[interop]" hypothesis pytest \
	|| $(BIN)/uv pip install --quiet --python $(INTEROP) --editable . hypothesis pytest supervision
	OMP_WAIT_POLICY=passive $(INTEROP)/bin/python -m pytest --noconftest -m slow tests/interop

# The oldest versions that pyproject.toml allows, which pip keeps where they are installed already.
LOWEST := .venv/lowest
test-lowest: $(BIN)/uv .venv/.system
	test -d $(LOWEST) || $(BIN)/uv venv --quiet --python 3.11 $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable . --group test
	OMP_WAIT_POLICY=passive $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile \
		-W ignore::DeprecationWarning tests/cli tests/export tests/plugin/review/test_keys.py

# All that needs a GPU, in minutes and offline; without one it says so.
gpu: .venv/.tools
	$(BIN)/python -m benchmarks.gpu

lint: .venv/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.tools
	$(UV) --group docs
	$(BIN)/mkdocs build --strict

# The embedded model made anew: a backbone, which takes half an hour, and its heads by the code of
# `dinoiser train`, which take some minutes. Without OMP_NUM_THREADS torchrun warns that it sets it.
TINY := build/tiny-model
tiny-model: .venv/.installed
	mkdir -p $(TINY)
	OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 -m training.tiny.backbone --out $(TINY)/backbone.safetensors
	$(BIN)/python -m training.tiny.heads --backbone $(TINY)/backbone.safetensors --out $(TINY)/heads.safetensors
	$(BIN)/python -m training.tiny.evaluate --backbone $(TINY)/backbone.safetensors --heads $(TINY)/heads.safetensors

clean:
	rm -rf .venv build dist site *.egg-info demo-output

$(BIN)/uv:
	.ci/python-venv $(PYTHON)

.venv/.installed: pyproject.toml $(BIN)/uv
	$(UV) --editable .
	touch $@

.venv/.tools: .venv/.installed
	$(UV) --group dev
	touch $@

.venv/.system: .ci/system-packages
	.ci/system-packages
	touch $@
