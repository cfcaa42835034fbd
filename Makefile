# make train   learn to read handwritten digits          make test   all the tests
# Needs Python 3.11 or newer and make, nothing else: .venv is made, filled and then left alone until pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
# Byte code for the first import too, as pip makes it for what it copies; tests start hundreds of processes, and where
# PYTHONDONTWRITEBYTECODE is set, each of them would compile all that it imports
COMPILE := $(BIN)/python -m compileall -q src
# The tests run side by side, one process a core: each product of matrices then has one core, too
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 CHAINRULE_THREADS=1
# A file's tests run in one process; the files that take longest come first (tests/conftest.py)
BY_FILE := -n auto --dist loadfile --no-loadscope-reorder
# That a search finds what it is there for is tested where it is run, `make fuzz` and `make attack`; and there, too, that
# no picture takes much memory
OF_FUZZ := tests/fuzz/test_search.py tests/fuzz/test_compiled.py
OF_ATTACK := tests/attack
# PyTorch is the tests' oracle, not a part of chainrule; `make test TORCH=0` does without its download.
TORCH ?= 1
# What depends on the versions of what is compiled, and of everything else
COMPILED_TESTS := tests/capture tests/kernels tests/lower tests/test_poison.py
OTHER_TESTS := tests/cli tests/data tests/images tests/models tests/plots tests/test_files.py tests/test_old_files.py tests/test_tensor.py tests/test_safetensors_io.py
# What says nothing about versions beyond that: how many pages and pictures of each kind the networks read (that they read is
# in tests/cli), and gradients of gradients, whose loops run in Python
NOT_OLDEST := --ignore=tests/images/test_page.py --ignore=tests/images/test_hard_pages.py --ignore=tests/images/test_odd_pages.py --ignore=tests/images/test_drawings.py --ignore=tests/images/test_digit_pictures.py --ignore=tests/data/handwriting/test_pages.py --deselect=tests/capture/test_every_operation.py::test_second_derivatives
# What to measure and how: `make bench BENCH=--quick`, `make bench BENCH="W1 W3 growth"`; all of it otherwise.
BENCH ?=

# How many random programs, interpreted and compiled, and from which seed on: `make fuzz N=20000 COMPILED=500 SEED=7`
# Only make's own command line sets these: variables that are exported for something else change nothing.
N := 3000
COMPILED := 0
SEED :=

# How long `make attack` lasts: `make attack SECONDS=1800 SEED=7`
SECONDS := 60

.PHONY: train lessons docs test test-mpi test-bridges test-browser browser-long test-llvm test-oldest test-newest smoke conformance fuzz fuzz-faults attack lint lint-js types format bench weights words detector-weights pictures film size operations dist clean help

train: $(VENV)/.installed
	$(BIN)/chainrule train

# pytest keeps the tests with their assertions rewritten, six seconds of each process, unless byte code is not to be written
test: $(VENV)/.installed-test $(if $(filter 1,$(TORCH)),$(VENV)/.installed-torch)
	$(COMPILE) tests
	PYTHONDONTWRITEBYTECODE= $(ONE_THREAD) CHAINRULE_ORACLE=$(TORCH) $(BIN)/python -m pytest $(BY_FILE) $(addprefix --ignore=,$(OF_FUZZ) $(OF_ATTACK))

# A minute: two and more processes of mpiexec train as one
test-mpi: $(VENV)/.installed-mpi
	$(ONE_THREAD) $(BIN)/python -m pytest -n 0 tests/distributed

# Other libraries that models and figures go to and come from: ONNX, scikit-learn, TensorBoard, Optuna, PDF
test-bridges: $(VENV)/.installed-bridges
	$(ONE_THREAD) CHAINRULE_BRIDGES=1 $(BIN)/python -m pytest $(BY_FILE) tests/bridges

# The site in Debian's Chromium (apt-get install chromium): lessons run in it, and every kind of page is looked at
test-browser: $(VENV)/.installed-browser
	$(BIN)/python scripts/get_pyodide.py build/pyodide
	$(ONE_THREAD) CHAINRULE_BROWSER=1 $(BIN)/python -m pytest -n 0 tests/browser

# Minutes: those, and what takes long, such as the studio's views as widgets in JupyterLab and marimo
browser-long: $(VENV)/.installed-browser-long
	$(BIN)/python scripts/get_pyodide.py build/pyodide
	$(ONE_THREAD) CHAINRULE_BROWSER=1 CHAINRULE_BROWSER_LONG=1 $(BIN)/python -m pytest -n 0 tests/browser

# The versions that users get, each in an environment of its own: the oldest that pyproject.toml allows of every dependency,
# and the newest NumPy and llvmlite.
test-llvm: test-oldest test-newest

test-oldest: .venv-oldest/.installed
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest $(BY_FILE) $(NOT_OLDEST) $(COMPILED_TESTS)
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest $(BY_FILE) $(NOT_OLDEST) -m "not slow" $(OTHER_TESTS)

test-newest: .venv-newest/.installed
	.venv-newest/bin/python -m pip --disable-pip-version-check --quiet install --upgrade numpy llvmlite
	$(ONE_THREAD) .venv-newest/bin/python -m pytest $(BY_FILE) $(COMPILED_TESTS)

