# `make help` lists the targets. Every tool runs as `$(PY) -m tool`, so one variable picks the environment:
# by default .venv, made and kept up to date; `make PY=python ...` takes the active one as it is.
# This file only names commands. What has to be built again is decided by contents, in dodo.py and tools/, not by dates.
# macOS brings make 3.81, so nothing here is newer.
PY ?= .venv/bin/python
JOBS ?= 2
PORT ?= 8000
DEVICE ?= auto

# Two one-thread processes beat one two-thread process, and do not collapse when the machine is busy.
OMP_NUM_THREADS ?= 1
MKL_NUM_THREADS ?= 1
OPENBLAS_NUM_THREADS ?= 1
NUMEXPR_NUM_THREADS ?= 1
export OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS NUMEXPR_NUM_THREADS JOBS
unexport PYTHONHOME PYTHONSTARTUP

PYTHON = "$(PY)"
PIP_INSTALL = $(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
DOIT = $(PYTHON) -m doit -f dodo.py
PYTEST = $(PYTHON) -m pytest
COVER = --cov=condkl --cov=condkl_studies --cov=condkl_book --cov-report=term-missing:skip-covered --cov-fail-under=95
ENV = $(if $(filter .venv/bin/python,$(PY)),environment)
UID := $(shell id -u)
SUDO = $(if $(filter 0,$(UID)),,sudo)
NBSTRIPOUT = -m nbstripout --keep-id --extra-keys "metadata.language_info.version"
NOTEBOOKS = find book \( -name _build -o -name '.?*' \) -prune -o -name '*.ipynb' -exec

.PHONY: help book test test-slow unit chapters lint format serve lab picture paper arxiv study verify bench gpu site-test apt-chromium apt-latex clean
.PHONY: environment
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

book: $(ENV) ## execute the chapters that need it, build the site strictly, print its path and the seconds it took
	@$(DOIT) book

test: unit chapters ## unit tests, then every chapter that changed, executed as a test

unit: $(ENV) ## unit tests alone (COVERAGE=1: with coverage of the packages)
	$(PYTEST) -n $(JOBS) --dist worksteal -p no:nbmake --ignore=tests/site $(if $(COVERAGE),$(COVER))

test-slow: $(ENV) ## the tests that take minutes: twenty kills of a run in training
	$(PYTEST) -m slow -n $(JOBS)

study: $(ENV) ## train the runs of a study that have no record (NAME=main, WORKERS=2); Ctrl-C stops, again goes on
	$(PYTHON) -m condkl_studies run $(NAME) $(if $(WORKERS),--workers $(WORKERS))

bench: $(ENV) ## measure the training step against other ways to write it (needs the extra bench, and an idle machine)
	$(PIP_INSTALL) ".[bench]"
	$(PYTHON) -m benchmarks
	$(PYTHON) -m benchmarks.profile

gpu: $(ENV) ## check, train and measure many models at once on a GPU (DEVICE=cuda), or a little of it on the CPU (DEVICE=cpu)
	$(PYTHON) -m benchmarks.gpu --device $(DEVICE)

verify: $(ENV) ## check every recorded run, and train the first epoch of three of them again
	$(PYTHON) -m condkl_studies verify

chapters: $(ENV) ## execute the chapters that changed (or something that they read, or a version)
	@$(DOIT) chapter

lint: $(ENV) ## ruff, nbstripout --verify and mypy, without changing a file
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(NOTEBOOKS) $(PYTHON) $(NBSTRIPOUT) --verify {} +
	$(PYTHON) -m mypy

format: $(ENV) ## apply ruff's fixes and format, and strip the outputs of the chapters
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	$(NOTEBOOKS) $(PYTHON) $(NBSTRIPOUT) {} +

serve: book ## serve the built site on localhost (PORT=8000)
	$(PYTHON) -m http.server --bind 127.0.0.1 --directory book/_build/html $(PORT)

lab: book ## open JupyterLab on plain copies of the chapters in lab/, which later builds leave as you changed them
	$(PYTHON) tools/lab.py book/_build/html/_sources lab
	$(PYTHON) -m jupyterlab --notebook-dir=lab $(if $(filter 0,$(UID)),--allow-root)

# The README's picture is one of the book's figures, taken out of the executed chapter and committed.
picture: $(ENV) ## renew the README's picture from the executed first comparison
	@$(DOIT) chapter:first_comparison
	$(PYTHON) tools/picture.py book/_build/executed/first_comparison.ipynb fig-first-comparison book/images/first_comparison.png

paper: chapters ## the article, paper/main.pdf, from the executed chapters (needs LaTeX)
	$(PYTHON) -m tools.paper collect
	cd paper && latexmk -pdf -quiet -interaction=nonstopmode -halt-on-error main.tex || { grep -A 4 '^!' main.log; exit 1; }
	$(PYTHON) -m tools.paper check

arxiv: paper ## its sources as paper/arxiv.tar.gz, compiled by themselves in an empty folder
	$(PYTHON) -m tools.paper archive

site-test: book ## check the built site in a browser (needs chromium)
	$(PYTEST) -m site -n $(JOBS) --dist worksteal tests/site

apt-chromium: ## install chromium with apt-get (Debian), for site-test
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends chromium

apt-latex: ## install LaTeX with apt-get (Debian), for paper and arxiv
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends latexmk lmodern texlive-latex-extra

clean: ## delete what was built (not .venv)
	rm -rf book/_build .cache/running .cache/settings .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	rm -rf paper/figures paper/tables paper/numbers.tex paper/main.[!t]* paper/arxiv.tar.gz

environment:
	@sh tools/environment.sh
