# The book's commands; `make help` lists them. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
PORT ?= 8000
NB ?=
REPO ?=
PAGE ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COLAB := $(VENV)/colab/.ready
# Colab's Python, where it is installed and works (a pyenv shim may be there and not work).
COLAB_PYTHON := $(shell python3.13 -c 'import ensurepip' 2>/dev/null && echo python3.13 || echo $(PYTHON))
SITE := _build/html
# What is installed; .github/workflows/newest.yml gives another list.
REQUIREMENTS ?= requirements.txt
# Another environment that happens to be active must not leak into ours (IPython would warn).
unexport VIRTUAL_ENV

# One thread and the CPU: what the stored outputs were made with, so that they come out alike.
PAGES_ENV := OMP_NUM_THREADS=1 TQDM_DISABLE=1 CUDA_VISIBLE_DEVICES=

.DEFAULT_GOAL := help
.PHONY: help book pdf zip serve lighthouse test unit pages colab execute tidy sync address chapter pictures lint format check clean

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' \
	  | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

$(READY): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "This book needs \
	Python 3.11 or newer; $(PYTHON) is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (once, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@

# An environment with Colab's packages. What pip lists in it is kept, to be found unchanged later.
$(COLAB): tests/colab.txt
	@echo "Installing what Colab has into $(@D), with $(COLAB_PYTHON) (once, a few minutes)"
	rm -rf $(@D)
	$(COLAB_PYTHON) -m venv $(@D)
	PYTHONWARNINGS=ignore $(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/bin/python -m pip freeze --all > $@.part
	@mv $@.part $@

book: $(READY)  ## build the site from the stored notebooks, warnings are errors
	@rm -rf _build
	$(BIN)/jupyter-book build -W -n --keep-going --quiet .
	@echo "The book is built. Open $(SITE)/index.html, or run: make serve"

pdf: $(READY)  ## typeset the book for printing (needs XeLaTeX, and says how to get it)
	$(BIN)/python book/_tools/pdf.py

serve: $(READY)  ## show the built site at http://localhost:PORT (default 8000)
	@test -f $(SITE)/index.html || $(MAKE) book
	@echo "http://localhost:$(PORT)  (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind localhost --directory $(SITE)

zip:  ## pack the built site into _build/vae-book-site.zip, to be read from a folder
	@test -f $(SITE)/index.html || $(MAKE) book
	@rm -f _build/vae-book-site.zip
	cd $(SITE) && $(CURDIR)/$(BIN)/python -m zipfile -c ../vae-book-site.zip .

lighthouse: $(READY)  ## let Lighthouse judge three pages (needs node and a network; not part of test)
	$(BIN)/python tests/benchmarks/lighthouse.py

test: book unit pages colab  ## everything that proves the book: site, package, every notebook, here and as in Colab

unit: $(READY) $(COLAB)  ## the package's, the pages' and the built site's tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests

pages: $(READY)  ## run every notebook and compare it with its stored outputs
	$(PAGES_ENV) $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env \
	  --nbval-cell-timeout=600 book

colab: $(READY) $(COLAB)  ## run every notebook as Colab would, from its set-up cell on
	@test -d $(SITE)/colab || $(MAKE) book
	$(BIN)/python book/_tools/try_colab.py $(dir $(COLAB))

execute: $(READY)  ## run all notebooks, or NB=path of one, and store their outputs
	$(BIN)/python book/_tools/execute.py $(NB)

tidy: $(READY)  ## bring edited notebooks into their stored form without running them
	$(BIN)/python book/_tools/execute.py --tidy $(NB)

sync: $(READY)  ## copy the repository's address from _config.yml to where it is written out
	$(BIN)/python book/_tools/sync_setup.py

address: $(READY)  ## give a fork its own address: make address REPO=owner/name
	$(BIN)/python book/_tools/address.py '$(REPO)'

chapter: $(READY)  ## begin a chapter: make chapter PAGE=vae/clinic
	$(BIN)/python book/_tools/new_chapter.py '$(PAGE)'

pictures: $(READY)  ## draw the cover, the card of links to it, and the chapters' pictures
	$(PAGES_ENV) $(BIN)/python book/_tools/pictures.py

lint: $(READY)  ## style, spelling, types, workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/pyright
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --quiet --offline .github/workflows
	$(BIN)/shellcheck .ci/*

format: $(READY)  ## let ruff fix and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test  ## what the continuous integration runs

clean:  ## delete what the build made, and keep the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
