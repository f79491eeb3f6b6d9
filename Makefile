# Needs Python 3.11 or newer and make; everything else goes into .venv/. Without an NVIDIA GPU the
# build of PyTorch for the CPU is taken (scripts/install_torch.py); TORCH=cpu, cuda or pip says which.
#   make demo         merge the bundled bracket
#   make test         lint, type-check and test
#   make completions  regenerate completions/
#   make docs         regenerate the tables of options and the man page in docs/, and build a site of it in out/site
#   make clean        remove all that make has made
#   make -n demo      say what would be done; scripts/install_torch.py PYTHON --dry-run, which PyTorch

PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
PIP_INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --editable
INSTALL_TORCH := $(BIN)/python scripts/install_torch.py $(BIN)/python
export TORCH
# Some containers forbid caches of bytecode: every program that a test starts would compile ours anew.
unexport PYTHONDONTWRITEBYTECODE
# One more than there are cores: many tests wait for programs that they start.
RUNNERS = $(shell $(PYTHON) -c "import os; print(min(8, (os.cpu_count() or 1) + 1))")
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir out/site
PHOTOGRAPHS = $(sort $(foreach type,tif tiff jpg jpeg png,$(wildcard demo/*.$(type))))

.PHONY: demo test completions docs clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: .venv/installed
	@mkdir -p out
	$(BIN)/dfghdr merge $(PHOTOGRAPHS) -o out/demo.jpg -o out/demo.exr --overwrite
	@echo "out/demo.jpg          the finished picture"
	@echo "out/demo.exr          the same as linear light, for further work"
	@echo "out/demo.preview.jpg  all that is in it, by the flat curve in which merges are compared"

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(SITE)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(RUNNERS) --dist worksteal --durations=10

completions: .venv/installed
	$(BIN)/python completions/generate.py completions

docs: .venv/installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/manpage.py docs/dfghdr.1
	$(SITE)

clean:
	rm -rf .venv build dist out/demo.* out/site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("dfghdr needs Python 3.11 or newer: make PYTHON=python3.12, say" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing dfghdr and what it needs into .venv (PyTorch is large: this may take minutes)"
	@$(INSTALL_TORCH)
	$(PIP_INSTALL) .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing dfghdr and its tools into .venv (PyTorch is large: this may take minutes)"
	@$(INSTALL_TORCH)
	$(PIP_INSTALL) '.[dev]'
	@touch $@ .venv/installed
