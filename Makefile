# vdbench: everything here needs only make and Python 3.11 or newer.
# The first target that needs packages makes a virtual environment in $(VENV); later calls reuse it.

PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
CHROMIUM := $(firstword $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name))))
AXE = build/browser/node_modules/axe-core/axe.min.js
TOO_OLD = vdbench needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3

.PHONY: help quick test long lint bench browser gallery faults fuzz engines kernels scaling zoo certificates compare recommend coverage docs cases results suites clean

help:
	@echo 'make quick   set up, run the suite "quick" on embedded data, write its report (minutes)'
	@echo 'make test    set up, check style and types, run the tests'
	@echo 'make long    tests that take long for what they add (minutes)'
	@echo 'make lint    style and types alone'
	@echo 'make bench   time vdbench itself against plain loops'
	@echo 'make browser show the pages of committed runs in an installed Chromium (some minutes), keep screenshots'
	@echo 'make gallery compare mean gradients on ten models with plain torch (an hour), write the table'
	@echo 'make faults  disturb 1,022 runs, run estimators that misbehave, compare every figure (half an hour), write the page'
	@echo 'make fuzz    read 20,400 mutated suites and 500 odd command lines (half an hour)'
	@echo 'make engines measure one suite in every way, on Ray and through submitit too, compare (minutes)'
	@echo 'make kernels install Triton, test the fused kernels in its interpreter, compile them for a GPU (minutes)'
	@echo 'make scaling time and memory of bookkeeping at 1,000, 10,000 and 100,000 blocks (an hour)'
	@echo 'make zoo     check 157 wrong and 46 right estimators with five seeds (hours), write the table'
	@echo 'make certificates  check every registered estimator (a quarter of an hour), write the table'
	@echo 'make compare measure false alarms and power of vdbench compare, write its page (half an hour)'
	@echo 'make recommend judge 30 recommendations on three models by long runs (an hour), write the page'
	@echo 'make coverage measure coverage where runs stop on 25 problems (hours), write the table'
	@echo 'make docs    write the estimator pages from the docstrings'
	@echo 'make cases   write the list of small models and what becomes of each'
	@echo 'make results write the pages of the committed runs from their data'
	@echo 'make suites  write the pages of all suites and estimators from the committed runs'
	@echo 'make clean   remove caches and build folders (keeps $(VENV) and runs)'
	@echo
	@echo 'PYTHON=$(PYTHON) chooses the interpreter, VENV=$(VENV) the folder of the environment.'

quick: $(VENV)/.installed
	$(BIN)/vdbench run quick

# Two workers for all but what is marked "alone", which follows in one process with nothing beside it.
# Where Chromium is installed, the page is shown in it; axe-core, which checks its accessibility, comes from npm.
test: lint $(if $(CHROMIUM),$(AXE))
	$(BIN)/python -m pytest -q -n 2 -m "not alone and not long and not network"
	$(BIN)/python -m pytest -q -m "alone and not long and not network"

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n 2 -m "long and not alone and not network"
	$(BIN)/python -m pytest -q -m "long and alone and not network"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

browser: $(VENV)/.installed-dev $(AXE)
	$(if $(CHROMIUM),,@echo 'make browser needs Chromium, and none was found.' >&2; exit 1)
	$(BIN)/python -m pytest -q -rP tests/pages tests/reports/browser

# Not kept in the repository. Without npm or network the checks that need it are skipped.
$(AXE):
	-npm install --silent --no-audit --no-fund --prefix build/browser axe-core@4.14.1

# One model: make gallery MODELS=lenet
gallery: $(VENV)/.installed-dev
	$(BIN)/python tests/helpers/gallery_table.py $(MODELS)

faults: $(VENV)/.installed-dev
	mkdir -p build
	$(BIN)/python tests/helpers/fault_campaign.py 1022 > build/faults.log
	$(BIN)/python -W ignore tests/helpers/misbehaving.py > build/misbehaving.log
	$(BIN)/python tests/helpers/fault_page.py build/faults.log build/misbehaving.log docs/results/faults.md

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -W ignore tests/helpers/fuzzing.py

# ENGINES names the packages of engines: without them, what needs them is left out in one line each.
ENGINES ?= ray submitit fsspec
engines: $(VENV)/.installed-dev
	-$(INSTALL) -q $(ENGINES)
	$(BIN)/python -W ignore tests/helpers/engine_table.py build/engines

# In the interpreter, then by the compiler, which needs no GPU to compile for one.
kernels: $(VENV)/.installed-dev
	$(INSTALL) -q 'triton>=3.6'
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -m 'not network and not long' tests/vdbench/kernels tests/estimators/test_fused_local.py
	$(BIN)/python -m pytest -q -m long tests/vdbench/kernels

scaling: $(VENV)/.installed-dev
	rm -rf build/scaling
	$(BIN)/python tests/helpers/scaling_table.py build/scaling
	$(BIN)/python -W ignore tests/helpers/cell_overhead.py

# What was checked before is in $(ZOO) and is not checked again.
ZOO ?= runs/zoo.jsonl
zoo: $(VENV)/.installed-dev
	mkdir -p $(dir $(ZOO))
	$(BIN)/python -W ignore tests/zoo/campaign.py $(ZOO) 5
	$(BIN)/python -W ignore tests/zoo/table.py $(ZOO) docs/results/zoo.md

CERTIFICATES ?= runs/certificates.jsonl
certificates: $(VENV)/.installed-dev
	mkdir -p $(dir $(CERTIFICATES))
	$(BIN)/python -W ignore tests/helpers/certificates_page.py $(CERTIFICATES)

compare: $(VENV)/.installed-dev
	PYTHONPATH=tests/helpers $(BIN)/python tests/helpers/compare_table.py 1000 20

recommend: $(VENV)/.installed-dev
	mkdir -p build
	$(BIN)/python -W ignore tests/helpers/recommend_campaign.py 1 10 4096 > build/recommend.log
	$(BIN)/python tests/helpers/recommend_table.py build/recommend.log docs/results/recommend.md 1 10

coverage: $(VENV)/.installed-dev
	$(BIN)/python tests/helpers/coverage_table.py

docs: $(VENV)/.installed
	$(BIN)/python -m vdbench.cli.estimator_pages

cases: $(VENV)/.installed-dev
	$(BIN)/python docs/model_cases.py

results: $(VENV)/.installed
	$(BIN)/python docs/results/render.py
	$(BIN)/python docs/results/suites_page.py
	$(BIN)/python docs/results/estimators_page.py

suites: $(VENV)/.installed
	$(BIN)/python docs/results/suites_page.py
	$(BIN)/python docs/results/estimators_page.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find vdbench estimators suites reports tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamp files: written last, so that a step that was interrupted is done again.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo '$(TOO_OLD)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml constraints.txt
	$(INSTALL) -e '.[test,dev]'
	@touch $(VENV)/.installed $@
