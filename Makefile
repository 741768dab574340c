# `make help` lists the targets. Every tool runs as `$(PY) -m tool`, so one variable picks the environment:
# by default .venv, made and kept up to date by this file; `make PY=python ...` takes the active one as it is.
PY ?= .venv/bin/python
JOBS ?= 2
PORT ?= 8000

# Two one-thread processes beat one two-thread process, and do not collapse when the machine is busy.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export NUMEXPR_NUM_THREADS ?= 1
# The debugger's frozen-modules notice would stand in every chapter's log.
export PYDEVD_DISABLE_FILE_VALIDATION ?= 1

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help book test test-slow unit chapters executed site lint format serve lab picture study verify bench site-test pdf apt-chromium apt-latex clean

BUILD := book/_build
SITE := $(BUILD)/html/index.html
PDF := $(BUILD)/pdf/conditional-kl-gradients.pdf# the name that _config.yml and index.md have
LATEXMK ?= latexmk
RUN := .cache/running# not under _build, where nbmake refuses to look
ENV := $(if $(filter .venv/bin/python,$(PY)),.venv/.complete)
UID := $(shell id -u)
SUBMAKE = $(MAKE) --no-print-directory
NBSTRIPOUT := -m nbstripout --keep-id --extra-keys "metadata.language_info.version"

CHAPTERS := $(wildcard book/*.ipynb)
EXECUTED := $(CHAPTERS:book/%=$(BUILD)/executed/%)
PAGES := $(filter-out $(BUILD) $(CHAPTERS),$(wildcard book/*))
PAGE_FILES := $(shell find $(PAGES) -type f ! -name '*.pyc' 2>/dev/null)
# What every chapter computes from: the library (not its benchmark, nor what the explorers show), the data (not its
# prose, nor the recorded runs) and the versions.
FIND_INPUTS := find src/condkl data -type f ! -name '*.pyc' ! -name '*.md' ! -path '*/.*' ! -path 'data/runs/*' ! -path 'src/condkl/bench/*' ! -path 'src/condkl/explorers/*' 2>/dev/null | LC_ALL=C sort
INPUTS := $(shell $(FIND_INPUTS)) pyproject.toml constraints.txt

# What the chapters on the studies compute from besides.
FIND_RUNS := find data -type f -path 'data/runs/*' ! -name '*.md' ! -path '*/.*' ! -name verified.json | LC_ALL=C sort
STUDIED := $(filter $(BUILD)/executed/09_% $(BUILD)/executed/10_% $(BUILD)/executed/11_%,$(EXECUTED))

# What the chapter on speed computes from besides, and what the status page alone shows.
FIND_BENCH := find src/condkl -type f -path 'src/condkl/bench/*' -name '*.py' | LC_ALL=C sort
BENCHED := $(filter $(BUILD)/executed/12_%,$(EXECUTED))
VERIFIED := $(wildcard data/runs/verified.json)

TESTS := $(wildcard tests/test_*.py)# their source is shown on the site

# A deleted file is newer than nothing, so make alone would not see it. The lists of names do: they are rewritten,
# while this file is read, when a name came or went.
remember = $(shell mkdir -p $(BUILD); $(2) | cmp -s - $(1) || { $(2); } > $(1))
$(call remember,$(BUILD)/inputs.list,$(FIND_INPUTS))
$(call remember,$(BUILD)/runs.list,$(FIND_RUNS))
$(call remember,$(BUILD)/bench.list,$(FIND_BENCH))
$(call remember,$(BUILD)/pages.list,echo $(sort $(CHAPTERS) $(PAGE_FILES) $(VERIFIED) $(TESTS)))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

book: ## execute the chapters that need it, build the site strictly, print its path and the seconds it took
	@start=$$(date +%s); $(SUBMAKE) chapters && $(SUBMAKE) site && echo "$(SITE) ($$(($$(date +%s) - start)) s)"

test: unit chapters ## unit tests with coverage, then every chapter that changed, executed as a test

unit: $(ENV) ## unit tests alone, with coverage of src/condkl
	$(PY) -m pytest -n $(JOBS) --cov=condkl --cov-report=term-missing:skip-covered --cov-fail-under=95

test-slow: $(ENV) ## the tests that take minutes: twenty kills of a run in training
	$(PY) -m pytest -m slow -n $(JOBS)

study: $(ENV) ## train the runs of a study that have no record (NAME=main, WORKERS=2); Ctrl-C stops, again goes on
	$(PY) -m condkl.studies run $(NAME) $(if $(WORKERS),--workers $(WORKERS))

bench: $(ENV) ## measure the training step against other ways to write it (needs the extra bench, and an idle machine)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(PY) -m condkl.bench

verify: $(ENV) ## check every recorded run, and train the first epoch of three of them again
	$(PY) -m condkl.studies verify

# -k: one failed chapter does not hide another.
chapters: $(ENV) ## execute the chapters that changed (or whose library, data or versions did)
	@$(SUBMAKE) -k -j$(JOBS) executed

executed: $(EXECUTED) ; @:

site: $(SITE) ; @:

lint: $(ENV) ## ruff, nbstripout --verify and mypy, without changing a file
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) $(NBSTRIPOUT) --verify $(CHAPTERS)
	$(PY) -m mypy

