# Every target does its own set-up in .venv; the second time that costs nothing.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test smoke slow peer extra cluster docs lint types format check-wheel clean help

help:
	@echo "make demo    train and compare all five families on digits (minutes on two cores), print the tables"
	@echo "make test    the test suite"
	@echo "make smoke   every shipped suite at smoke size, on one store"
	@echo "make lint    ruff, format check;   make types   mypy --strict;   make slow   the long tests"
	@echo "make peer    the metrics against other packages, and examples on them, in an environment of their own"
	@echo "make docs    the documentation as a site in site/, strict; its tools get an environment of their own"
	@echo "make cluster runs through a Slurm that it starts on this machine (needs root, slurm-wlm and munge)"
	@echo "make extra   the site, and what TeX and a browser make of tables and reports (needs pdflatex and chromium)"

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/bench run digits

# One process a core, one thread each; the tests of a file stay together, for they share what is dear to make.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

slow: $(READY)
	$(BIN)/python -m pytest -m slow

extra: $(READY) docs
	$(BIN)/python -m pytest -m extra tests/extra
	$(BIN)/python -m pytest tests/report/formats tests/report/test_latex_text.py

cluster: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/cluster

# Peers have requirements of their own, so they get an environment that only adds to the first.
peer: $(READY)
	@test -x .venv-peer/bin/python || $(PYTHON) -m venv .venv-peer
	@cd .venv-peer/lib/python3*/site-packages && \
	  echo "import site; site.addsitedir('$$(ls -d $(CURDIR)/$(VENV)/lib/python3*/site-packages)')" > main.pth
	.venv-peer/bin/pip install --quiet --disable-pip-version-check netcal prdc pytorch-ood torch-fidelity uncertainty-calibration \
	  'normflows>=1.7.3' 'torchebm>=0.8.9' 'diffusers>=0.35'
	@rm -rf .venv-peer/lib/python3*/site-packages/tests  # prdc installs its tests under this name
	OMP_NUM_THREADS=1 .venv-peer/bin/python -m pytest -m peer
	OMP_NUM_THREADS=1 .venv-peer/bin/python -m pytest tests/examples

# torchattacks, a requirement of bench, pins an old version of a library that these need.
docs:
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check 'mkdocs<2' 'mkdocs-material>=9.5,<10' 'mkdocstrings[python]>=0.26'
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "site/index.html"

# One store for all suites, apart from measured results; what two suites share is computed once.
smoke: $(READY)
	@rm -rf .cache/smoke
	@set -e; for suite in suites/*.toml; do \
	  echo "== $$suite, profile smoke"; \
	  BENCH_RESULTS=.cache/smoke $(BIN)/bench run $$suite --profile smoke; \
	  BENCH_RESULTS=.cache/smoke $(BIN)/bench table --format latex > .cache/smoke/$$(basename $$suite .toml).tex; \
	done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-peer .venv-docs site .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
