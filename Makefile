# Two commands do everything: `make run` and `make test`. Both install first what is not installed yet.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The longest folders first, each file in one process.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
TESTS := tests/integration tests/distributed tests/infra tests/unit tests/benchmarks tests/faults

.PHONY: run test test-full test-slow test-infra lint types tests bench format clean

run: $(INSTALLED)
	$(BIN)/bngan run configs/digits.yaml

test: lint types tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(INSTALLED)
	$(BIN)/mypy

tests: $(INSTALLED)
	$(PYTEST) $(TESTS)

test-full: lint types
	$(PYTEST) -m "not slow" $(TESTS)

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

# What infra/ has, judged by what reads it; a part of tests. Alerts want promtool, units systemd-analyze.
test-infra: $(INSTALLED)
	$(BIN)/pytest tests/infra

# Speed beside what others write: minutes, on a machine that has nothing else to do. MNIST: its parquet files.
bench: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks $(MNIST)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bngan needs Python 3.11 or newer")'
	@echo "installing into $(VENV): several minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