format: $(ENV) ## apply ruff's fixes and format, and strip the outputs of the chapters
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) $(NBSTRIPOUT) $(CHAPTERS)

serve: book ## serve the built site on localhost (PORT=8000)
	$(PY) -m http.server --bind 127.0.0.1 --directory $(BUILD)/html $(PORT)

lab: $(ENV) ## open JupyterLab on the chapters
	$(PY) -m jupyterlab --notebook-dir=book $(if $(filter 0,$(UID)),--allow-root)

# The README's picture is one of the book's figures, taken out of the executed chapter and committed.
PICTURE_CODE := import base64, json, sys; cells = json.load(open(sys.argv[1]))["cells"]; \
  cell = next(c for c in cells if c["metadata"].get("mystnb", {}).get("figure", {}).get("name") == sys.argv[2]); \
  png = next(o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})); \
  open(sys.argv[3], "wb").write(base64.b64decode(png))

picture: $(BUILD)/executed/05_first_comparison.ipynb ## renew the README's picture from the executed chapter 5
	$(PY) -c '$(PICTURE_CODE)' $< fig-first-comparison book/images/first_comparison.png

site-test: book ## check the built site in a browser (needs chromium)
	$(PY) -m pytest -m site -n $(JOBS) --dist worksteal tests/site

pdf: ## typeset the book as one PDF, print its path and the seconds it took (needs LaTeX: apt-latex)
	@command -v $(LATEXMK) > /dev/null || { echo "make: pdf needs $(LATEXMK), which is not here;" \
	  "on Debian, make apt-latex installs it with all the rest" >&2; exit 1; }
	@start=$$(date +%s); $(SUBMAKE) chapters && $(SUBMAKE) $(PDF) && echo "$(PDF) ($$(($$(date +%s) - start)) s)"

apt-chromium: ## install chromium with apt-get (Debian), for site-test
	$(if $(filter 0,$(UID)),,sudo) apt-get update -qq
	$(if $(filter 0,$(UID)),,sudo) apt-get install -y -qq --no-install-recommends chromium

apt-latex: ## install LaTeX with apt-get (Debian, about 420 MB), for pdf
	$(if $(filter 0,$(UID)),,sudo) apt-get update -qq
	$(if $(filter 0,$(UID)),,sudo) apt-get install -y -qq --no-install-recommends latexmk texlive-xetex \
	  texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended fonts-freefont-otf lmodern tex-gyre

clean: ## delete what was built (not .venv)
	rm -rf $(BUILD) $(RUN) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage

# The stamp is written last, so a half-made environment does not count; it is younger than both files it was made from.
.venv/.complete: pyproject.toml constraints.txt
	rm -f $@
	for python in python3.11 python3; do $$python -c '' 2>/dev/null && break; done; $$python -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,test,dev]"
	touch $@

$(STUDIED): $(shell $(FIND_RUNS)) $(BUILD)/runs.list
$(BENCHED): $(shell $(FIND_BENCH)) $(BUILD)/bench.list

# Executed once, for the tests and for the site. The copy moves into place only when all its cells ran, and is dated by
# the start of the run: an edit made meanwhile makes it stale. The epoch keeps the date out of the figures.
$(BUILD)/executed/%.ipynb: book/%.ipynb $(INPUTS) $(BUILD)/inputs.list | $(ENV)
	@mkdir -p $(RUN) $(@D); touch $(RUN)/$*.start; rm -f $(RUN)/$*.ipynb; cp $< $(RUN)/$*.ipynb; echo "executing $<"
	@SOURCE_DATE_EPOCH=0 $(PY) -m pytest --nbmake --overwrite --nbmake-kernel=python3 --nbmake-timeout=600 -p no:cacheprovider -q \
	  $(RUN)/$*.ipynb > $(RUN)/$*.log 2>&1 || { cat $(RUN)/$*.log; \
	  echo "make: $< failed (above); its outputs up to there are in $(RUN)/$*.ipynb"; exit 1; } >&2
	@touch -r $(RUN)/$*.start $(RUN)/$*.ipynb; mv $(RUN)/$*.ipynb $@; echo "$<: $$(tail -n 1 $(RUN)/$*.log)"

# Built whole or not at all: Sphinx's own increments leave stale sidebars, glued numbers and removed pages behind, and
# forget the warnings of the failed build before; a whole build takes seconds. jupyter-book has no `python -m`.
SOURCES := $(EXECUTED) $(PAGE_FILES) $(VERIFIED) $(TESTS) $(wildcard src/condkl/explorers/*.py) $(BUILD)/pages.list constraints.txt
JUPYTER_BOOK = $(PY) -c 'from jupyter_book.cli.main import main; main()' build -q -W -n --keep-going

# The site takes the PDF along where there is one that shows the same, and does not make one: pdf.made is no target.
$(SITE): $(SOURCES) $(wildcard $(BUILD)/pdf.made) | $(ENV)
	@rm -rf $(BUILD)/html $(BUILD)/source $(BUILD)/sphinx; mkdir -p $(BUILD)/source; touch $(BUILD)/site.start
	@cp -R $(PAGES) $(EXECUTED) $(BUILD)/source
	@if [ -f $(PDF) ] && [ -z "$$(find $^ -newer $(PDF))" ]; then cp $(PDF) $(BUILD)/source; fi
	@echo "building the site"; $(JUPYTER_BOOK) \
	  $(BUILD)/source --path-output $(BUILD)/sphinx > $(BUILD)/site.log # warnings go to stderr
	@mv $(BUILD)/sphinx/_build/html $(BUILD)/html; touch -r $(BUILD)/site.start $@

# LaTeX's warnings of references and of characters that no font has are errors too. The epoch keeps the date out.
$(PDF): $(SOURCES) | $(ENV)
	@rm -rf $(@D) $(BUILD)/paper; mkdir -p $(@D) $(BUILD)/paper/source; touch $(BUILD)/pdf.start
	@cp -R $(PAGES) $(EXECUTED) $(BUILD)/paper/source
	@echo "typesetting the book"; $(JUPYTER_BOOK) --builder latex \
	  $(BUILD)/paper/source --path-output $(BUILD)/paper > $(BUILD)/pdf.log
	@cd $(BUILD)/paper/_build/latex; log=$(basename $(@F)).log; SOURCE_DATE_EPOCH=0 LATEXOPTS= \
	  $(LATEXMK) -xelatex -Werror -halt-on-error -interaction=nonstopmode -quiet $(basename $(@F)).tex > latexmk.log 2>&1 \
	  && ! grep -a 'Missing character' $$log >&2 || { grep -a -A 5 '^!' $$log || cat latexmk.log; \
	  echo "make: LaTeX failed (above); its log is $(BUILD)/paper/_build/latex/$$log"; exit 1; } >&2
	@mv $(BUILD)/paper/_build/latex/$(@F) $@; touch -r $(BUILD)/pdf.start $@; mv $(BUILD)/pdf.start $(BUILD)/pdf.made
