# GNU make 3.81 or later, POSIX sh. A target with a "##" comment is listed by `make help`.
# Another Python: make lab PYTHON=/path/to/python3

PYTHON ?= python3
BIN := .venv/bin

# GNU OpenMP's threads wait by running in circles. Where other programs run too, that slows torch
# down several times over; a shorter wait costs nothing where none do.
export GOMP_SPINCOUNT ?= 10000

# glibc gives large blocks back to the system as soon as they are free, and gets them again, page
# by page, for the next layer. To keep up to 256 MB makes a gradient a fifth faster.
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 268435456

# Creates .venv and installs pyproject.toml's list with these extras; silent if that is done.
SETUP = command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "labkit: there is no $(PYTHON); install Python 3.11 or later from python.org" >&2; exit 1; }; \
	$(PYTHON) -m labkit.bootstrap --extras

.DEFAULT_GOAL := help
.PHONY: help lab test test-skipped test-real test-gpu test-colab lint notebooks exercises colab data bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

lab: ## set up the course and open it in JupyterLab
	@$(SETUP) lab
	@root=; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	exec $(BIN)/jupyter lab $$root notebooks/00_start.ipynb

# A process for each core, and in each one thread: faster than one process with a thread a core. In
# the order of their names the long files do not come last.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical
BY_FILE := --dist=loadfile --no-loadscope-reorder
# The long labs first, so that in the end no process waits for another one's.
LONG := $(wildcard notebooks/0[2567]_*.ipynb)
LABS := $(LONG) $(filter-out $(LONG),$(wildcard notebooks/*.ipynb))

# The ids of the tests that `make test` skipped, and beside them what it says of them at its end.
SKIPPED := test-results/skipped

test: lint ## lint, then run all tests and all notebooks
	@$(PYTEST) $(BY_FILE) --skipped-to=$(SKIPPED)
	@CUDA_VISIBLE_DEVICES= $(PYTEST) $(BY_FILE) --nbval-lax --nbval-current-env --nbval-cell-timeout=600 $(LABS)
	@cat $(SKIPPED).line

test-skipped: ## with all extras, run what the last `make test` skipped
	@test -f $(SKIPPED) || { echo "labkit: run make test first" >&2; exit 1; }
	@$(SETUP) lab,test,conformance,cluster,grading
	@test -s $(SKIPPED) || { echo "labkit: make test skipped nothing"; exit; }; \
	$(PYTEST) $(BY_FILE) --skipped-to=$(SKIPPED)-again @$(SKIPPED) && cat $(SKIPPED)-again.line

test-real: ## run the labs on the real networks and pictures in ../shared/real
	@$(SETUP) lab,test
	@$(PYTEST) --dist=worksteal tests/real_notebooks.py tests/real_perturbation.py

test-gpu: ## run the labs and the tests of devices on a GPU, on a pretended one where there is none
	@$(SETUP) lab,test
	@LABKIT_TEST_GPU=1 $(BIN)/python -m pytest tests/gpu_labs.py tests/test_gpu.py

# Nothing else needs this Python: Colab's is 3.13, so PYTHON=python3.13 comes nearest.
test-colab: ## run the labs and the tests of the widgets on what Colab has installed
	@$(PYTHON) tests/colab/run.py

lint: ## check the style of code and notebooks, and labkit's types
	@$(SETUP) lab,test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

notebooks: ## execute all notebooks in place and keep their outputs
	@$(SETUP) lab,test
	@$(BIN)/python tools/execute_notebooks.py

exercises: ## write exercises/ from solutions/
	@$(SETUP) lab
	@$(BIN)/python -m tools.make_exercises

colab: ## write into the notebooks where Colab finds them: git's remote and branch
	@$(SETUP) lab
	@$(BIN)/python -m tools.stamp_colab

data: ## rebuild the embedded pictures and networks from nothing
	@$(SETUP) lab
	@$(BIN)/python -m data_scripts.make_leaves
	@$(BIN)/python -m data_scripts.make_heritage
	@$(BIN)/python -m data_scripts.train_networks

bench: ## measure what the methods cost beside other libraries, and write benchmarks/results.md
	@$(SETUP) lab,conformance,cluster,grading
	@$(BIN)/python -m benchmarks

clean: ## remove .venv and what tools left behind
	rm -rf .venv .venv-colab-* .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist test-results
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +
