# `make demo` and `make test` do all the set-up they need.
#   PYTHON    interpreter that .venv is made with (3.11 or newer)
#   PIP_ARGS  more arguments for pip, e.g. --extra-index-url https://download.pytorch.org/whl/cpu
#   REAL      folder with the real models and data, else ../shared/real (docs/real_models.md)
PYTHON ?= python3
PIP_ARGS ?=
REAL ?=

BIN := .venv/bin
EXTRAS := openvino,torch,hf,train,search,ray,demo,dev
PIP := $(BIN)/pip install --quiet $(PIP_ARGS) -c constraints.txt
PYTEST := $(BIN)/pytest -n 2 --dist worksteal $(if $(REAL),--real=$(REAL))

# where this is set, each of the thousand processes that the tests start compiles gossamer anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-all check check-coverage docs bench

help:
	@echo 'make demo            train a small model, compress it, write gossamer-demo/'
	@echo 'make test            every test that is not slow'
	@echo 'make test-all        the slow ones too'
	@echo 'make check           ruff, mypy, import-linter'
	@echo 'make check-coverage  the tests again, counting lines (95 % needed)'
	@echo 'make docs            write docs/reference from the plug-ins'
	@echo 'make bench           run benchmarks/cases.yaml and fill the table of the README'
	@echo 'make install         only the set-up: .venv with all of the above'

install: .venv/.installed

# torch first and alone: where an index offers a CPU build of the pinned version, pip takes that
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"needed Python 3.11 or newer; received {v}. Name another one: make PYTHON=python3.11 install")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[$(EXTRAS)]'
	touch $@

demo: install
	$(BIN)/gossamer demo

test: install
	$(PYTEST)

test-all: install
	$(PYTEST) -m ''

check: install
	scripts/check

check-coverage: install
	$(PYTEST) --cov --cov-report=term

docs: install
	$(BIN)/python scripts/reference.py

bench: install
	$(BIN)/python benchmarks/run.py
