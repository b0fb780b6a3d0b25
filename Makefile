# make setup   environment in .venv        make demo   runs the quickstart on embedded data
# make test    sets up and runs the tests  make check  lint, types, directions of imports
# make boards  rebuilds the boards from their entries and fails where they differ from git's
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
EXTRAS := $(VENV)/.extras-ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# so that no opencv-python comes beside opencv-python-headless
STANDIN := stand-ins/opencv-python

.PHONY: setup demo test slow check boards clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(STANDIN)/pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))" || { echo "Python 3.11 to 3.13 is needed: make setup PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if ls -d $(VENV)/lib/*/site-packages/opencv_python.libs >/dev/null 2>&1; then $(BIN)/python -m pip uninstall --quiet --yes opencv-python opencv-python-headless; fi
	$(INSTALL) ./$(STANDIN) -e ".[dev]"
	touch $(STAMP)

$(EXTRAS): $(STAMP)
	$(INSTALL) -e ".[dev,ultralytics,timm,slurm,imagenet,geo]"
	touch $(EXTRAS)

demo: setup
	$(BIN)/bench run --config quickstart --boards runs/boards

test: $(EXTRAS)
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(EXTRAS)
	$(BIN)/python -m pytest -m slow

check: $(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

boards: setup
	$(BIN)/bench leaderboard
	git diff --exit-code --stat -- leaderboards
	test -z "$$(git ls-files --others --exclude-standard -- leaderboards)" # a board or an entry that is not committed

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .grimp_cache .import_linter_cache