.venv-oldest/.installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-oldest
	# Matplotlib 3.9 uses names that pyparsing 3.3 deprecates, and warnings are errors in tests.
	.venv-oldest/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[test]' 'pyparsing<3.3' $$($(PYTHON) scripts/oldest_requirements.py test)
	@echo "oldest:" $$($(PYTHON) scripts/oldest_requirements.py test)
	@touch $@

.venv-newest/.installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[test]'
	@touch $@

smoke: $(VENV)/.installed-test
	$(ONE_THREAD) $(BIN)/python -m pytest $(BY_FILE) -m "not slow" tests/test_tensor.py tests/autograd tests/nn tests/optim tests/data

conformance: $(VENV)/.installed-torch
	$(ONE_THREAD) $(BIN)/python -m tests.conformance

fuzz: $(VENV)/.installed-torch
	$(ONE_THREAD) $(BIN)/python -m pytest -n 0 $(OF_FUZZ)
	$(ONE_THREAD) $(BIN)/python -m tests.fuzz --programs $(N) --compiled $(COMPILED) $(if $(SEED),--seed $(SEED))

fuzz-faults: $(VENV)/.installed-torch
	$(ONE_THREAD) $(BIN)/python -m tests.fuzz --faults

attack: $(VENV)/.installed-test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 0 $(OF_ATTACK)
	$(ONE_THREAD) $(BIN)/python -m tests.attack --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src tests/typing/user_code.py
	$(BIN)/python scripts/check_types.py
	$(BIN)/python scripts/check_names.py

# The types of the studio's page, which are comments, by TypeScript's compiler, which this installs into build/
lint-js: $(VENV)/.installed-dev
	$(BIN)/python scripts/check_javascript.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench $(if $(filter 1,$(TORCH)),$(VENV)/.installed-torch)
	$(BIN)/python benchmarks/bench.py $(BENCH)

lessons: $(VENV)/.installed
	@export $(ONE_THREAD); for number in $$(ls lessons | sed -n 's/^0*\([0-9]*\)_.*\.py$$/\1/p'); do $(BIN)/chainrule lesson $$number --answers || exit; echo; done

weights: $(VENV)/.installed
	rm -rf build/reader
	$(BIN)/chainrule train --model reader --data handwriting --validation 2000 --seed 0 --out build/reader
	$(BIN)/python scripts/make_weights.py build/reader

# Seconds, and the same bits each time on one machine: the language model in the package
words: $(VENV)/.installed
	$(ONE_THREAD) $(BIN)/python scripts/make_words.py

# One and a half hours on one core, and the same bits each time on one machine
detector-weights: $(VENV)/.installed
	$(ONE_THREAD) $(BIN)/python scripts/train_detector.py --out build/detector
	$(ONE_THREAD) $(BIN)/python scripts/train_detector.py --start build/detector

pictures: $(VENV)/.installed
	$(BIN)/python scripts/make_pictures.py

# The README's first picture, which moves: the studio in Debian's Chromium
film: $(VENV)/.installed-browser
	$(BIN)/python scripts/make_film.py

docs: $(VENV)/.installed-docs
	rm -rf build/site docs/site/lessons docs/site/reference  # so that no page outlives its lesson
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs/site build/site
	$(BIN)/python scripts/check_links.py build/site
	@echo "open build/site/index.html"

size: $(VENV)/.installed
	$(BIN)/python scripts/size.py

operations: $(VENV)/.installed
	$(BIN)/python scripts/list_operations.py

# Build the wheel and the sdist into dist/, with the site if `make docs` has built it; install the
# wheel outside the checkout and run the README's commands there.
dist: $(VENV)/.installed-dev
	$(BIN)/python scripts/check_dist.py

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .pytest_cache .hypothesis .mypy_cache .ruff_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

help:
	@echo "make train | lessons | docs | test | test-mpi | test-bridges | test-browser | browser-long | test-llvm | smoke | conformance | fuzz | fuzz-faults | attack | lint | lint-js | format | bench | weights | words | detector-weights | pictures | film | size | operations | dist | clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("chainrule needs Python 3.11 or newer; set PYTHON=python3.11, say" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	$(COMPILE)
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	$(COMPILE)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-torch: pyproject.toml | $(VENV)/.installed-test
	$(PIP) --editable '.[torch]'
	@touch $@

$(VENV)/.installed-mpi: pyproject.toml | $(VENV)/.installed-test
	$(PIP) --editable '.[mpi]'
	@touch $@

$(VENV)/.installed-bridges: pyproject.toml | $(VENV)/.installed-torch
	$(PIP) --editable '.[bridges]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-browser: pyproject.toml | $(VENV)/.installed-test
	$(PIP) --editable '.[docs,browser,studio]'
	@touch $@ $(VENV)/.installed-docs

$(VENV)/.installed-browser-long: pyproject.toml | $(VENV)/.installed-test
	$(PIP) --editable '.[docs,browser-long,studio]'
	@touch $@ $(VENV)/.installed-docs $(VENV)/.installed-browser

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[bench]'
	$(COMPILE)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test
