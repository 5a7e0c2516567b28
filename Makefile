# make demo    train one detector for any size, on a CPU, against plain training: 6 minutes on 2 cores
# make test    lint, type check and all tests: about 27 minutes on 2 cores
# make quick   lint, type check and the quick tests of the core: at most 3 minutes on 2 cores
# make lint    lint and type check only
# make docs    build the guide, build/docs/index.html; warnings are errors
# make linkcheck  check the guide's links to other sites; needs the network
#
# The first run creates .venv and downloads PyTorch and the rest into it. No compiler is needed.
# Choose an interpreter with: make test PYTHON=python3.12
# Tests run in two processes of one thread and about 2 GB each; for more: make test TEST_JOBS=8

PYTHON ?= python3
TEST_JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The core: radii, perturbation, channel groups, importance, budgets, surgery and checkpoints.
CORE := tests/test_layers.py tests/optim tests/pruning tests/checkpoint

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test hint quick lint docs linkcheck format clean

demo: $(STAMP)
	@echo '== demo'
	$(BIN)/python -m adasap_det.demo

test: hint lint
	@echo '== tests, including slow ones; failures are named as they occur'
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q \
	    -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder \
	    --ignore=tests/configs/test_training.py
	@echo '== training runs of all detectors, in a separate process for their memory'
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/python -m pytest -q tests/configs/test_training.py

hint:
	@echo '== lint, types and all tests: about 27 minutes on 2 cores, and once the download of PyTorch'
	@echo '   (make quick: the core, at most 3 minutes)'

quick: lint
	@echo '== quick tests of the core'
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -m 'not slow' \
	    -n $(TEST_JOBS) --dist worksteal $(CORE)

lint: $(STAMP)
	@echo '== ruff'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo '== mypy'
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx -W -n --keep-going -b html docs build/docs
	@echo 'build/docs/index.html'

linkcheck: $(STAMP)
	$(BIN)/python -m sphinx -W -n --keep-going -b linkcheck docs build/linkcheck

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(STAMP): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 10) <= v < (3, 13) or sys.exit( \
	    "Python %d.%d is not supported: run make PYTHON=python3.11 (or 3.10, 3.12)" % v[:2])'
	@echo '== virtual environment in $(VENV)'
	$(PYTHON) -m venv $(VENV)
	@echo '== packages (minutes and gigabytes on the first run, because of PyTorch)'
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@
