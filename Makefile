# Every target does its own set-up: a virtual environment in .venv with the tested versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: help setup demo test trial lint rivals bench clean

help:
	@echo "make demo    simulate a log, prepare it, compare all seven methods over 3 seeds, export ESMM and rank three candidates (about 5 minutes)"
	@echo "make test    lint, types and the test suite"
	@echo "make trial   slow trials: real logs end to end, statistics over many draws"
	@echo "make lint    ruff and pyright alone"
	@echo "make rivals  environments of the libraries that training is measured against (TensorFlow and torch, 3 GB)"
	@echo "make bench   run all benchmarks, with the rivals whose environments are there, and make docs/benchmarks.md"

# torch first: on some platforms another package's range would take a build with several GB of CUDA packages
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@echo "installing the tested versions into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

setup: $(VENV)/.ready

demo: setup
	$(BIN)/entirespace simulate $(DEMO)/log --impressions 120000 --conversion-rate 0.1 --seed 1
	$(BIN)/entirespace prepare $(DEMO)/log/schema.toml $(DEMO)/log $(DEMO)/dataset
	$(BIN)/entirespace compare $(DEMO)/dataset -o $(DEMO)/report --seeds 3
	$(BIN)/entirespace train ESMM $(DEMO)/dataset -o $(DEMO)/run --quiet
	$(BIN)/entirespace export $(DEMO)/run $(DEMO)/bundle --quiet
	$(BIN)/python -c "import polars as pl; pl.read_parquet('$(DEMO)/log/impressions-*.parquet').head(3).write_parquet('$(DEMO)/three.parquet')"
	$(BIN)/entirespace score $(DEMO)/bundle $(DEMO)/three.parquet --side common=$(DEMO)/log/common.parquet -o $(DEMO)/scores.parquet --force --quiet
	$(BIN)/python -c "import polars as pl; print(pl.read_parquet('$(DEMO)/scores.parquet', columns=['item_id', 'pctr', 'pcvr', 'pctcvr']).sort('pctcvr', descending=True))"
	@echo "report: $(DEMO)/report/report.html (also report.md and report.json); the ranking above: $(DEMO)/scores.parquet"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

test: lint
	$(BIN)/python -m pytest -n 2

trial: setup
	$(BIN)/python -m pytest -m trial -s --timeout 1800

rivals:
	PYTHON=$(PYTHON) TORCH_INDEX="$(TORCH_INDEX)" sh benchmarks/rivals/setup.sh

# choices.py is not among them: it wants prepared data sets
BENCHMARKS := training aliccp_structure memory preparing metrics scoring scale

bench: setup
	set -e; for script in $(wildcard $(BENCHMARKS:%=benchmarks/%.py)); do $(BIN)/python $$script; done
	$(BIN)/python benchmarks/book.py

clean:
	rm -rf $(VENV) $(DEMO)
