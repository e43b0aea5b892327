# The book's commands; `make help` lists them. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
PORT ?= 8000
NB ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COLAB := $(VENV)/colab/.ready
SITE := _build/html
# Another environment that happens to be active must not leak into ours (IPython would warn).
unexport VIRTUAL_ENV

# One thread and the CPU: what the stored outputs were made with, so that they come out alike.
PAGES_ENV := OMP_NUM_THREADS=1 TQDM_DISABLE=1 CUDA_VISIBLE_DEVICES=

.DEFAULT_GOAL := help
.PHONY: help book serve test unit pages execute tidy sync lint format check clean

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' \
	  | awk -F'\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "This book needs \
	Python 3.11 or newer; $(PYTHON) is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (once, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# A second set of the notebook's packages, laid over the first for one test: see tests/colab.txt.
$(COLAB): tests/colab.txt $(READY)
	rm -rf $(@D)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --target $(@D) -r $<
	@touch $@

book: $(READY)  ## build the site from the stored notebooks, warnings are errors
	@rm -rf _build
	$(BIN)/jupyter-book build -W -n --keep-going --quiet .
	@echo "The book is built. Open $(SITE)/index.html, or run: make serve"

serve: $(READY)  ## show the built site at http://localhost:PORT (default 8000)
	@test -f $(SITE)/index.html || $(MAKE) book
	@echo "http://localhost:$(PORT)  (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind localhost --directory $(SITE)

test: book unit pages  ## everything that proves the book: site, package, every notebook

unit: $(READY) $(COLAB)  ## the package's, the pages' and the built site's tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests

pages: $(READY)  ## run every notebook and compare it with its stored outputs
	$(PAGES_ENV) $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env \
	  --nbval-cell-timeout=600 book

execute: $(READY)  ## run all notebooks, or NB=path of one, and store their outputs
	$(BIN)/python book/_tools/execute.py $(NB)

tidy: $(READY)  ## bring edited notebooks into their stored form without running them
	$(BIN)/python book/_tools/execute.py --tidy $(NB)

sync: $(READY)  ## copy the repository's address from _config.yml to where it is written out
	$(BIN)/python book/_tools/sync_setup.py

lint: $(READY)  ## style, spelling, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/pyright

format: $(READY)  ## let ruff fix and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test  ## what the continuous integration runs

clean:  ## delete what the build made, and keep the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
